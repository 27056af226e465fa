//! Where the public keys of an issuer are, and the settings that say so.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    needs::{Need, Needs},
    settings::{
        Fields, Keys, NamedFiles, Problem, Rendered, Setting, read,
        render::quoted,
        url::{WEB_URL, is_confidential_url, is_web_url},
    },
};

/// Where the keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file (`jwks_file`).
    File(PathBuf),
    /// A URL, such as `/openid/v1/jwks` of a Kubernetes API server.
    Url {
        /// The URL (`jwks_url`).
        url: String,
        /// How it is reached.
        access: KeyAccess,
    },
    /// Where the issuer itself says (OpenID Connect Discovery).
    Issuer {
        /// The issuer, a URL that nobody on the way can change.
        issuer: String,
        /// How it is reached.
        access: KeyAccess,
    },
}

/// How the server with the keys is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyAccess {
    /// Further certificate authorities (`jwks_ca_file`).
    pub ca_file: Option<PathBuf>,
    /// A file with a token that is sent along as `Bearer` (`jwks_token_file`).
    pub token_file: Option<PathBuf>,
}

/// Where the keys come from, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyOptions {
    /// Where they are.
    pub source: KeySource,
    /// How often they are read again (`jwks_refresh`).
    pub refresh: Duration,
}

/// How many settings there are.
pub const KEY_COUNT: usize = 5;

/// The settings, for the tables of those who need keys.
pub const KEY_SETTINGS: [Setting; KEY_COUNT] = [
    Setting::nested(
        "jwks_file",
        "",
        "A file with the public keys of the issuer, a JSON Web Key Set. Without it and `jwks_url`, an `issuer` with `https` is \
         asked where its keys are (OpenID Connect Discovery).",
    ),
    Setting::nested("jwks_url", "", "The URL of the keys, such as `https://kubernetes.default.svc/openid/v1/jwks`."),
    Setting::nested(
        "jwks_ca_file",
        "",
        "PEM file of additional certificate authorities for that URL. The system's stay in force.",
    ),
    Setting::nested("jwks_token_file", "", "A file with a token that is sent to that URL, as `Bearer`."),
    Setting::nested(
        "jwks_refresh",
        "5m",
        "How often the keys are read again; earlier if a token names an unknown \
         key.",
    ),
];

const MISSING: &str =
    "`jwks_file` or `jwks_url` is missing in this section: an `issuer` without https cannot say where its keys are";

impl Keys for KeyOptions {
    const SETTINGS: &'static [Setting] = &KEY_SETTINGS;

    fn read(fields: &mut Fields) -> Option<Self> {
        Self::read_or(fields, |fields| fields.complain_here(MISSING))
    }
}

impl KeyOptions {
    /// Reads them; what is wrong is noted. `missing` is called if there is neither a file nor a URL.
    pub fn read_or(fields: &mut Fields, missing: impl FnOnce(&mut Fields)) -> Option<Self> {
        let refresh = fields.value("jwks_refresh", read::interval);
        let source = source(fields, missing);
        Some(Self { source: source?, refresh: refresh? })
    }
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

impl Rendered for KeyAccess {
    fn render(&self) -> Vec<(&'static str, String)> {
        let ca_file = self.ca_file.as_ref().map(|file| ("jwks_ca_file", path(file)));
        let token_file = self.token_file.as_ref().map(|file| ("jwks_token_file", path(file)));
        ca_file.into_iter().chain(token_file).collect()
    }
}

impl Rendered for KeyOptions {
    fn render(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        match &self.source {
            KeySource::File(file) => all.push(("jwks_file", path(file))),
            KeySource::Url { url, access } => {
                all.push(("jwks_url", quoted(url)));
                all.extend(access.render());
            }
            // The issuer is not one of these settings.
            KeySource::Issuer { access, .. } => all.extend(access.render()),
        }
        all.push(("jwks_refresh", read::render_duration(self.refresh)));
        all
    }
}

impl KeyOptions {
    /// Adds what they need beside these files.
    pub fn needs(&self, needs: &mut Needs) {
        match &self.source {
            KeySource::File(_) => {}
            KeySource::Url { url, .. } => needs.url(url, "jwks_url"),
            // Its discovery document may name another server.
            KeySource::Issuer { .. } => {
                needs.add(Need::ConnectAnywhere, "the server of the keys that the issuer names");
            }
        }
    }

    /// Adds the files that they name.
    pub fn files(&self, files: &mut NamedFiles) {
        match &self.source {
            KeySource::File(path) => files.obeyed("jwks_file", Some(path)),
            KeySource::Url { access, .. } | KeySource::Issuer { access, .. } => {
                files.authorities("jwks_ca_file", &access.ca_file);
                files.secret("jwks_token_file", &access.token_file);
            }
        }
    }
}

fn source(fields: &mut Fields, missing: impl FnOnce(&mut Fields)) -> Option<KeySource> {
    fields.exclude("jwks_file", &["jwks_url", "jwks_ca_file", "jwks_token_file"]);
    let file = fields.optional("jwks_file", read::path);
    let url = fields.optional("jwks_url", |node| {
        let text = read::text_like(node, WEB_URL)?;
        let message = "a URL with http or https is expected here";
        if is_web_url(&text) { Ok(text) } else { Err(Problem::new(node.place.clone(), message)) }
    });
    let ca_file = fields.optional("jwks_ca_file", read::path);
    let token_file = fields.optional("jwks_token_file", read::path);
    let issuer =
        fields.given("issuer").and_then(|node| read::text(node).ok()).filter(|issuer| is_confidential_url(issuer));
    let access = KeyAccess { ca_file: ca_file?, token_file: token_file? };
    match (file?, url?) {
        (Some(file), _) => Some(KeySource::File(file)),
        (None, Some(url)) => {
            if let (true, Some(place)) = (url.starts_with("http:"), fields.place("jwks_url")) {
                let message = "the keys come in clear text: anyone who can change them can impersonate any identity";
                fields.warnings.push(Problem::new(place, message));
            }
            Some(KeySource::Url { url, access })
        }
        (None, None) => match issuer {
            Some(issuer) => Some(KeySource::Issuer { issuer, access }),
            None => {
                missing(fields);
                None
            }
        },
    }
}
