//! The section `pod_identity`: credentials for the service accounts of a Kubernetes cluster.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{FACE, PodIdentity};
use crate::{
    credentials::{Pattern, RoleName},
    faces::section::{self, Entry, OpenError, Opened, Opening, Reading},
    settings::{
        Fields, NamedFiles, Problem, Setting, Topic,
        problem::Place,
        read,
        render::{list, mapping, quoted},
        url::is_web_url,
    },
};

/// How the face is written.
pub static ENTRY: Entry = Entry {
    section: Setting::new(
        Topic::Serving,
        "pod_identity",
        "",
        "A mapping: the face of the EKS Pod Identity agent. See [below](#pod_identity) and [Containers](container.md).",
    ),
    settings: SETTINGS,
    below: &[("pod_identity.associations[]", ASSOCIATION)],
    face: FACE,
    read: |fields, reading| Some(Arc::new(Options::read(fields, reading)?)),
};

/// The settings of the section.
const SETTINGS: &[Setting] = &[
    Setting::nested(
        "listen",
        "169.254.170.23:80",
        "Where to listen: `address:port`, or a list of them. The agent of EKS is also at `[fd00:ec2::23]:80`.",
    )
    .on_restart(),
    Setting::nested(
        "issuer",
        "",
        "The issuer of the tokens (`iss`), such as `https://kubernetes.default.svc`. \
         Required.",
    ),
    Setting::nested("audience", "pods.eks.amazonaws.com", "The required audience (`aud`)."),
    Setting::nested("leeway", "60s", "How far the clocks of the issuer and of this host may differ."),
    Setting::nested(
        "jwks_file",
        "",
        "A file with the public keys of the issuer, a JSON Web Key Set. This or `jwks_url` is required.",
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
    Setting::nested(
        "associations",
        "",
        "A list of `namespace`, `service_account` and `role`. The first match counts. Required.",
    ),
];

/// The settings of one association.
const ASSOCIATION: &[Setting] = &[
    Setting::nested("namespace", "*", "The namespace; `*` matches any characters."),
    Setting::nested("service_account", "*", "The service account; `*` matches any characters."),
    Setting::nested("role", "", "The name of the role. Required."),
];

/// How the face behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The issuer of the tokens (`issuer`).
    pub issuer: String,
    /// Whom they must be for (`audience`).
    pub audience: String,
    /// How far the clocks may differ (`leeway`).
    pub leeway: Duration,
    /// Where the keys are.
    pub keys: KeySource,
    /// How often they are read again (`jwks_refresh`).
    pub refresh: Duration,
    /// Which service account has which role (`associations`). The first one that fits counts.
    pub associations: Vec<Association>,
}

/// Which service account has which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// Its namespace; `*` stands for any characters.
    pub namespace: Pattern,
    /// Its name; `*` stands for any characters.
    pub service_account: Pattern,
    /// The role.
    pub role: RoleName,
}

/// Where the keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file (`jwks_file`).
    File(PathBuf),
    /// A URL, such as `/openid/v1/jwks` of a Kubernetes API server.
    Url {
        /// The URL (`jwks_url`).
        url: String,
        /// Further certificate authorities (`jwks_ca_file`).
        ca_file: Option<PathBuf>,
        /// A file with a token that is sent along as `Bearer` (`jwks_token_file`).
        token_file: Option<PathBuf>,
    },
}

impl Options {
    fn read(fields: &mut Fields, reading: &Reading) -> Option<Self> {
        let missing = |key: &str| Problem::new(reading.place.clone(), format!("`{key}` is missing in this section"));
        let issuer = fields.optional("issuer", read::text);
        let audience = fields.value("audience", read::text);
        let leeway = fields.value("leeway", read::duration);
        let keys = keys(fields, &missing);
        let refresh = fields.value("jwks_refresh", read::interval);
        let associations = fields.items("associations", ASSOCIATION, association);
        if matches!(issuer, Some(None)) {
            fields.problems.push(missing("issuer"));
        }
        if associations.as_ref().is_some_and(Vec::is_empty) {
            fields.problems.push(missing("associations"));
        }
        Some(Self {
            issuer: issuer??,
            audience: audience?,
            leeway: leeway?,
            keys: keys?,
            refresh: refresh?,
            associations: associations?,
        })
    }
}

