//! What the mock is to do.

use std::time::Duration;

/// How the mock behaves. It can be changed while it runs.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// The roles it lists, in this order. Any text: also illegal names.
    pub roles: Vec<String>,
    /// How long new credentials live.
    pub lifetime: Duration,
    /// The pause before each answer.
    pub latency: Duration,
    /// What it sends in place of the list.
    pub list: Option<Misbehaviour>,
    /// What it sends in place of each document.
    pub document: Option<Misbehaviour>,
    /// How many percent of all calls fail with 500.
    pub fail_percent: u8,
}

impl Default for Behaviour {
    /// The 2015 mock: one role named `test_role`.
    fn default() -> Self {
        Self {
            roles: vec!["test_role".to_owned()],
            lifetime: Duration::from_hours(1),
            latency: Duration::ZERO,
            list: None,
            document: None,
            fail_percent: 0,
        }
    }
}

/// One way of getting it wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misbehaviour {
    /// This status, with a small page.
    Status(u16),
    /// 200 without a body.
    Empty,
    /// 200 with a page of HTML.
    Html,
    /// 200 with bytes that are no text.
    Garbage,
    /// 200 with a document that says that there are no credentials.
    ErrorDocument,
    /// An `Expiration` that is no time.
    BadDate,
    /// An `Expiration` with a fraction of a second. Legal.
    FractionalDate,
    /// An `Expiration` with an offset. Legal.
    OffsetDate,
    /// Credentials that expired a minute ago.
    Expired,
    /// A document without a `Token`.
    MissingField,
    /// A body of 100 MB.
    Huge,
    /// A byte every 100 ms, for ever.
    Drip,
    /// The connection is reset in the middle of the body.
    Reset,
    /// No answer at all.
    Hang,
    /// A redirect.
    Redirect,
    /// A body said to be compressed.
    Gzip,
}

impl Misbehaviour {
    /// All that have a name on the command line; a status is written as its number.
    pub const NAMES: [(&'static str, Self); 15] = [
        ("empty", Self::Empty),
        ("html", Self::Html),
        ("garbage", Self::Garbage),
        ("error-document", Self::ErrorDocument),
        ("bad-date", Self::BadDate),
        ("fractional-date", Self::FractionalDate),
        ("offset-date", Self::OffsetDate),
        ("expired", Self::Expired),
        ("missing-field", Self::MissingField),
        ("huge", Self::Huge),
        ("drip", Self::Drip),
        ("reset", Self::Reset),
        ("hang", Self::Hang),
        ("redirect", Self::Redirect),
        ("gzip", Self::Gzip),
    ];

    /// Reads a name, or a status from 400 to 599.
    pub fn parse(text: &str) -> Option<Self> {
        let named = Self::NAMES.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        named.or_else(|| text.parse().ok().filter(|status| (400..600).contains(status)).map(Self::Status))
    }
}
