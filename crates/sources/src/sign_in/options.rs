//! `sign_in`: how a person proves to a site who that is.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::pkce::RESERVED;
use crate::{
    fetch::is_clear_text,
    needs::{Need, Needs},
    settings::{
        Fields, Keys, NamedFiles, Node, OneKind, Problem, Rendered, Setting, options, read,
        render::{AsYaml, mapping, quoted},
        url::{WEB_URL, is_base_url},
    },
};

/// Whether a sign-in outlives the daemon.
pub const KEEP_SIGN_IN: Setting = Setting::nested(
    "keep_sign_in",
    "no",
    "Whether the tokens are also kept in a file of `$XDG_RUNTIME_DIR`, which is memory and ends with the session, so that \
     a restart of the daemon needs no new sign-in.",
);

options! {
    /// An OpenID provider, and what is asked of it.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Oidc {
        /// The issuer, as it stands in its tokens.
        pub issuer: String = Setting::nested(
            "issuer",
            "",
            "The OpenID provider: `https://login.example.com`. Its discovery document says the rest. Required.",
        ) => needed("a sign-in needs an `issuer`, such as https://login.example.com", issuer);
        /// The client, a public one as a rule.
        pub client_id: String = Setting::nested(
            "client_id",
            "",
            "The id under which alppaca is registered there, as a native (public) client. It is the audience of the \
             tokens. Required.",
        ) => needed("a sign-in needs a `client_id`: that under which alppaca is registered at the provider", read::text);
        /// A file with what some providers call the secret of a native client.
        pub client_secret_file: Option<PathBuf> = Setting::nested(
            "client_secret_file",
            "",
            "A file with the client's secret, for providers that give one to native clients as well.",
        ) => optional(read::path);
        /// What is asked for.
        pub scopes: Vec<String> = Setting::nested(
            "scopes",
            "openid offline_access",
            "What is requested. `offline_access` is left out if the provider does not know it; without a refresh token \
             the sign-in ends with its first ID token.",
        ) => value(scopes);
        /// Further parameters of the authorization request.
        pub parameters: Vec<(String, String)> = Setting::nested(
            "parameters",
            "",
            "A mapping of further parameters of the authorization request, such as `{prompt: consent}` or `{access_type: \
             offline}` (Google).",
        ) => or_empty(parameters) as written;
        /// Where the browser comes back to.
        pub redirect_url: String = Setting::nested(
            "redirect_url",
            "http://127.0.0.1/callback",
            "Where the browser returns to, on this host, as registered at the provider. Without a port a free one is \
             taken (RFC 8252).",
        ) => value(redirect_url);
        /// Further certificate authorities of the provider.
        pub ca_file: Option<PathBuf> = Setting::nested(
            "ca_file",
            "",
            "PEM file of additional certificate authorities for the provider. The system's stay in force.",
        ) => optional(read::path);
        /// Whether the sign-in outlives the daemon.
        pub keep_sign_in: bool = KEEP_SIGN_IN => value(read::boolean);
    }
}

options! {
    /// A key in an ssh-agent.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Ssh {
        /// Where the agent listens.
        pub agent: Option<PathBuf> = Setting::nested(
            "agent",
            "",
            "The socket of the ssh-agent. By default that of the daemon (`SSH_AUTH_SOCK`), or of the last `alppaca login`.",
        ) => optional(read::path);
        /// Which of its keys signs.
        pub key: Option<String> = Setting::nested(
            "key",
            "",
            "The key: its fingerprint (`SHA256:…`), the path of its `.pub` file, or its comment. Needed if the agent has \
             several.",
        ) => optional(read::text);
        /// How long the agent may take.
        pub patience: Duration = Setting::nested(
            "patience",
            "25s",
            "How long the agent may take to sign: it may ask the person, or wait for a touch. The challenges of \
             `alppaca-ims` are valid for 30 seconds.",
        ) => value(read::limit);
    }
}

/// How a person signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignIn {
    /// At an OpenID provider.
    Oidc(Oidc),
    /// With a key in an ssh-agent.
    Ssh(Ssh),
}

const KINDS: [OneKind<SignIn>; 2] = [
    ("oidc", Oidc::SETTINGS, |fields| Oidc::read(fields).map(SignIn::Oidc)),
    ("ssh", Ssh::SETTINGS, |fields| Ssh::read(fields).map(SignIn::Ssh)),
];

