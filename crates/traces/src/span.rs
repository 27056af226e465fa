//! What is said of a call. Pure.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use crate::{
    otlp::{CLIENT, ERROR, KeyValue, Span, Status},
    refresh::EndedCall,
    text::printable,
};

/// A text that an upstream chose is no longer in a span.
const LONGEST: usize = 200;

/// So many roles can fail at once without being counted anew.
const MOST: usize = 10_000;

/// How many calls have failed since the last that worked, by what was asked for.
#[derive(Default)]
pub(crate) struct Attempts(HashMap<String, u32>);

impl Attempts {
    /// The span of a call. Nothing in it is a secret: the messages are those of the log.
    pub(crate) fn span(&mut self, call: &EndedCall<'_>, random: &mut fastrand::Rng) -> Span {
        // A source is asked for its list under no role's name.
        let asked = call.id.map_or_else(|| format!("list of {}", call.source), str::to_owned);
        let attempt = self.0.remove(&asked).unwrap_or_default().saturating_add(1);
        if call.failure.is_some() {
            // Roles come and go, and some that failed never come back.
            if self.0.len() >= MOST {
                self.0.clear();
            }
            self.0.insert(asked, attempt);
        }
        let mut attributes = vec![
            KeyValue::text("alppaca.source", call.source),
            KeyValue::number("alppaca.attempt", attempt),
            KeyValue::text("alppaca.outcome", call.ending.as_str()),
        ];
        attributes.extend(call.role.map(|role| KeyValue::text("alppaca.role", role.as_str())));
        attributes.extend(call.request_id.map(|id| KeyValue::text("aws.request_id", printable(id, LONGEST))));
        let mut trace_id = vec![0; 16];
        random.fill(&mut trace_id);
        let ended = nanoseconds(call.ended);
        let took = u64::try_from(call.took.as_nanos()).unwrap_or(u64::MAX);
        Span {
            trace_id,
            // No id is nothing but zeros.
            span_id: random.u64(1..).to_be_bytes().to_vec(),
            // The same for all roles: by their names the spans are counted and their times compared.
            name: if call.role.is_some() { "fetch credentials" } else { "list roles" }.to_owned(),
            kind: CLIENT,
            start_time_unix_nano: ended.saturating_sub(took),
            end_time_unix_nano: ended,
            attributes,
            status: call.failure.map(|failure| Status { message: printable(failure, LONGEST), code: ERROR }),
        }
    }
}

/// Since the beginning of 1970.
fn nanoseconds(time: Timestamp) -> u64 {
    Duration::try_from(time.as_duration()).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{credentials::RoleName, refresh::Ending};

    #[test]
    fn a_span_says_what_was_asked_for_which_attempt_it_was_and_what_came() {
        let role = "web".parse().expect("a name");
        let mut attempts = Attempts::default();
        let mut random = fastrand::Rng::with_seed(1);
        let mut span = |role: Option<&RoleName>, failure: Option<&str>, request_id| {
            let (source, ended) = ("source sts1", "2026-11-24T19:00:01Z".parse().expect("a time"));
            let ending = if failure.is_some() { Ending::Transient } else { Ending::Success };
            let took = Duration::from_millis(250);
            let id = role.map(RoleName::as_str);
            attempts.span(&EndedCall { role, id, source, ending, failure, request_id, ended, took }, &mut random)
        };
        let [first, second, third, list] = [
            span(Some(&role), Some("down\nfor now"), None),
            span(Some(&role), None, Some("6b2f")),
            span(Some(&role), None, None),
            span(None, None, None),
        ];
        let has = |span: &Span, wanted: KeyValue| assert!(span.attributes.contains(&wanted), "{wanted:?}: {span:?}");
        for (span, attempt) in [(&first, 1), (&second, 2), (&third, 1), (&list, 1)] {
            has(span, KeyValue::number("alppaca.attempt", attempt));
        }
        assert_eq!((first.name.as_str(), list.name.as_str()), ("fetch credentials", "list roles"));
        assert_eq!(first.status, Some(Status { message: "down for now".to_owned(), code: ERROR }));
        assert_eq!(second.status, None);
        has(&first, KeyValue::text("alppaca.outcome", "transient"));
        has(&second, KeyValue::text("alppaca.role", "web"));
        has(&second, KeyValue::text("aws.request_id", "6b2f"));
        assert_eq!(first.end_time_unix_nano, 1_795_546_801_000_000_000);
        assert_eq!(first.end_time_unix_nano - first.start_time_unix_nano, 250_000_000);
        assert!(first.trace_id != second.trace_id && first.span_id != second.span_id);
    }
}
