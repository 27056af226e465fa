//! Audit records of files with credentials, which have no caller: which role was written where, and who may read it.

use jiff::Timestamp;
use serde::Serialize;

use super::record::bounded;
use crate::credentials::{RoleName, format_timestamp};

/// Something that happens to a file with credentials.
#[derive(Debug, Clone)]
pub struct FileEvent {
    /// When.
    pub time: Timestamp,
    /// Where it is.
    pub path: Box<str>,
    /// What.
    pub what: FileChange,
}

/// What happens to it.
#[derive(Debug, Clone)]
pub enum FileChange {
    /// It gets credentials. A file with several roles has an event for each.
    Written(Written),
    /// It is removed.
    Removed {
        /// Why.
        why: &'static str,
    },
}

/// A role that is written into a file.
#[derive(Debug, Clone)]
pub struct Written {
    /// The role.
    pub role: RoleName,
    /// The public half of the key: CloudTrail names it, too.
    pub access_key_id: Box<str>,
    /// Until then they are valid.
    pub expiration: Timestamp,
    /// The account that owns the file.
    pub owner: u32,
    /// The mode of the file.
    pub mode: u32,
    /// Users who may read it beside those that the mode lets read.
    pub users: Vec<String>,
    /// Groups who may.
    pub groups: Vec<String>,
}

/// The keys are explained in `docs/audit.md`.
#[derive(Serialize)]
struct Record<'a> {
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    file: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<&'a [String]>,
}

impl FileEvent {
    /// It as a line of JSON.
    pub fn render(&self) -> String {
        let (event, written, reason) = match &self.what {
            FileChange::Written(written) => ("file-written", Some(written), None),
            FileChange::Removed { why } => ("file-removed", None, Some(*why)),
        };
        let record = Record {
            time: self.time.to_string(),
            event,
            role: written.map(|written| written.role.as_str()),
            access_key_id: written.map(|written| &*written.access_key_id),
            expiration: written.map(|written| format_timestamp(written.expiration)),
            reason,
            file: bounded(&self.path),
            owner: written.map(|written| written.owner),
            mode: written.map(|written| format!("{:04o}", written.mode)),
            users: written.map(|written| &*written.users),
            groups: written.map(|written| &*written.groups),
        };
        // It has text keys only, and nothing in it can fail.
        serde_json::to_string(&record).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_what_is_where_and_who_may_read_it() {
        let time = "2026-11-28T08:00:00Z".parse().expect("a timestamp");
        let written = Written {
            role: "web".parse().expect("a name"),
            access_key_id: "ASIAEXAMPLE".into(),
            expiration: "2026-11-28T09:00:00Z".parse().expect("a timestamp"),
            owner: 110,
            mode: 0o600,
            users: vec!["app".into()],
            groups: Vec::new(),
        };
        let what = FileChange::Written(written);
        let event = FileEvent { time, path: "/run/alppaca/files/app".into(), what };
        assert_eq!(
            event.render(),
            "{\"time\":\"2026-11-28T08:00:00Z\",\"event\":\"file-written\",\"role\":\"web\",\
             \"access_key_id\":\"ASIAEXAMPLE\",\"expiration\":\"2026-11-28T09:00:00Z\",\
             \"file\":\"/run/alppaca/files/app\",\"owner\":110,\"mode\":\"0600\",\"users\":[\"app\"],\"groups\":[]}"
        );
        let event = FileEvent { what: FileChange::Removed { why: "the daemon stops" }, ..event };
        assert_eq!(
            event.render(),
            "{\"time\":\"2026-11-28T08:00:00Z\",\"event\":\"file-removed\",\"reason\":\"the daemon stops\",\
             \"file\":\"/run/alppaca/files/app\"}"
        );
    }
}
