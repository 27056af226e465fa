//! One HTTP answer, and how its head is written.

use std::{io::Write, sync::Arc};

use super::denial::Denial;
use crate::{
    credentials::{RoleId, SecretBytes},
    store::Published,
};

/// What every answer begins with.
pub(super) const BEGINNING: &[u8] = b"HTTP/1.1 ";

/// The statuses that are used, with the reason phrases of EC2.
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
            // EC2 says "Not Allowed" for 405.
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

/// The page that EC2 sends with an error. No SDK reads it.
macro_rules! page {
    ($title:literal) => {
        concat!(
            "<?xml version=\"1.0\" encoding=\"iso-8859-1\"?>\n",
            "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\"\n",
            "\t\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n",
            "<html xmlns=\"http://www.w3.org/1999/xhtml\" xml:lang=\"en\" lang=\"en\">\n",
            " <head>\n  <title>",
            $title,
            "</title>\n </head>\n <body>\n  <h1>",
            $title,
            "</h1>\n </body>\n</html>\n"
        )
        .as_bytes()
    };
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

/// How an answer presents itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As IMDS gives texts, credentials and errors.
    Imds,
    /// As IMDS gives user data.
    Binary,
    /// JSON, as ECS and EKS give credentials, and ECS errors.
    Json,
    /// A text, as EKS gives errors.
    Plain,
}

/// Credentials that are given away.
#[derive(Debug, Clone)]
pub struct Handed {
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
    /// How many seconds the client's token is still valid.
    pub token_ttl: Option<u32>,
    /// Whose credentials are in the body, for the record.
    pub handed: Option<Handed>,
    /// Why the request was refused, if it was.
    pub denied: Option<Denial>,
    /// Our process id, for clients that ask whether alppaca answers.
    pub pid: Option<u32>,
}

impl Answer {
    /// 200 with a body.
    pub fn ok(body: Body) -> Self {
        Self {
            status: Status::Ok,
            body,
            style: Style::Imds,
            modified: None,
            allow: None,
            token_ttl: None,
            handed: None,
            denied: None,
            pid: None,
        }
    }

    /// An error, with the small page that EC2 sends along.
    pub fn error(status: Status) -> Self {
        let page: &'static [u8] = match status {
            Status::BadRequest => page!("400 - Bad Request"),
            Status::Unauthorized => page!("401 - Unauthorized"),
            Status::Forbidden => page!("403 - Forbidden"),
            Status::NotFound => page!("404 - Not Found"),
            Status::HeadTooLarge => page!("431 - Request Header Fields Too Large"),
            Status::Unavailable => page!("503 - Service Unavailable"),
            // EC2 sends none here.
            Status::MethodNotAllowed | Status::Ok => b"",
        };
        Self { body: Body::Static(page), ..Self { status, ..Self::ok(Body::Empty) } }
    }

    /// The same answer, given for this reason.
    #[must_use]
    pub fn denied(self, denied: impl Into<Option<Denial>>) -> Self {
        Self { denied: denied.into(), ..self }
    }

    /// 403 without a page, as EC2 answers any PUT that is not for a token, and what a proxy passed on.
    pub fn forbidden() -> Self {
        Self { status: Status::Forbidden, ..Self::ok(Body::Empty) }
    }

    /// 405: only the methods `allow` are possible there.
    pub fn not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::error(Status::MethodNotAllowed) }
    }

    /// Writes the head to the end of `head`, with `date` as the time of the answer.
    pub(super) fn write_head(&self, head: &mut Vec<u8>, date: &str, keep_alive: bool) {
        let kind = match (self.style, self.status) {
            (Style::Json, _) => "application/json",
            (Style::Plain, _) => "text/plain; charset=utf-8",
            (Style::Binary, _) => "application/octet-stream",
            (Style::Imds, Status::Ok | Status::MethodNotAllowed) => "text/plain",
            (Style::Imds, _) if matches!(self.body, Body::Empty) => "text/plain",
            (Style::Imds, _) => "text/html",
        };
        head.extend_from_slice(BEGINNING);
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| head.extend_from_slice(part.as_bytes()));
        put(&[self.status.line(), "\r\nContent-Type: ", kind, "\r\n"]);
        let imds = matches!(self.style, Style::Imds | Style::Binary);
        if self.style == Style::Plain {
            // As Go's http.Error has it.
            put(&["X-Content-Type-Options: nosniff\r\n"]);
        }
        if imds && self.status == Status::Ok {
            let ranges = if self.style == Style::Binary { "bytes" } else { "none" };
            put(&["Accept-Ranges: ", ranges, "\r\n"]);
        }
        match (&self.body, &self.modified) {
            (Body::Credentials(set), _) => put(&["Last-Modified: ", &set.last_modified, "\r\n"]),
            (_, Some(modified)) => put(&["Last-Modified: ", modified, "\r\n"]),
            (_, None) => {}
        }
        if let Some(allow) = self.allow {
            put(&["Allow: ", allow, "\r\n"]);
        }
        put(&["Date: ", date, if imds { "\r\nServer: EC2ws" } else { "" }, "\r\nConnection: "]);
        put(&[if keep_alive { "keep-alive" } else { "close" }]);
        put_number(head, "Content-Length", self.body.bytes().len());
        if let Some(ttl) = self.token_ttl {
            put_number(head, "X-Aws-Ec2-Metadata-Token-Ttl-Seconds", ttl);
        }
        if let Some(pid) = self.pid {
            put_number(head, "X-Alppaca-Pid", pid);
        }
        head.extend_from_slice(b"\r\n\r\n");
    }
}

fn put_number(head: &mut Vec<u8>, name: &str, value: impl std::fmt::Display) {
    // Writing to a Vec cannot fail.
    let _infallible = write!(head, "\r\n{name}: {value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(answer: &Answer, keep_alive: bool) -> String {
        let mut head = Vec::new();
        answer.write_head(&mut head, "Mon, 23 Nov 2026 10:00:00 GMT", keep_alive);
        String::from_utf8(head).expect("ASCII")
    }

    #[test]
    fn a_head_carries_what_ec2s_carries() {
        let answer = Answer { token_ttl: Some(21_600), ..Answer::ok(Body::Static(b"role")) };
        assert_eq!(
            head(&answer, true),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nAccept-Ranges: none\r\n\
             Date: Mon, 23 Nov 2026 10:00:00 GMT\r\nServer: EC2ws\r\nConnection: keep-alive\r\n\
             Content-Length: 4\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 21600\r\n\r\n"
        );
    }

    #[test]
    fn an_error_carries_a_page_and_405_the_methods() {
        let error = Answer::error(Status::NotFound);
        assert!(head(&error, false).contains("404 Not Found\r\nContent-Type: text/html\r\n"));
        assert!(String::from_utf8_lossy(error.body.bytes()).contains("<h1>404 - Not Found</h1>"));
        let answer = head(&Answer::not_allowed("OPTIONS, PUT"), false);
        assert!(answer.starts_with("HTTP/1.1 405 Not Allowed\r\nContent-Type: text/plain\r\n"), "{answer}");
        let forbidden = head(&Answer::forbidden(), false);
        assert!(forbidden.starts_with("HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\n"), "{forbidden}");
        assert!(forbidden.contains("\r\nContent-Length: 0\r\n"), "{forbidden}");
        assert!(answer.contains("\r\nAllow: OPTIONS, PUT\r\n") && answer.contains("\r\nContent-Length: 0\r\n"));
    }
}
