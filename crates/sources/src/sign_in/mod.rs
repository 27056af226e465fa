//! How people sign in at a site: at an `OpenID` provider, by the browser (authorization code with PKCE) or by a code for
//! another device, or with a key in an ssh-agent. Tokens are held here, and renewed for as long as the provider allows.
//!
//! <https://openid.net/specs/openid-connect-core-1_0.html>, RFC 6749, RFC 7636, RFC 8252, RFC 8628.

mod answer;
mod attempt;
mod kept;
mod known;
mod options;
mod person;
mod pkce;
mod provider;
mod registry;
mod session;
mod ssh;

pub use attempt::Progress;
pub use known::{Known, Method};
pub use options::{Oidc, SECTIONS, SignIn, Ssh};
pub use person::Person;
pub use pkce::Callback;
pub use registry::{BeginError, SignIns};
pub use session::{NoToken, Report, Session};
pub use ssh::{Request as SshRequest, SshSession};

use crate::{
    fetch::{FetchError, Proxies},
    text::{printable, redact},
};

/// What a session has to know of its provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The provider, and what is asked of it.
    pub oidc: Oidc,
    /// The proxies in front of it.
    pub proxies: Proxies,
}

/// Why a provider gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// It cannot be reached, or is in trouble: later it may.
    #[error("{0}")]
    Temporary(String),
    /// It says no.
    #[error("the provider says {code}{}", describe(.message))]
    Refused {
        /// In the words of OAuth: `invalid_grant`, `access_denied`, …
        code: String,
        /// The same for people, if it says more.
        message: String,
    },
    /// Something is wrong that no repetition would change.
    #[error("{0}")]
    Wrong(String),
}

impl Failure {
    fn refused(code: &str, message: &str) -> Self {
        Self::Refused { code: printable(code, 60), message: printable(&redact(message), 200) }
    }
}

fn describe(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Temporary(error.0)
    }
}
