//! The ways in which a mock IMS answers, as bytes to send and pauses between them.

use std::time::Duration;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp, tz::Offset};

use super::Issued;
use crate::credentials::format_timestamp;

/// A gzip stream of an empty text: the headers say it is the answer.
const GZIP: [u8; 20] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// How a request is answered. The kinds that concern dates and fields are good answers for a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As it should be.
    Good,
    /// As it should be, in chunks and without a `Content-Length`.
    Chunked,
    /// As it should be; then the connection is closed, without a word that it would be.
    GoodThenClose,
    /// Exactly these bytes with a 200.
    Raw(Vec<u8>),
    /// This status with a short text.
    Status(u16),
    /// An error of AFP (`afp-core` of 2017): this status, and JSON with this message.
    Afp(u16, &'static str),
    /// A 200 without a body.
    Empty,
    /// A login page with a 200.
    Html,
    /// Random bytes with a 200.
    Garbage,
    /// A 200 with the document by which EC2 refuses.
    Refusal,
    /// An expiration that is no date.
    BadDate,
    /// An expiration with a fraction of a second.
    FractionDate,
    /// An expiration in the zone +02:00.
    OffsetDate,
    /// Credentials that expired an hour ago.
    Expired,
    /// A document without a `Token`.
    MissingField,
    /// 100 MB, with a `Content-Length`.
    Huge,
    /// 100 MB in chunks.
    HugeChunked,
    /// The good answer, one byte after each pause of this length.
    Drip(Duration),
    /// Half of the good answer, and then a TCP reset.
    Reset,
    /// Half of the good answer, and then the end of the connection.
    Cut,
    /// The good answer, but from the middle of its body on these bytes, and blanks up to the length that was promised.
    HalfThen(Vec<u8>),
    /// The good answer, and these bytes after it, which nobody has asked for.
    GoodThen(Vec<u8>),
    /// Nothing, while the connection stays open.
    Hang,
    /// A 302 to a host that does not exist.
    Redirect,
    /// Compressed, though the request did not allow it.
    Gzip,
}

/// What is sent, and how.
pub(super) struct Plan {
    pub(super) bytes: Vec<u8>,
    pub(super) manner: Manner,
}

/// How it is sent.
pub(super) enum Manner {
    /// At once, and the connection stays open.
    KeepAlive,
    /// At once, and the connection is closed.
    Close,
    /// Byte by byte.
    Drip(Duration),
    /// The first half, and then a reset.
    Reset,
    /// The first half, and then the end.
    Cut,
    /// Followed by [`HUGE`] bytes of filler, in chunks or not.
    Huge { chunked: bool },
    /// Not at all.
    Hang,
}

/// The length of a huge body.
pub(super) const HUGE: usize = 100 * 1024 * 1024;

impl Answer {
    /// The plan for a list of these lines.
    pub(super) fn plan_list(&self, roles: &[String]) -> Plan {
        self.plan("text/html; charset=UTF-8", &roles.join("\n"))
    }

    /// The plan for a document, with its odd date or field.
    pub(super) fn plan_document(&self, issued: &Issued) -> Plan {
        let expiration = issued.expiration;
        let text = match self {
            Self::BadDate => issued.document("the day after tomorrow"),
            Self::FractionDate => issued.document(&format_timestamp(expiration).replace('Z', ".987654Z")),
            Self::OffsetDate => issued.document(&with_offset(expiration)),
            Self::MissingField => issued.document(&format_timestamp(expiration)).replace("\"Token\"", "\"Tokem\""),
            _ => issued.document(&format_timestamp(expiration)),
        };
        self.plan("application/json", &text)
    }

