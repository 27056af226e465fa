//! The lanes of the timelines. Pure.

use jiff::Timestamp;

use super::Shown;
use crate::{
    clock::until,
    page::{Kind, Lane, Span, Tone, clock_time, duration, moment},
    refresh_stats::{CallsInARow, Happening, Outcome, REMEMBERED, SourceHistory},
};

/// A set: when it came, when it ends, when the next one was to be fetched.
type Set = (Timestamp, Timestamp, Timestamp);

/// The lane of a role.
pub(super) fn of_role(role: &Shown, now: Timestamp) -> Lane {
    let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    // A set that was taken away is not held to its end.
    let taken = if role.status.state == "denied" { time(&role.status.since) } else { None };
    let mut spans = Vec::new();
    let sets: Vec<Set> = role.happenings.iter().filter_map(set).collect();
    for (index, set) in sets.iter().enumerate() {
        let next = sets.get(index + 1).map(|next| next.0);
        spans.extend(of_set(*set, next, taken.filter(|_| next.is_none()), now));
    }
    if sets.is_empty()
        && role.tone == Tone::Bad
        && let Some(calls) = role.happenings.iter().find_map(calls)
    {
        spans.push(without(calls.from, now));
    }
    spans.extend(role.happenings.iter().filter_map(calls).map(of_calls));
    spans.extend(sets.iter().map(|(at, end, _)| Span {
        kind: Kind::Came,
        from: *at,
        to: *at,
        about: format!("a set came at {}, valid until {}", exact(*at), exact(*end)),
    }));
    let state = (role.tone, role.status.state.clone());
    Lane { name: role.status.name.clone(), state, summary: summary(role, sets.last(), now), spans }
}

fn of_set((at, end, again): Set, next: Option<Timestamp>, taken: Option<Timestamp>, now: Timestamp) -> Vec<Span> {
    let over = [Some(end), next, taken].into_iter().flatten().min().unwrap_or(end);
    let span = |kind, from, to, about| Span { kind, from, to, about };
    let mut spans = vec![span(Kind::Valid, at, over.min(now), format!("valid {} to {}", exact(at), exact(over)))];
    if over > now {
        spans.push(span(Kind::Ahead, now, over, format!("valid until {}", exact(over))));
        if again < over {
            spans.push(span(
                Kind::Window,
                again.max(now),
                over,
                format!("the next set is fetched from {} on", exact(again)),
            ));
        }
    }
    let gap = next.unwrap_or(now);
    if over < gap {
        spans.push(without(over, gap));
    }
    spans
}

fn without(from: Timestamp, to: Timestamp) -> Span {
    Span { kind: Kind::Without, from, to, about: format!("no valid set {} to {}", exact(from), exact(to)) }
}

fn of_calls(calls: CallsInARow) -> Span {
    let CallsInARow { outcome, from, to, times } = calls;
    let (kind, what) = match outcome {
        Outcome::Answer => (Kind::Answered, "answered"),
        Outcome::Failure => (Kind::Failed, "failed"),
        Outcome::Refusal => (Kind::Refused, "refused"),
    };
    Span { kind, from, to, about: format!("{times} {what}, {} to {}", exact(from), exact(to)) }
}

/// The lane of a source.
pub(super) fn of_source(history: &SourceHistory, now: Timestamp) -> Lane {
    let count = |outcome| {
        let same = history.calls.iter().filter(|calls| calls.outcome == outcome);
        same.map(|calls| u32::from(calls.times)).sum::<u32>()
    };
    let (tone, state) = source_state(history);
    let summary = format!(
        "{state}; in the last six hours {} answered, {} failed, {} refused",
        count(Outcome::Answer),
        count(Outcome::Failure),
        count(Outcome::Refusal)
    );
    // It was as it was at its last call until the next one.
    let lasting = history.calls.iter().enumerate().map(|(index, calls)| {
        let to = history.calls.get(index + 1).map_or(now, |next| next.from);
        Span { to, ..of_calls(*calls) }
    });
    let spans = lasting.collect();
    Lane { name: history.source.to_string(), state: (tone, state.to_owned()), summary, spans }
}

/// How a source is, by its last call.
pub(super) fn source_state(history: &SourceHistory) -> (Tone, &'static str) {
    match history.calls.last().map(|calls| calls.outcome) {
        Some(Outcome::Answer) => (Tone::Good, "answers"),
        Some(Outcome::Failure) => (Tone::Bad, "fails"),
        Some(Outcome::Refusal) => (Tone::Warning, "refuses"),
        None => (Tone::Quiet, "unknown"),
    }
}

fn summary(role: &Shown, last: Option<&Set>, now: Timestamp) -> String {
    let mut parts = vec![role.status.state.clone()];
    if let Some((at, end, _)) = last {
        parts.push(format!("last set fetched {}", moment(*at, now)));
        parts.push(format!("valid until {}", moment(*end, now)));
    }
    if let Some(next) = role.next {
        parts.push(format!("next refresh {}", moment(next.max(now), now)));
    }
    parts.push(format!("in the last six hours {}", counts(&role.happenings, now)));
    parts.join("; ")
}

/// What there was in the last hours, in numbers: all that is to be seen on the lane.
pub(super) fn counts(happenings: &[Happening], now: Timestamp) -> String {
    let recent = |time: Timestamp| until(now, time) < REMEMBERED;
    let sets: Vec<Set> = happenings.iter().filter_map(set).collect();
    let fetched = sets.iter().filter(|(at, ..)| recent(*at)).count();
    let mut parts = vec![format!("{fetched} set(s)")];
    for (outcome, what) in [(Outcome::Failure, "failed"), (Outcome::Refusal, "refused")] {
        let calls: Vec<_> =
            happenings.iter().filter_map(calls).filter(|calls| calls.outcome == outcome && recent(calls.to)).collect();
        if let [first, ..] = &*calls {
            let times: u32 = calls.iter().map(|calls| u32::from(calls.times)).sum();
            let last = calls.last().map_or(first.to, |last| last.to);
            let span = format!("{} to {}", clock_time(first.from, now), clock_time(last, now));
            parts.push(format!("{times} {what} ({span})"));
        }
    }
    let gaps = sets.iter().enumerate().map(|(index, (_, end, _))| {
        let next = sets.get(index + 1).map_or(now, |next| next.0);
        until(next, *end)
    });
    let without: std::time::Duration = gaps.sum();
    if !without.is_zero() {
        parts.push(format!("{} without a valid set", duration(without)));
    }
    parts.join(", ")
}

fn set(happening: &Happening) -> Option<Set> {
    match happening {
        Happening::Set { at, end, again } => Some((*at, *end, *again)),
        Happening::Calls(_) => None,
    }
}

fn calls(happening: &Happening) -> Option<CallsInARow> {
    match happening {
        Happening::Calls(calls) => Some(*calls),
        Happening::Set { .. } => None,
    }
}

fn exact(time: Timestamp) -> String {
    time.strftime("%H:%M:%S").to_string()
}
