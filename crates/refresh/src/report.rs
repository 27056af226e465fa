//! What the refresher logs: repeated failures at their 1st, 2nd, 4th, 8th … occurrence, and their end.

use jiff::{SignedDuration, Timestamp};

use super::{Cadence, Node, Visibility, node::Who, requests::Wanted};
use crate::{
    ErrorKind, RoleList, SourceError,
    clock::Moment,
    credentials::{AccountId, RoleName, format_timestamp},
    store::Published,
};

/// The failure of one question, remembered so that an outage of hours does not fill the log. Boxed: most have none.
#[derive(Debug, Default)]
pub(super) struct RepeatedFailure {
    failure: Option<Box<Repeated>>,
    expiry_told: bool,
}

#[derive(Debug, Default)]
struct Repeated {
    /// Without the times in it, which differ in each answer of the same kind.
    message: String,
    count: u32,
}

impl RepeatedFailure {
    /// Whether the last answer was a failure.
    pub(super) fn is_any(&self) -> bool {
        self.failure.is_some()
    }

    /// Counts a failure: returns how often in a row it was this one, and whether to log it: when it is new, and at every
    /// power of two.
    fn again(&mut self, message: &str) -> (u32, bool) {
        let failure = self.failure.get_or_insert_default();
        let message = without_times(message);
        if failure.message != message {
            **failure = Repeated { message, count: 0 };
        }
        failure.count = failure.count.saturating_add(1);
        (failure.count, failure.count.is_power_of_two())
    }

    /// Forgets; says whether there was any.
    fn over(&mut self) -> bool {
        std::mem::take(self).failure.is_some()
    }
}

/// Times are in the form that [`format_timestamp`] gives them.
fn without_times(message: &str) -> String {
    let is_time = |word: &&str| word.get(..20).is_some_and(|time| time.parse::<Timestamp>().is_ok());
    message.split(' ').filter(|word| !is_time(word)).collect::<Vec<_>>().join(" ")
}

pub(super) fn list_answered(source: &str, list: &RoleList, failure: &mut RepeatedFailure) {
    let roles = list.names.len();
    if list.problems.is_empty() {
        if failure.over() {
            notice!(source, "the role list could be read again: {roles} role(s)");
        }
        tracing::debug!("the upstream lists {roles} role(s)");
        return;
    }
    // One line however many there are; the list comes again every minute.
    let problem = format!(
        "{} line(s) of the role list are not role names and are ignored; no role is withdrawn meanwhile. First: {}",
        list.problems.len(),
        list.problems.first().map_or("", String::as_str)
    );
    if failure.again(&problem).1 {
        tracing::warn!(source, "{problem}");
    }
}

/// How far this host's clock is ahead of the upstream's, if that has begun to matter; else it has ceased to.
pub(super) fn clock(ahead: Option<SignedDuration>) {
    match ahead {
        Some(ahead) => tracing::warn!("{}; set it right: credentials end by it", clock_difference(ahead)),
        None => notice!("this host's clock agrees with the upstream's again"),
    }
}

/// How far this host's clock is ahead of the upstream's, in words.
pub fn clock_difference(ahead: SignedDuration) -> String {
    let way = if ahead.is_negative() { "behind" } else { "ahead of" };
    format!("this host's clock is {} s {way} that of the upstream", ahead.abs().as_secs())
}

pub(super) fn list_failed(source: &str, error: &SourceError, failure: &mut RepeatedFailure) {
    let doubtful = matches!(error.kind, ErrorKind::Refused { withdraws: false, .. });
    let kept = if doubtful { "; valid credentials stay in use" } else { "" };
    match failure.again(&error.message) {
        (count, true) => tracing::warn!(source, "cannot read the role list (attempt {count}): {error}{kept}"),
        (count, false) => tracing::debug!(source, "cannot read the role list (attempt {count}): {error}{kept}"),
    }
}

pub(super) fn role_appeared(name: &RoleName) {
    tracing::info!(role = %name, "role {name}: listed by the upstream");
}

pub(super) fn role_withdrawn(name: &RoleName) {
    tracing::warn!(role = %name, "role {name}: withdrawn by the upstream; no longer served");
}

pub(super) fn role_requested(wanted: &Wanted) {
    tracing::info!(role = %wanted.name(), "role {}: needed now, {wanted}", wanted.name());
}

pub(super) fn role_impossible(wanted: &Wanted, problem: &str) {
    let (role, problem) = (wanted.name(), format!("role {}: cannot be fetched {wanted}: {problem}", wanted.name()));
    match wanted {
        Wanted::Assumed(_) | Wanted::Tagged(_) => tracing::error!(%role, "{problem}"),
        // A user can ask for anything, and hears the reason.
        Wanted::Timed(_) => tracing::info!(%role, "{problem}"),
    }
}

