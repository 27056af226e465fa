//! Answers: status, headers, body.

use std::time::Duration;

use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER as RETRY_AFTER_HEADER, SERVER, VARY, WWW_AUTHENTICATE},
};

use super::{Issued, document::render, route::Form};
use crate::{credentials::SecretBytes, rules::Decision, text::printable};

/// When a client should call again after the server's own trouble, where nothing better is known.
pub const RETRY_AFTER: Duration = Duration::from_secs(30);

/// For how long a list is fresh: the daemon asks for it as often.
const LIST_MAX_AGE: &str = "private, max-age=300";

const JSON: &str = "application/json; charset=utf-8";
const USERNAME: HeaderName = HeaderName::from_static("x-username");
/// Promises that a refusal is a decision. See the page on the IMS.
const DECIDED: HeaderName = HeaderName::from_static("alppaca-ims");
/// The life of the session in seconds, where the rule or the caller has one.
const DURATION: HeaderName = HeaderName::from_static("alppaca-ims-duration");
const NAME: &str = concat!("alppaca-ims/", env!("CARGO_PKG_VERSION"));

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, without those of HTTP itself such as the length.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Body,
}

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// Anybody may see it.
    Open(String),
    /// Credentials, or a URL that signs in.
    Secret(SecretBytes),
    /// The answer to a HEAD for something that is not made for it, so that its length is not known.
    Unknown,
}

impl Body {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Open(text) => text.as_bytes(),
            Self::Secret(bytes) => bytes.expose(),
            Self::Unknown => &[],
        }
    }
}

impl Answer {
    fn new(status: StatusCode, kind: &'static str, body: Body) -> Self {
        let headers = vec![
            (CONTENT_TYPE, HeaderValue::from_static(kind)),
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (VARY, HeaderValue::from_static("Authorization")),
            (SERVER, HeaderValue::from_static(NAME)),
        ];
        Self { status, headers, body }
    }

