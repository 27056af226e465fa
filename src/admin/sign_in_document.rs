//! The documents of the admin socket about people who sign in.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::document::secret;
use crate::credentials::Secret;

/// `GET /v1/sign-in`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SignInsDocument {
    /// One for each source that needs a person.
    pub sign_ins: Vec<SignInStatus>,
}

/// The sign-in of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SignInStatus {
    /// The source.
    pub source: String,
    /// Its kind: `oidc`, `ssh`, `sso` or `aws_login`.
    pub kind: String,
    /// The provider, or the socket of the ssh-agent.
    pub issuer: String,
    /// Where a browser returns to, as configured: without a port, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<String>,
    /// Whether somebody has signed in, and need not again yet.
    pub signed_in: bool,
    /// Under which name, for people, if the provider says it.
    pub name: Option<String>,
    /// The name that the provider never gives to another.
    pub subject: Option<String>,
    /// The groups, if the provider says them.
    pub groups: Vec<String>,
    /// Since when.
    pub since: Option<String>,
    /// When the present token ends.
    pub until: Option<String>,
    /// Whether it is renewed by then without a person.
    pub renewed: bool,
    /// Why a person is needed, if one is.
    pub needed: Option<String>,
    /// Why the last renewal failed, if it did.
    pub problem: Option<String>,
}

/// How a person signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodWord {
    /// With the browser.
    Browser,
    /// With a code, at any device.
    Device,
    /// With a key in an ssh-agent.
    Agent,
}

/// `POST /v1/sign-in`: begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginRequest {
    /// The source; the only one if none is named.
    pub source: Option<String>,
    /// How.
    pub method: MethodWord,
    /// The port at which the browser is awaited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The socket of the ssh-agent, if it is not where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<PathBuf>,
}

/// The answer: what to ask for from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// The id of the attempt.
    pub attempt: String,
}

/// `POST /v1/sign-in/ATTEMPT`: what the browser brought back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackRequest {
    /// The code; empty if there is none.
    #[serde(with = "secret")]
    pub code: Secret,
    /// The state; empty if there is none.
    #[serde(with = "secret")]
    pub state: Secret,
    /// The issuer.
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
    /// The same for people.
    pub error_description: Option<String>,
}

/// `GET /v1/sign-in/ATTEMPT`: how far it is; with `/end`, when it is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "progress", rename_all = "snake_case")]
pub enum ProgressDocument {
    /// The provider is being asked.
    Preparing,
    /// The browser is to go there.
    Browser {
        /// The URL.
        #[serde(with = "secret")]
        url: Secret,
    },
    /// Any browser is to go there; what its last page shows is to be brought back.
    Paste {
        /// The URL.
        #[serde(with = "secret")]
        url: Secret,
    },
    /// The code is to be entered there.
    Device {
        /// The code.
        code: String,
        /// Where.
        url: String,
        /// A URL that has the code in it.
        complete_url: Option<String>,
        /// For how long it is valid.
        seconds: u64,
    },
    /// The browser has come back.
    Finishing,
    /// It worked.
    Done {
        /// Who has signed in; empty if the provider does not say it.
        name: String,
    },
    /// It did not.
    Failed {
        /// Why.
        message: String,
    },
}

/// `POST /v1/sign-out`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignOutRequest {
    /// The source; the only one if none is named.
    pub source: Option<String>,
}
