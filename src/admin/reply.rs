//! A request to the admin socket, and the forms of its answers.

use std::sync::atomic::AtomicBool;

use serde::Serialize;
use zeroize::Zeroizing;

use super::document::{Code, ErrorDocument};

/// A request.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `GET`, …
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// What was sent along.
    pub body: &'a [u8],
    /// Whether it has had sets fetched: while it waits it is answered anew, and has none fetched in the place of others.
    pub begun: &'a AtomicBool,
}

/// What a request leads to.
#[derive(Debug)]
pub enum Outcome {
    /// This answer.
    Reply(Reply),
    /// Something is still being fetched: ask again when the store has changed, or else answer this.
    Wait(Reply),
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Allow`.
    pub allow: Option<&'static str>,
    /// What is spoken on the connection after this answer, in the place of HTTP (`Upgrade`).
    pub upgrade: Option<&'static str>,
    /// The body, which may be secret.
    pub body: Zeroizing<Vec<u8>>,
}

impl Reply {
    pub(super) fn json(status: u16, document: &impl Serialize) -> Self {
        // Large enough for any document of one role: a buffer that grows leaves unwiped copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
        // Writing to a Vec cannot fail, and the documents have text keys only.
        let _infallible = serde_json::to_writer(&mut *body, document);
        body.push(b'\n');
        Self { status, content_type: "application/json", allow: None, upgrade: None, body }
    }

    /// A line of text.
    pub(super) fn text(status: u16, line: &str) -> Self {
        let body = Zeroizing::new(format!("{line}\n").into_bytes());
        Self { status, content_type: "text/plain; charset=utf-8", allow: None, upgrade: None, body }
    }

    /// An error.
    pub fn error(code: Code, message: impl Into<String>) -> Self {
        Self::json(code.status(), &ErrorDocument { code, message: message.into() })
    }
}

impl Outcome {
    pub(super) fn error(code: Code, message: impl Into<String>) -> Self {
        Self::Reply(Reply::error(code, message))
    }
}
