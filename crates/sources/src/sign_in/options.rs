//! `sign_in`: how a person proves to a site who that is.

use std::path::PathBuf;

use super::pkce::RESERVED;
use crate::{
    fetch::is_clear_text,
    settings::{
        Fields, Keys, NamedFiles, Node, Problem, Setting, options, read,
        render::{AsYaml, entries, mapping, quoted},
        url::is_base_url,
        yaml::Value,
    },
};

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
        pub keep_sign_in: bool = Setting::nested(
            "keep_sign_in",
            "no",
            "Whether the tokens are also kept in a file of `$XDG_RUNTIME_DIR`, which is memory and ends with the \
             session, so that a restart of the daemon needs no new sign-in.",
        ) => value(read::boolean);
    }
}

/// How a person signs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignIn {
    /// At an OpenID provider.
    Oidc(Oidc),
}

const KINDS: [(&str, &[Setting]); 1] = [("oidc", Oidc::SETTINGS)];

/// The tables of all kinds, for the reference.
pub const SECTIONS: &[(&str, &[Setting])] = &[("sign_in` of `kind: oidc", Oidc::SETTINGS)];

impl SignIn {
    /// Reads the mapping below `sign_in`, if it is there. The outer `None` says that something is wrong.
    #[allow(clippy::option_option, reason = "wrong and absent are not the same")]
    pub fn read(fields: &mut Fields) -> Option<Option<Self>> {
        let Some((place, mut node)) = fields.place("sign_in").zip(fields.given("sign_in").cloned()) else {
            return Some(None);
        };
        let words = KINDS.map(|(word, _)| word);
        let kind = fields.take_kind(&mut node, ("the sign-in", &place), "sign-in", &words)?;
        let (_, settings) = *KINDS.get(kind)?;
        fields.nested(node, settings, Oidc::read).map(|oidc| Some(Self::Oidc(oidc)))
    }

    /// Adds the files that it names.
    pub fn files(&self, files: &mut NamedFiles) {
        let Self::Oidc(oidc) = self;
        files.obeyed("sign_in: ca_file", oidc.ca_file.as_ref());
        files.secret("sign_in: client_secret_file", oidc.client_secret_file.as_ref());
    }

    /// Where one signs in, in a few words.
    pub fn summary(&self) -> String {
        let Self::Oidc(oidc) = self;
        format!("sign-in at {}", oidc.issuer)
    }
}

impl AsYaml for SignIn {
    fn as_yaml(&self) -> Option<String> {
        let Self::Oidc(oidc) = self;
        Some(entries(oidc).replacen('{', "{kind: oidc, ", 1))
    }
}

/// A URL that nobody on the way can read or change: tokens go there.
fn issuer(node: &Node) -> Result<String, Problem> {
    let text = read::text(node)?;
    if !is_base_url(&text) {
        return read::wrong(node, "the URL of an OpenID provider, such as https://login.example.com,");
    }
    if is_clear_text(&text) {
        return read::wrong(node, "a URL with https");
    }
    Ok(text)
}

fn scopes(node: &Node) -> Result<Vec<String>, Problem> {
    let texts = read::list(node, read::text)?;
    let words: Vec<String> = texts.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
    if words.iter().any(|word| word == "openid") {
        Ok(words)
    } else {
        read::wrong(node, "a list of scopes with `openid` in it")
    }
}

fn parameters(node: &Node) -> Result<Vec<(String, String)>, Problem> {
    let Value::Map(entries) = &node.value else { return read::wrong(node, "a mapping of parameters") };
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
    let text = read::text(node)?;
    if is_base_url(&text) && text.starts_with("http://") && !is_clear_text(&text) {
        Ok(text)
    } else {
        read::wrong(node, "an http URL of this host, such as http://127.0.0.1/callback,")
    }
}
