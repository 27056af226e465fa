//! Requests to the service under test, and what can be said of its answers without a secret.

use std::{fmt, io};

use http::uri::Authority;
use zeroize::Zeroizing;

use crate::cli::wire::{Heard, exchange};

pub(super) const TOKEN: &str = "/latest/api/token";
pub(super) const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";

/// Why a case has not passed.
#[derive(Debug)]
pub(super) enum Shortfall {
    /// It answers otherwise; in words, without secrets.
    Differs(String),
    /// The case is about something that this service does not have.
    Absent(&'static str),
}

impl From<io::Error> for Shortfall {
    fn from(error: io::Error) -> Self {
        Self::Differs(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "it did not answer and close in time".to_owned(),
            _ => format!("no answer: {error}"),
        })
    }
}

/// How a case went.
pub(super) type Checked = Result<(), Shortfall>;

/// Passes if it holds; else it says why not.
pub(super) fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Shortfall::Differs(otherwise())) }
}

/// Passes if the answer has this status.
pub(super) fn expect_status(answer: &Heard, status: u16, to: impl fmt::Display) -> Checked {
    expect(answer.status == status, || format!("{} to {to}, not {status}", answer.status))
}

/// The service under test.
pub(super) struct Probe {
    authority: Authority,
}

impl Probe {
    pub(super) fn new(authority: Authority) -> Self {
        Self { authority }
    }

    /// Sends exactly this, which has to have the service close the connection.
    pub(super) fn raw(&self, request: &str) -> io::Result<Heard> {
        exchange(&self.authority, request.as_bytes())
    }

    /// A request with these header lines, each with its end.
    pub(super) fn send(&self, method: &str, path: &str, lines: &str) -> io::Result<Heard> {
        let authority = &self.authority;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n{lines}\r\n");
        self.raw(&Zeroizing::new(request))
    }

    pub(super) fn put_token(&self, ttl: &str) -> io::Result<Heard> {
        self.send("PUT", TOKEN, &format!("{TTL}: {ttl}\r\nContent-Length: 0\r\n"))
    }

    /// A token that counts for so many seconds.
    pub(super) fn token(&self, ttl: &str) -> Result<Zeroizing<String>, Shortfall> {
        let answer = self.put_token(ttl)?;
        expect_status(&answer, 200, "a PUT for a token")?;
        Ok(answer.body)
    }

    /// A GET with a token of these header names.
    pub(super) fn get_with(&self, path: &str, token: &str, lines: &str) -> io::Result<Heard> {
        self.send("GET", path, &Zeroizing::new(format!("X-aws-ec2-metadata-token: {token}\r\n{lines}")))
    }

    /// A GET with a new token.
    pub(super) fn get(&self, path: &str) -> Result<Heard, Shortfall> {
        Ok(self.get_with(path, &self.token("60")?, "")?)
    }

    /// As [`get`](Self::get), of something that not every service has.
    pub(super) fn get_if_there(&self, path: &str) -> Result<Heard, Shortfall> {
        let answer = self.get(path)?;
        if answer.status == 404 { Err(Shortfall::Absent("it does not have this path")) } else { Ok(answer) }
    }

    /// The path of the first role's document.
    pub(super) fn role_path(&self) -> Result<String, Shortfall> {
        let answer = self.get(LIST)?;
        if answer.status == 404 {
            return Err(Shortfall::Absent("it has no role"));
        }
        expect_status(&answer, 200, LIST)?;
        Ok(format!("{LIST}{}", answer.body.lines().next().unwrap_or_default().trim()))
    }

    /// The first role's document.
    pub(super) fn document(&self) -> Result<Heard, Shortfall> {
        let path = self.role_path()?;
        let answer = self.get(&path)?;
        expect_status(&answer, 200, "the document of its role")?;
        Ok(answer)
    }
}