/// `first`: whether there was none before.
pub(super) fn set_arrived(who: &Who, source: &str, set: &Published, first: bool, failure: &mut RepeatedFailure) {
    let (key, expiration) = (&*set.access_key_id, format_timestamp(set.expiration));
    let role = who.role();
    if failure.over() {
        notice!(role, source, access_key_id = key, "{who}: could be fetched again: {key}, valid until {expiration}");
    } else if first && role.is_some() {
        notice!(role, source, access_key_id = key, "{who}: fetched {key}, valid until {expiration}");
    } else {
        tracing::info!(role, source, access_key_id = key, "{who}: fetched {key}, valid until {expiration}");
    }
}

/// It may be meant, and it may be that the upstream takes this host, or the role, for another.
pub(super) fn account_changed(who: &Who, source: &str, before: AccountId, now: AccountId) {
    tracing::warn!(role = who.role(), source, "{who}: belongs to account {now} now, and before to {before}");
}

/// `refused`: by what kind of upstream, and until when what is held is served all the same. A refusal of AWS will be the
/// same until a person has done something about it. `own`: sets that a user has for itself, which hears the reason.
pub(super) fn set_failed(
    (who, own): (&Who, bool),
    error: &SourceError,
    refused: Option<(Cadence, Option<Timestamp>)>,
    failure: &mut RepeatedFailure,
) {
    let ((count, new), role) = (failure.again(&error.message), who.role());
    let kept = refused.and_then(|(_, kept)| kept).map(format_timestamp);
    let kept = kept.map(|end| format!("; the current credentials are served until {end}")).unwrap_or_default();
    match refused {
        Some(_) if new && own => {
            tracing::info!(role, "{who}: cannot fetch credentials (attempt {count}): {error}{kept}; backing off");
        }
        Some((Cadence::Aws, _)) if new => {
            tracing::error!(role, "{who}: cannot fetch credentials (attempt {count}): {error}{kept}; backing off");
        }
        _ if new => tracing::warn!(role, "{who}: cannot fetch credentials (attempt {count}): {error}{kept}"),
        _ => tracing::debug!(role, "{who}: cannot fetch credentials (attempt {count}): {error}{kept}"),
    }
}

pub(super) fn waits(who: &Who, parent: &str, failure: &mut RepeatedFailure) {
    let message = format!("waits for {parent}, whose credentials sign its calls");
    if failure.again(&message).1 {
        tracing::warn!(role = who.role(), "{who}: {message}");
    }
}

pub(super) fn parent_expired(parent: &Who, child: &Who) {
    tracing::warn!(
        role = child.role(),
        "{parent}: AWS rejects its credentials as expired in the call for {child}; fetching new ones"
    );
}

pub(super) fn candidate_changed(who: &Who, label: &str, down: bool, reason: Option<&SourceError>) {
    match reason {
        Some(reason) if down => {
            tracing::warn!(role = who.role(), source = label, "{who}: now from {label}, because {reason}");
        }
        _ => notice!(role = who.role(), source = label, "{who}: now from {label} again"),
    }
}

pub(super) fn still_stands_in(who: &Who, failed: &[SourceError]) {
    for error in failed {
        tracing::debug!(role = who.role(), "{who}: the preferred source still fails: {error}");
    }
}

pub(super) fn expiry(who: &Who, set: Option<&Published>, now: Moment, failure: &mut RepeatedFailure) {
    if let Some(set) = set.filter(|set| !set.is_valid(now) && !failure.expiry_told) {
        failure.expiry_told = true;
        let (key, expiration) = (&set.access_key_id, format_timestamp(set.expiration));
        tracing::error!(role = who.role(), "{who}: {key} expired at {expiration} and nothing newer could be fetched");
    }
}

pub(super) fn role_dropped(node: &Node) {
    if node.visibility != Visibility::Hidden {
        notice!(role = %node.name, "role {}: no longer configured; no longer served", node.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_the_same_at_another_time() {
        let expired = |time: &str| format!("they had expired at {time}; is this host's clock right?");
        let mut failure = RepeatedFailure::default();
        assert_eq!(failure.again(&expired("2026-11-26T15:26:09Z")), (1, true));
        assert_eq!(failure.again(&expired("2026-11-26T15:26:19Z")), (2, true));
        assert_eq!(failure.again(&expired("2026-11-26T15:26:29Z")), (3, false));
        assert_eq!(failure.again("status 500"), (1, true));
        assert_eq!(failure.again("status 502"), (1, true));
    }
}