fn keys(fields: &mut Fields, missing: &dyn Fn(&str) -> Problem) -> Option<KeySource> {
    fields.exclude("jwks_file", &["jwks_url", "jwks_ca_file", "jwks_token_file"]);
    let file = fields.optional("jwks_file", read::path);
    let url = fields.optional("jwks_url", |node| {
        let text = read::text(node)?;
        let message = "a URL with http or https is expected here";
        if is_web_url(&text) { Ok(text) } else { Err(Problem::new(node.place.clone(), message)) }
    });
    let ca_file = fields.optional("jwks_ca_file", read::path);
    let token_file = fields.optional("jwks_token_file", read::path);
    match (file?, url?) {
        (Some(file), _) => Some(KeySource::File(file)),
        (None, Some(url)) => {
            if let (true, Some(place)) = (url.starts_with("http:"), fields.place("jwks_url")) {
                let message =
                    "the keys come in clear text: anyone who can change them can impersonate any service account";
                fields.warnings.push(Problem::new(place, message));
            }
            Some(KeySource::Url { url, ca_file: ca_file?, token_file: token_file? })
        }
        (None, None) => {
            fields.problems.push(missing("jwks_file` or `jwks_url"));
            None
        }
    }
}

fn association(place: &Place, fields: &mut Fields) -> Option<Association> {
    let namespace = fields.value("namespace", read::pattern);
    let service_account = fields.value("service_account", read::pattern);
    let role = fields.optional("role", read::role_name);
    if matches!(role, Some(None)) {
        fields.problems.push(Problem::new(place.clone(), "`role` is missing here"));
    }
    Some(Association { namespace: namespace?, service_account: service_account?, role: role?? })
}

impl section::Options for Options {
    fn render(&self) -> Vec<(&'static str, String)> {
        let path = |path: &Path| quoted(&path.to_string_lossy());
        let mut all = vec![
            ("issuer", quoted(&self.issuer)),
            ("audience", quoted(&self.audience)),
            ("leeway", read::render_duration(self.leeway)),
        ];
        match &self.keys {
            KeySource::File(file) => all.push(("jwks_file", path(file))),
            KeySource::Url { url, ca_file, token_file } => {
                all.push(("jwks_url", quoted(url)));
                all.extend(ca_file.as_ref().map(|file| ("jwks_ca_file", path(file))));
                all.extend(token_file.as_ref().map(|file| ("jwks_token_file", path(file))));
            }
        }
        all.push(("jwks_refresh", read::render_duration(self.refresh)));
        let associations = self.associations.iter().map(|association| {
            mapping(vec![
                ("namespace".to_owned(), quoted(association.namespace.as_str())),
                ("service_account".to_owned(), quoted(association.service_account.as_str())),
                ("role".to_owned(), quoted(association.role.as_str())),
            ])
        });
        all.push(("associations", list(associations)));
        all
    }

    fn open(&self, listen: &[SocketAddr], opening: &Opening) -> Result<Opened, OpenError> {
        let hosts = listen.iter().map(SocketAddr::ip).collect();
        let (face, ring) = PodIdentity::new(self.clone(), hosts, opening.shared.clone());
        let work = opening.remote.keys(&self.keys, self.refresh, ring)?;
        Ok(Opened { respond: Arc::new(face), work: Some(work) })
    }

    fn files(&self, files: &mut NamedFiles) {
        match &self.keys {
            KeySource::File(path) => files.obeyed("jwks_file", Some(path)),
            KeySource::Url { ca_file, token_file, .. } => {
                files.obeyed("jwks_ca_file", ca_file.as_ref());
                files.secret("jwks_token_file", token_file.as_ref());
            }
        }
    }
}
