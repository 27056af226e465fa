//! What the refresher tells the log: each trouble once and then ever more rarely, and its end.

use jiff::Timestamp;

use crate::{
    credentials::{RoleName, format_timestamp},
    source::{RoleList, SourceError},
    store::Published,
};

/// The trouble with one question, remembered so that an outage of hours does not fill the log.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    message: Option<String>,
    count: u32,
    expiry_told: bool,
}

impl Trouble {
    /// Whether the last answer was a failure.
    pub(super) fn is_any(&self) -> bool {
        self.message.is_some()
    }

    /// Counts a failure; says whether it is to be told: when it is new, and at every power of two.
    fn again(&mut self, message: &str) -> bool {
        if self.message.as_deref() != Some(message) {
            self.message = Some(message.to_owned());
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.count.is_power_of_two()
    }

    /// Forgets; says whether there was any.
    fn over(&mut self) -> bool {
        std::mem::take(self).message.is_some()
    }
}

pub(super) fn list_answered(list: &RoleList, trouble: &mut Trouble) {
    let roles = list.names.len();
    if list.problems.is_empty() {
        if trouble.over() {
            tracing::warn!("the role list could be read again: {roles} role(s)");
        }
        tracing::debug!("the upstream lists {roles} role(s)");
        return;
    }
    // One line however many there are; the list comes again every minute.
    let problem = format!(
        "{} line(s) of the role list are no role names and are ignored; no role is withdrawn meanwhile. First: {}",
        list.problems.len(),
        list.problems.first().map_or("", String::as_str)
    );
    if trouble.again(&problem) {
        tracing::warn!("{problem}");
    }
}

pub(super) fn list_failed(error: &SourceError, trouble: &mut Trouble) {
    if trouble.again(&error.message) {
        tracing::warn!("cannot read the role list (attempt {}): {error}", trouble.count);
    } else {
        tracing::debug!("cannot read the role list (attempt {}): {error}", trouble.count);
    }
}

pub(super) fn role_appeared(name: &RoleName) {
    tracing::info!("role {name}: listed by the upstream");
}

pub(super) fn role_withdrawn(name: &RoleName) {
    tracing::warn!("role {name}: withdrawn by the upstream; no longer served");
}

pub(super) fn set_arrived(name: &RoleName, set: &Published, trouble: &mut Trouble) {
    let (key, expiration) = (&set.access_key_id, format_timestamp(set.expiration));
    if trouble.over() {
        tracing::warn!("role {name}: could be fetched again: {key}, valid until {expiration}");
    } else {
        tracing::info!("role {name}: fetched {key}, valid until {expiration}");
    }
}

pub(super) fn set_failed(name: &RoleName, error: &SourceError, trouble: &mut Trouble) {
    if trouble.again(&error.message) {
        tracing::warn!("role {name}: cannot fetch credentials (attempt {}): {error}", trouble.count);
    } else {
        tracing::debug!("role {name}: cannot fetch credentials (attempt {}): {error}", trouble.count);
    }
}

pub(super) fn expiry(name: &RoleName, set: Option<&Published>, now: Timestamp, trouble: &mut Trouble) {
    if let Some(set) = set.filter(|set| set.expiration <= now && !trouble.expiry_told) {
        trouble.expiry_told = true;
        let (key, expiration) = (&set.access_key_id, format_timestamp(set.expiration));
        tracing::error!("role {name}: {key} expired at {expiration} and nothing newer could be fetched");
    }
}
