//! Why a request was refused. It is decided where the answer is made; log, audit and metrics only read it.

use super::request_filter::Refusal;

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// A proxy passed it on (`X-Forwarded-For`).
    Forwarded,
    /// It came from a web page.
    WebPage,
    /// Its `Host` may be a rebound DNS name.
    Host,
    /// It needs a token or an id and had none.
    NoToken,
    /// Its token or id is unknown, expired or bound to another client.
    BadToken,
    /// The upstream refuses the role, or the token is valid and not for the role that was asked for.
    Refused,
    /// The caller may not have the role that it asked for, or any role.
    Policy,
    /// The caller, or what the policy grants it, cannot be determined.
    Unidentified,
}

impl Denial {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::Forwarded,
        Self::WebPage,
        Self::Host,
        Self::NoToken,
        Self::BadToken,
        Self::Refused,
        Self::Policy,
        Self::Unidentified,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::WebPage => "web_page",
            Self::Host => "host",
            Self::NoToken => "no_token",
            Self::BadToken => "bad_token",
            Self::Refused => "refused",
            Self::Policy => "policy",
            Self::Unidentified => "unidentified",
        }
    }
}

impl From<Refusal> for Denial {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Forwarded => Self::Forwarded,
            Refusal::WebPage => Self::WebPage,
            Refusal::Host => Self::Host,
        }
    }
}