/// The tables of all kinds, for the reference.
pub const SECTIONS: &[(&str, &[Setting])] =
    &[("sign_in` of `kind: oidc", Oidc::SETTINGS), ("sign_in` of `kind: ssh", Ssh::SETTINGS)];

impl SignIn {
    /// Reads the mapping below `sign_in`, if it is there. The outer `None` says that something is wrong.
    #[allow(clippy::option_option, reason = "wrong and absent are not the same")]
    pub fn read(fields: &mut Fields) -> Option<Option<Self>> {
        let Some((place, node)) = fields.place("sign_in").zip(fields.given("sign_in").cloned()) else {
            return Some(None);
        };
        fields.of_kind(node, ("the sign-in", &place), "sign-in", KINDS.into_iter()).map(Some)
    }

    /// Adds the files that it names.
    pub fn files(&self, files: &mut NamedFiles) {
        if let Self::Oidc(oidc) = self {
            files.authorities("sign_in: ca_file", oidc.ca_file.as_ref());
            files.secret("sign_in: client_secret_file", oidc.client_secret_file.as_ref());
        }
    }

    /// Adds what it needs beside these files.
    pub fn needs(&self, needs: &mut Needs) {
        match self {
            // Its discovery document names them, and may be another one tomorrow.
            Self::Oidc(_) => needs.add(Need::ConnectAnywhere, "endpoints that the OpenID provider names"),
            Self::Ssh(ssh) => {
                if let Some(file) = ssh.key.as_deref().filter(|key| key.contains('/')) {
                    needs.read(Path::new(file), "sign_in: key");
                }
            }
        }
    }

    /// Where one signs in, in a few words.
    pub fn summary(&self) -> String {
        match self {
            Self::Oidc(oidc) => format!("sign-in at {}", oidc.issuer),
            Self::Ssh(_) => "sign-in by ssh-agent".to_owned(),
        }
    }
}

impl AsYaml for SignIn {
    fn as_yaml(&self) -> Option<String> {
        let (kind, entries) = match self {
            Self::Oidc(oidc) => ("oidc", oidc.render()),
            Self::Ssh(ssh) => ("ssh", ssh.render()),
        };
        let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value));
        Some(mapping(std::iter::once(("kind".to_owned(), kind.to_owned())).chain(entries).collect()))
    }
}

/// A URL that nobody on the way can read or change: tokens go there.
fn issuer(node: &Node) -> Result<String, Problem> {
    let text = read::text_like(node, WEB_URL)?;
    if !is_base_url(&text) {
        return read::wrong(node, "the URL of an OpenID provider, such as https://login.example.com,");
    }
    if is_clear_text(&text) {
        return read::wrong(node, "a URL with https");
    }
    Ok(text)
}

fn scopes(node: &Node) -> Result<Vec<String>, Problem> {
    let texts = read::filled_list(node, "`openid` has to be in it", read::text)?;
    let words: Vec<String> = texts.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
    if words.iter().any(|word| word == "openid") {
        Ok(words)
    } else {
        read::wrong(node, "a list of scopes with `openid` in it")
    }
}

fn parameters(node: &Node) -> Result<Vec<(String, String)>, Problem> {
    let entries = read::entries(node, "a mapping of parameters")?;
    let one = |(key, value): &(crate::settings::yaml::Key, Node)| {
        if RESERVED.contains(&key.text.as_str()) {
            let message = format!("`{}` is a parameter that alppaca sets itself", key.text);
            return Err(Problem::new(key.place.clone(), message));
        }
        Ok((key.text.clone(), read::text(value)?))
    };
    entries.iter().map(one).collect()
}

fn written(parameters: &[(String, String)]) -> Option<String> {
    let entries = parameters.iter().map(|(key, value)| (quoted(key), quoted(value)));
    (!parameters.is_empty()).then(|| mapping(entries.collect()))
}

/// An `http` URL of this host: nobody else gets what the browser brings back.
fn redirect_url(node: &Node) -> Result<String, Problem> {
    let text = read::text_like(node, WEB_URL)?;
    if is_base_url(&text) && text.starts_with("http://") && !is_clear_text(&text) {
        Ok(text)
    } else {
        read::wrong(node, "an http URL of this host, such as http://127.0.0.1/callback,")
    }
}
