//! `kind: web_identity`: a token of an OpenID Connect issuer for credentials.

use std::path::PathBuf;

use super::{Aws, Kind, SourceKind, aws, concat, required, setting};
use alppaca_settings::{Setting, fields::Fields, read, render::quoted};

/// The token and where it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebIdentity {
    /// The file of the token (`token_file`).
    pub token_file: PathBuf,
    /// How STS is called.
    pub aws: Aws,
}

pub(in crate::config) const KIND: Kind = Kind {
    word: "web_identity",
    settings: &SETTINGS,
    read: |fields| read_web_identity(fields).map(|identity| SourceKind::WebIdentity(Box::new(identity))),
};

const OWN: [Setting; 1] =
    [setting("token_file", "", "The file of the token, which is read again for each call. Required.")];
const SETTINGS: [Setting; aws::COUNT + 1] = concat(OWN, aws::SETTINGS);

fn read_web_identity(fields: &mut Fields) -> Option<WebIdentity> {
    let message = "a web identity needs a `token_file`, such as /var/run/secrets/tokens/aws";
    let token_file = required(fields, "token_file", message, read::path);
    let aws = Aws::read(fields);
    Some(WebIdentity { token_file: token_file?, aws: aws? })
}

pub(super) fn render(identity: &WebIdentity) -> Vec<(&'static str, String)> {
    let mut all = vec![("token_file", quoted(&identity.token_file.to_string_lossy()))];
    all.extend(identity.aws.render());
    all
}

impl WebIdentity {
    /// In a few words.
    pub(in crate::config) fn summary(&self) -> String {
        format!("{}, {}", self.token_file.display(), self.aws.summary())
    }
}