    fn ok(kind: &'static str, body: Body) -> Self {
        Self::new(StatusCode::OK, kind, body).decided()
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value));
        self
    }

    fn decided(self) -> Self {
        self.with(DECIDED, HeaderValue::from_static("1"))
    }

    /// For how long a session was asked for, so that a client which has asked for that sees that it was understood.
    pub(super) fn lasting(self, duration: Option<Duration>) -> Self {
        match duration {
            Some(duration) => self.with(DURATION, duration.as_secs().into()),
            None => self,
        }
    }

    /// A name in a header has printable ASCII only.
    fn user(self, user: &str) -> Self {
        let legal: String = user.chars().map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
        match HeaderValue::from_str(&legal) {
            Ok(value) => self.with(USERNAME, value),
            Err(_) => self,
        }
    }

    /// The value of a header.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).and_then(|(_, value)| value.to_str().ok())
    }

    /// The server works.
    pub fn status_ok() -> Self {
        Self::ok(JSON, Body::Open(r#"{"status": "200", "message": "OK"}"#.to_owned())).user("monitoring")
    }

    pub(super) fn accounts(decision: &Decision, with_ids: bool, user: &str) -> Self {
        let mut accounts: Vec<(&str, &str, Vec<String>)> = Vec::new();
        for grant in &decision.grants {
            let (name, role) = (grant.account.name.as_str(), json(grant.role.as_str()));
            match accounts.iter_mut().find(|(other, ..)| *other == name) {
                Some((.., roles)) => roles.push(role),
                None => accounts.push((name, grant.account.id.as_str(), vec![role])),
            }
        }
        let entry = |(name, id, roles): &(&str, &str, Vec<String>)| {
            let (name, roles) = (json(name), roles.join(", "));
            if with_ids {
                format!("{name}: {{\"id\": {}, \"roles\": [{roles}]}}", json(id))
            } else {
                format!("{name}: [{roles}]")
            }
        };
        let entries: Vec<String> = accounts.iter().map(entry).collect();
        Self::ok(JSON, Body::Open(format!("{{{}}}", entries.join(", ")))).user(user)
    }

    pub(super) fn role_list(decision: &Decision) -> Self {
        let names: Vec<&str> = decision.role_names().into_iter().map(crate::credentials::RoleName::as_str).collect();
        Self::ok("text/plain", Body::Open(names.join("\n"))).with(CACHE_CONTROL, HeaderValue::from_static(LIST_MAX_AGE))
    }

    pub(super) fn document(issued: &Issued, console_url: Option<&str>, user: &str) -> Self {
        Self::ok(JSON, Body::Secret(render(issued, console_url))).user(user)
    }

    pub(super) fn console(url: &str) -> Self {
        Self::ok("text/plain; charset=utf-8", Body::Secret(SecretBytes::new(url.as_bytes().to_vec())))
    }

    pub(super) fn head_of(form: &Form, user: &str) -> Self {
        match form {
            Form::Console { .. } => Self::ok("text/plain; charset=utf-8", Body::Unknown),
            Form::Document | Form::Both { .. } => Self::ok(JSON, Body::Unknown).user(user),
        }
    }

    pub(super) fn json(status: StatusCode, text: String, user: &str) -> Self {
        Self::new(status, JSON, Body::Open(text)).decided().user(user)
    }

    pub(super) fn method_not_allowed(allowed: &'static str) -> Self {
        let page = "<!DOCTYPE html>\n<html><body><h1>405 Method Not Allowed</h1></body></html>\n";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "text/html; charset=UTF-8", Body::Open(page.to_owned()))
            .with(ALLOW, HeaderValue::from_static(allowed))
    }

    /// A refusal that was decided, of a user if that is known.
    pub fn error(status: StatusCode, message: &str, user: Option<&str>) -> Self {
        Self::fault(status, message, user, "").decided()
    }

    /// The same with `more`, further keys of the JSON.
    pub(super) fn refusal(status: StatusCode, message: &str, user: Option<&str>, more: &str) -> Self {
        Self::fault(status, message, user, more).decided()
    }

    /// There is no such route. That may as well be the mistake of the configuration, so it is no decision.
    pub fn nowhere(path: &str) -> Self {
        Self::fault(StatusCode::NOT_FOUND, &format!("Not found: '{}'", printable(path, 200)), None, "")
    }

    /// The caller has not proven who it is. `challenges` say how it could.
    pub fn unauthorized(message: &str, challenges: &[String]) -> Self {
        let mut answer = Self::fault(StatusCode::UNAUTHORIZED, message, None, "");
        let challenges = challenges.iter().filter_map(|challenge| HeaderValue::from_str(challenge).ok());
        answer.headers.extend(challenges.map(|challenge| (WWW_AUTHENTICATE, challenge)));
        answer
    }

    /// The server's own trouble, or that of something that it needs.
    pub fn unavailable(message: &str, user: Option<&str>, again: Duration) -> Self {
        let seconds = again.as_secs().max(1);
        Self::fault(StatusCode::SERVICE_UNAVAILABLE, message, user, "").with(RETRY_AFTER_HEADER, seconds.into())
    }

    pub(super) fn other_site() -> Self {
        Self::fault(StatusCode::FORBIDDEN, "Another site sent this browser here; open the page itself", None, "")
    }

    fn fault(status: StatusCode, message: &str, user: Option<&str>, more: &str) -> Self {
        let (code, reason) = (status.as_u16(), status.canonical_reason().unwrap_or_default());
        let message = json(message);
        let body = format!(
            r#"{{"status": {code}, "error": "{code} {reason}", "exception": null, "message": {message}, "traceback": null{more}}}"#
        );
        Self::new(status, JSON, Body::Open(body)).user(user.unwrap_or("Unknown User"))
    }
}

/// A text as JSON.
pub(super) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
