//! How people sign in: at an `OpenID` provider or IAM Identity Center, by the browser (authorization code with PKCE) or by a
//! code for another device, at the AWS console, or with a key in an ssh-agent. Tokens are held here, and renewed for as long
//! as the provider allows.
//!
//! <https://openid.net/specs/openid-connect-core-1_0.html>, RFC 6749, RFC 7636, RFC 8252, RFC 8628.

mod answer;
mod attempt;
pub(crate) mod console;
mod held;
mod identity_center;
mod kept;
mod known;
mod openid;
mod options;
mod person;
mod pkce;
mod provider;
mod registry;
mod session;
mod ssh;

pub use attempt::Progress;
pub use console::ConsoleSettings;
pub use identity_center::IdentityCenterSettings;
pub use known::{Known, Method};
pub use openid::OpenIdSettings;
pub use options::{KEEP_SIGN_IN, Oidc, SECTIONS, SignIn, Ssh};
pub use person::Person;
pub use pkce::Callback;
pub use provider::Settings;
pub use registry::{BeginError, SignIns};
pub use session::{NoToken, Report, Session};
pub use ssh::{Request as SshRequest, SshSession};

use crate::{
    fetch::{FetchError, SetupError},
    text::{printable, redact},
};

/// Where the browser comes back to at AWS, at any port: <http://127.0.0.1:PORT/oauth/callback>.
const LOOPBACK: &str = "http://127.0.0.1/oauth/callback";
/// RFC 8628, section 3.4.
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

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

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        Self::Wrong(error.to_string())
    }
}
