//! One HTTP answer, and how its head is written.

use std::sync::Arc;

use super::denial::Denial;
use crate::{
    caller::ProvenPod,
    credentials::{RoleId, SecretBytes},
    store::Published,
};

/// What every answer begins with.
pub(super) const BEGINNING: &[u8] = b"HTTP/1.1 ";

/// The statuses that are used, with their reason phrases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "they are what RFC 9110 says")]
pub enum Status {
    Ok,
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    HeadTooLarge,
    Unavailable,
}

impl Status {
    /// The number.
    pub fn code(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::HeadTooLarge => 431,
            Self::Unavailable => 503,
        }
    }

    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::Unauthorized => "401 Unauthorized",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            // As nginx says it, and what looks like it.
            Self::MethodNotAllowed => "405 Not Allowed",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Unavailable => "503 Service Unavailable",
        }
    }
}

/// What follows the head.
#[derive(Debug, Clone)]
pub enum Body {
    /// Nothing.
    Empty,
    /// A fixed text.
    Static(&'static [u8]),
    /// A text that is shared.
    Shared(Arc<[u8]>),
    /// The document of a set of credentials.
    Credentials(Arc<Published>),
    /// A document that was made of one for this answer. Secret.
    Secret(Arc<SecretBytes>),
    /// A token that was made for this answer.
    Token([u8; 56]),
}

impl Body {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Static(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Credentials(set) => set.document().expose(),
            Self::Secret(document) => document.expose(),
            Self::Token(token) => token,
        }
    }
}

/// What a request leads to.
#[derive(Debug)]
pub enum Outcome {
    /// This answer.
    Answer(Answer),
    /// The first fetch is still under way: ask again when the store has changed, or answer 503.
    Warming,
    /// What is held has expired: ask again when the store has changed, or give this answer.
    Expired(Answer),
    /// Another server has been asked: try again when its answer has arrived, or answer 503.
    Elsewhere,
}

/// How an answer presents itself: what its face writes into the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Another header, which follows it.
    pub also: Option<(&'static str, &'static str)>,
    /// `Server`, for a face that stands in for one.
    pub server: Option<&'static str>,
}

/// Credentials that are given away.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Their role.
    pub role: RoleId,
    /// The set.
    pub set: Arc<Published>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status.
    pub status: Status,
    /// Its body.
    pub body: Body,
    /// Its headers.
    pub style: Style,
    /// `Last-Modified`, where the body does not say it.
    pub modified: Option<Arc<str>>,
    /// `Allow`.
    pub allow: Option<&'static str>,
    /// A header of the face with a number.
    pub number: Option<(&'static str, u32)>,
    /// Whose credentials are in the body, for the record.
    pub issued: Option<Issued>,
    /// The pod that asked, if it has proved who it is, for the record.
    pub pod: Option<Arc<ProvenPod>>,
    /// Why the request was refused, if it was.
    pub denied: Option<Denial>,
    /// Our process id, for clients that ask whether alppaca answers.
    pub pid: Option<u32>,
}

impl Answer {
    /// An answer with that status and body.
    pub fn new(status: Status, style: Style, body: Body) -> Self {
        Self {
            status,
            body,
            style,
            modified: None,
            allow: None,
            number: None,
            issued: None,
            pod: None,
            denied: None,
            pid: None,
        }
    }

    /// The same answer, given for this reason.
    #[must_use]
    pub fn denied(self, denied: impl Into<Option<Denial>>) -> Self {
        Self { denied: denied.into(), ..self }
    }

    /// Writes the head to the end of `head`, with `date` as the time of the answer.
    pub(crate) fn write_head(&self, head: &mut Vec<u8>, date: &str, keep_alive: bool) {
        let Style { content_type, also, server } = self.style;
        head.extend_from_slice(BEGINNING);
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| head.extend_from_slice(part.as_bytes()));
        put(&[self.status.line(), "\r\nContent-Type: ", content_type, "\r\n"]);
        if let Some((name, value)) = also {
            put(&[name, ": ", value, "\r\n"]);
        }
        match (&self.body, &self.modified) {
            (Body::Credentials(set), _) => put(&["Last-Modified: ", &set.last_modified, "\r\n"]),
            (_, Some(modified)) => put(&["Last-Modified: ", modified, "\r\n"]),
            (_, None) => {}
        }
        if let Some(allow) = self.allow {
            put(&["Allow: ", allow, "\r\n"]);
        }
        put(&["Date: ", date]);
        if let Some(server) = server {
            put(&["\r\nServer: ", server]);
        }
        put(&["\r\nConnection: ", if keep_alive { "keep-alive" } else { "close" }]);
        put_number(head, "Content-Length", self.body.bytes().len());
        if let Some((name, number)) = self.number {
            put_number(head, name, number);
        }
        if let Some(pid) = self.pid {
            put_number(head, "X-Alppaca-Pid", pid);
        }
        head.extend_from_slice(b"\r\n\r\n");
    }
}

fn put_number(head: &mut Vec<u8>, name: &str, value: impl itoa::Integer) {
    for part in ["\r\n", name, ": ", itoa::Buffer::new().format(value)] {
        head.extend_from_slice(part.as_bytes());
    }
}
