//! The record of a decision: one line of JSON.

use jiff::Timestamp;
use serde::Serialize;

use super::{client::Client, counters::Ending};
use crate::{
    approvals::{Entry, Word},
    credentials::format_timestamp,
    identity::{Identity, Peer},
    rules::Grant,
    sts::Minted,
};

/// One decision. Keys without a value are left out.
#[derive(Debug, Serialize)]
pub(super) struct Record<'a> {
    time: String,
    event: &'static str,
    mount: &'a str,
    peer: String,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_identity: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    console: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    emergency: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aws_request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Record<'a> {
    /// What is known of each request.
    pub(super) fn new(ending: Ending, mount: &'a str, client: &Client, path: &'a str, now: Timestamp) -> Self {
        Self {
            time: now.to_string(),
            event: ending.word(),
            mount: if mount.is_empty() { "/" } else { mount },
            peer: place(&client.peer),
            path,
            identity: None,
            method: None,
            proven_by: None,
            proof: None,
            rule: None,
            account: None,
            role: None,
            session_name: None,
            source_identity: None,
            console: false,
            emergency: None,
            approval: None,
            requested_by: None,
            until: None,
            access_key_id: None,
            aws_request_id: None,
            expiration: None,
            reason: None,
        }
    }

    /// Who it was, and how that was proven.
    pub(super) fn by(self, identity: &'a Identity) -> Self {
        Self {
            identity: Some(&identity.name),
            method: Some(identity.method),
            proven_by: Some(&identity.proven_by),
            proof: Some(&identity.proof),
            ..self
        }
    }

    /// What it is about.
    pub(super) fn about(self, grant: &'a Grant, console: bool) -> Self {
        Self {
            rule: Some(&grant.rule),
            account: Some(grant.account.id.as_str()),
            role: Some(grant.role.as_str()),
            session_name: Some(&grant.session_name),
            source_identity: grant.source_identity.as_deref(),
            console,
            emergency: grant.emergency.as_deref(),
            approval: grant.approval.as_ref().map(|approved| approved.id.as_str()),
            ..self
        }
    }

    /// What was handed out.
    pub(super) fn with(self, minted: &'a Minted) -> Self {
        Self {
            access_key_id: Some(&minted.credentials.access_key_id),
            aws_request_id: minted.request_id.as_deref(),
            expiration: Some(format_timestamp(minted.credentials.expiration)),
            ..self
        }
    }

    /// That it is the alert before a hand-out in an emergency, for this reason.
    pub(super) fn alert(self, reason: &'a str) -> Self {
        Self { event: "emergency", reason: Some(reason), ..self }
    }

    /// That this happens to a request for approval.
    pub(super) fn approval(self, event: &'static str, entry: &'a Entry) -> Self {
        let Entry { request, answer } = entry;
        let approved = answer.as_ref().filter(|answer| answer.word == Word::Approved);
        Self {
            event,
            rule: Some(&request.rule),
            account: Some(request.account_id()),
            role: Some(&request.role),
            approval: Some(request.id.as_str()),
            requested_by: Some(&request.by.name),
            until: approved.map(|answer| format_timestamp(answer.until)),
            reason: answer.as_ref().map_or(Some(request.reason.as_str()), |answer| answer.note.as_deref()),
            ..self
        }
    }

    /// Why not.
    pub(super) fn because(self, reason: &'a str) -> Self {
        Self { reason: Some(reason), ..self }
    }
}

/// Where a client is, for people.
pub(super) fn place(peer: &Peer) -> String {
    match peer {
        Peer::Tcp(address) => address.to_canonical().to_string(),
        Peer::Unix { uid } => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_key_is_published_and_no_other() {
        let text = Some("");
        let record = Record {
            time: String::new(),
            event: "",
            mount: "",
            peer: String::new(),
            path: "",
            identity: text,
            method: text,
            proven_by: text,
            proof: text,
            rule: text,
            account: text,
            role: text,
            session_name: text,
            source_identity: text,
            console: true,
            emergency: text,
            approval: text,
            requested_by: text,
            until: Some(String::new()),
            access_key_id: text,
            aws_request_id: text,
            expiration: Some(String::new()),
            reason: text,
        };
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../../../docs/schemas/ims/audit.schema.json")).expect("JSON");
        let keys = |value: &serde_json::Value| -> BTreeSet<String> {
            value.as_object().expect("a mapping").keys().cloned().collect()
        };
        assert_eq!(keys(&serde_json::to_value(record).expect("JSON")), keys(&schema["oneOf"][0]["properties"]));
    }
}
