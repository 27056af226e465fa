//! Answers about roles that another person has to approve.

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Answer, Mount,
    answer::json,
    reason::{HOW, REASON, reason},
};
use crate::{
    approvals::{Entry, State},
    credentials::format_timestamp,
    identity::Identity,
    rules::Grant,
    text::printable,
};

/// A request as people see it. The keys are part of the interface.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    state: &'static str,
    account: &'a str,
    role: &'a str,
    rule: &'a str,
    requested_by: &'a str,
    requested_at: String,
    reason: &'a str,
    /// Whether the reader is the requester.
    own: bool,
    /// Until when it waits, or lasts; since when it is over.
    until: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
}

fn shown<'a>(entry: &'a Entry, now: Timestamp, reader: &Identity) -> Shown<'a> {
    let Entry { request, answer } = entry;
    Shown {
        id: request.id.as_str(),
        state: entry.state(now).as_str(),
        account: &request.account,
        role: &request.role,
        rule: &request.rule,
        requested_by: &request.by.name,
        requested_at: format_timestamp(request.at),
        reason: &request.reason,
        own: request.by.is(reader),
        until: format_timestamp(entry.end()),
        answered_by: answer.as_ref().map(|answer| answer.by.name.as_str()),
        answered_at: answer.as_ref().map(|answer| format_timestamp(answer.at)),
        note: answer.as_ref().and_then(|answer| answer.note.as_deref()),
    }
}

#[derive(Serialize)]
struct List<'a> {
    requests: Vec<Shown<'a>>,
}

impl Answer {
    /// One request, as it stands now.
    pub fn request(status: StatusCode, entry: &Entry, now: Timestamp, reader: &Identity) -> Self {
        Self::of(status, &shown(entry, now, reader), reader)
    }

    /// These requests.
    pub fn requests(entries: &[&Entry], now: Timestamp, reader: &Identity) -> Self {
        let requests = entries.iter().map(|entry| shown(entry, now, reader)).collect();
        Self::of(StatusCode::OK, &List { requests }, reader)
    }

    fn of(status: StatusCode, value: &impl Serialize, reader: &Identity) -> Self {
        // They have only texts, which always have a form in JSON.
        Self::json(status, serde_json::to_string(value).unwrap_or_default(), &reader.name)
    }

    /// `user` may have this role if another person approves: how to ask for that, for people and for programs.
    pub fn unapproved(mount: &Mount, grant: &Grant, newest: Option<&Entry>, why: &str, user: &str) -> Self {
        let url = format!("{}/account/{}/{}/request", mount.prefix, grant.account.name, grant.role);
        let message = format!("{} needs the approval of another person; {why}. POST to {url} {HOW}", grant.label());
        let request = newest.map(|entry| format!(", \"request_id\": {}", json(entry.request.id.as_str())));
        let more = format!(", \"request_url\": {}{}", json(&url), request.unwrap_or_default());
        Self::refusal(StatusCode::FORBIDDEN, &message, Some(user), &more)
    }
}

/// Why a person whose newest request is this one does not have the role at `now`.
pub fn why_not(newest: Option<&Entry>, now: Timestamp) -> String {
    let Some(entry) = newest else { return "there is no request of yours".to_owned() };
    let (id, end) = (entry.request.id.as_str(), format_timestamp(entry.end()));
    let by = entry.answer.as_ref().map(|answer| printable(&answer.by.name, 100)).unwrap_or_default();
    match entry.state(now) {
        State::Open => format!("your request {id} waits for an answer until {end}"),
        State::Lapsed => format!("nobody answered your request {id} before {end}"),
        // It has no more time than that, or else the role would be given.
        State::Approved => format!("the approval {id} ends at {end}, before any new session could"),
        State::Ended => format!("the approval {id} ended at {end}"),
        state @ (State::Refused | State::Revoked) => format!("{id} was {} by {by}", state.as_str()),
    }
}

/// What a person writes to an answer, if anything.
pub fn note(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    if headers.contains_key(REASON) { reason(headers).map(Some) } else { Ok(None) }
}

/// What is wrong with a reason, and how one is given.
pub fn needs_reason(why: &str) -> String {
    format!("{why}: POST {HOW}")
}