    fn plan(&self, kind: &str, good: &str) -> Plan {
        let ok = |kind: &str, body: &[u8]| response("200 OK", &[("Content-Type", kind)], body);
        let (bytes, manner) = match self {
            Self::Good | Self::BadDate | Self::FractionDate | Self::OffsetDate | Self::Expired | Self::MissingField => {
                (ok(kind, good.as_bytes()), Manner::KeepAlive)
            }
            Self::Chunked => (chunked(kind, good.as_bytes()), Manner::KeepAlive),
            Self::GoodThenClose => (ok(kind, good.as_bytes()), Manner::Close),
            Self::Raw(body) => (ok(kind, body), Manner::KeepAlive),
            Self::Status(status) => {
                (response(&format!("{status} Mock"), &[], b"as the mock was told"), Manner::KeepAlive)
            }
            Self::Afp(status, message) => (afp(*status, message), Manner::KeepAlive),
            Self::Empty => (ok(kind, b""), Manner::KeepAlive),
            Self::Html => {
                let page = b"<!DOCTYPE html>\n<html><body>\nLogin\n</body></html>\n";
                (ok("text/html", page), Manner::KeepAlive)
            }
            Self::Garbage => {
                let noise = super::issue::random::<512>().unwrap_or([0xff; 512]);
                // Random bytes could by chance be blank or a name; these first ones never are.
                (ok("application/octet-stream", &[b"\xff\x00\xfe".as_slice(), &noise].concat()), Manner::KeepAlive)
            }
            Self::Refusal => {
                let text = r#"{"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role"}"#;
                (ok("application/json", text.as_bytes()), Manner::KeepAlive)
            }
            Self::Huge => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {HUGE}\r\n\r\n");
                (head.into_bytes(), Manner::Huge { chunked: false })
            }
            Self::HugeChunked => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
                (head.into_bytes(), Manner::Huge { chunked: true })
            }
            Self::Drip(pause) => (ok(kind, good.as_bytes()), Manner::Drip(*pause)),
            Self::Reset => (ok(kind, good.as_bytes()), Manner::Reset),
            Self::Cut => (ok(kind, good.as_bytes()), Manner::Cut),
            Self::HalfThen(rest) => {
                let (half, second) = good.as_bytes().split_at(good.len() / 2);
                let mut rest = rest.clone();
                rest.resize(second.len(), b' ');
                (ok(kind, &[half, &rest].concat()), Manner::KeepAlive)
            }
            Self::GoodThen(rest) => ([ok(kind, good.as_bytes()), rest.clone()].concat(), Manner::KeepAlive),
            Self::Hang => (Vec::new(), Manner::Hang),
            Self::Redirect => {
                let location = [("Location", "https://login.invalid/sso?return=here")];
                (response("302 Found", &location, b""), Manner::KeepAlive)
            }
            Self::Gzip => {
                let headers = [("Content-Type", kind), ("Content-Encoding", "gzip")];
                (response("200 OK", &headers, &GZIP), Manner::KeepAlive)
            }
        };
        Plan { bytes, manner }
    }
}

impl Plan {
    /// The same with the date, which all servers send, and further headers, if it begins with a head.
    pub(super) fn with_headers(mut self, now: Timestamp, headers: &[(String, String)]) -> Self {
        if let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\r\n") {
            let mut lines: String = headers.iter().flat_map(|(name, value)| ["\r\n", name, ": ", value]).collect();
            if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date")) {
                lines += &now.strftime("\r\nDate: %a, %d %b %Y %H:%M:%S GMT").to_string();
            }
            self.bytes.splice(end..end, lines.into_bytes());
        }
        self
    }
}

fn afp(status: u16, message: &str) -> Vec<u8> {
    let phrase = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    let (code, line) = (status, format!("{status} {phrase}"));
    let body = format!(
        r#"{{"status": {code}, "error": "{line}", "exception": null, "message": "{message}", "traceback": null}}"#
    );
    let headers = [("Content-Type", "application/json; charset=utf-8"), ("X-Username", "Unknown User")];
    response(&line, &headers, body.as_bytes())
}

/// A complete response.
pub(super) fn response(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{}\r\n", headers.concat());
    [head.as_bytes(), body].concat()
}

fn chunked(kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut bytes = head.into_bytes();
    for chunk in body.chunks(100) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn with_offset(moment: Timestamp) -> String {
    let local = Offset::UTC.to_datetime(moment.saturating_add(SignedDuration::from_hours(2)).unwrap_or(moment));
    local.strftime("%Y-%m-%dT%H:%M:%S+02:00").to_string()
}
