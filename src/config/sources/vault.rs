//! `kind: vault`: HashiCorp Vault's AWS secrets engine.

use std::{path::PathBuf, time::Duration};

use super::{
    super::{Proxying, proxies},
    Kind, Rate, SourceKind,
    aws::{endpoint, rate, render_rate},
    concat,
    process::SERVE_LONG_TERM,
    required, setting,
};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::Problem,
    read::{self, render_duration},
    render::quoted,
};

/// The server and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vault {
    /// `https://vault.example.com:8200` (`address`).
    pub address: String,
    /// `namespace`.
    pub namespace: Option<String>,
    /// Where the AWS secrets engine is mounted (`mount`).
    pub mount: String,
    /// Whether `sts/ROLE` is asked, and not `creds/ROLE` (`endpoint`).
    pub sts: bool,
    /// How we show who we are.
    pub auth: Auth,
    /// Whether clients get sets without a session token (`serve_long_term`).
    pub serve_long_term: bool,
    /// Further certificate authorities (`ca_file`).
    pub ca_file: Option<PathBuf>,
    /// Certificate chain and key of the client (`client_certificate`, `client_key`).
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// For one connection (`connect_timeout`).
    pub connect_timeout: Duration,
    /// For one whole call (`timeout`).
    pub timeout: Duration,
    /// How many calls may begin in a second (`rate`).
    pub rate: Rate,
    /// How many calls may run at once (`concurrency`).
    pub concurrency: usize,
    /// The proxy in front of it.
    pub proxying: Proxying,
}

/// How we show who we are to Vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// `token_file`.
    TokenFile(PathBuf),
    /// `approle_role_id` and what belongs to it.
    AppRole {
        /// `approle_mount`.
        mount: String,
        /// `approle_role_id`.
        role_id: String,
        /// `approle_secret_id_file`.
        secret_id_file: Option<PathBuf>,
    },
    /// `kubernetes_role` and what belongs to it.
    Kubernetes {
        /// `kubernetes_mount`.
        mount: String,
        /// `kubernetes_role`.
        role: String,
        /// `kubernetes_token_file`.
        token_file: PathBuf,
    },
}

pub(in crate::config) const KIND: Kind = Kind {
    word: "vault",
    settings: &SETTINGS,
    read: |fields| read_vault(fields).map(|vault| SourceKind::Vault(Box::new(vault))),
};

const OWN: [Setting; 19] = [
    setting("address", "", "Where Vault is: `https://vault.example.com:8200`. Required."),
    setting("namespace", "", "The namespace (Vault Enterprise, OpenBao)."),
    setting("mount", "aws", "Where the AWS secrets engine is mounted."),
    setting("endpoint", "sts", "`sts` or `creds`: the path of the engine. `creds` for roles of the type `iam_user`."),
    setting(
        "token_file",
        "",
        "The file of a token that another program renews, such as Vault Agent; read again each time.",
    ),
    setting("approle_role_id", "", "Log in with AppRole: the role's id."),
    setting("approle_secret_id_file", "", "The file of its secret id, read again at each login."),
    setting("approle_mount", "approle", "Where AppRole is mounted, below `auth/`."),
    setting("kubernetes_role", "", "Log in with a service account: the role of that method."),
    setting(
        "kubernetes_token_file",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "The file of the account's token, read again at each login.",
    ),
    setting(
        "kubernetes_mount",
        "kubernetes",
        "Where the method is mounted, below `auth/`. A mount of the type `jwt` works as well.",
    ),
    SERVE_LONG_TERM,
    setting("ca_file", "", "PEM file of additional certificate authorities. The system's stay in force."),
    setting("client_certificate", "", "PEM file of the client's certificate and its chain."),
    setting("client_key", "", "PEM file of the client's private key, unencrypted."),
    setting("connect_timeout", "3s", "Longest time for the TCP, proxy and TLS handshakes of a connection."),
    setting("timeout", "15s", "Longest time for one whole call."),
    setting("rate", "10/s", "How many calls may begin: `10/s`, `300/m`."),
    setting("concurrency", "4", "How many calls may run at once."),
];
const SETTINGS: [Setting; 19 + proxies::COUNT] = concat(OWN, proxies::SETTINGS);

fn read_vault(fields: &mut Fields) -> Option<Vault> {
    fields.pair("client_certificate", "client_key");
    let address =
        required(fields, "address", "a Vault needs an `address`, such as https://vault.example.com:8200", endpoint);
    if let (Some(address), Some(place)) = (&address, fields.place("address"))
        && super::super::build::is_clear_text(address)
    {
        let message = "credentials will travel in clear text: Vault uses http over the network";
        fields.warnings.push(Problem::new(place, message));
    }
    let namespace = fields.optional("namespace", read::text);
    let mount = fields.value("mount", read::text);
    let sts = fields.value("endpoint", |node| read::choice(node, &[("sts", true), ("creds", false)]));
    let auth = auth(fields);
    let serve_long_term = fields.value("serve_long_term", read::boolean);
    let ca_file = fields.optional("ca_file", read::path);
    let certificate = fields.optional("client_certificate", read::path);
    let key = fields.optional("client_key", read::path);
    let connect_timeout = fields.value("connect_timeout", read::limit);
    let timeout = fields.value("timeout", read::limit);
    let rate = fields.value("rate", rate);
    let concurrency = fields.value("concurrency", read::count);
    let proxying = Proxying::read(fields);
    Some(Vault {
        address: address?,
        namespace: namespace?,
        mount: mount?,
        sts: sts?,
        auth: auth?,
        serve_long_term: serve_long_term?,
        ca_file: ca_file?,
        client_certificate: certificate?.zip(key?),
        connect_timeout: connect_timeout?,
        timeout: timeout?,
        rate: rate?,
        concurrency: concurrency?,
        proxying: proxying?,
    })
}

fn auth(fields: &mut Fields) -> Option<Auth> {
    let ways = ["token_file", "approle_role_id", "kubernetes_role"];
    fields.exclude(ways[0], &ways[1..]);
    fields.exclude(ways[1], &ways[2..]);
    for (part, whole) in [
        ("approle_secret_id_file", "approle_role_id"),
        ("approle_mount", "approle_role_id"),
        ("kubernetes_token_file", "kubernetes_role"),
        ("kubernetes_mount", "kubernetes_role"),
    ] {
        if let (Some(place), None) = (fields.place(part), fields.place(whole)) {
            fields.problems.push(Problem::new(place, format!("`{part}` has no effect without `{whole}`")));
        }
    }
    let token_file = fields.optional("token_file", read::path)?;
    let role_id = fields.optional("approle_role_id", read::text)?;
    let secret_id_file = fields.optional("approle_secret_id_file", read::path)?;
    let role = fields.optional("kubernetes_role", read::text)?;
    match (token_file, role_id, role) {
        (Some(path), ..) => Some(Auth::TokenFile(path)),
        (_, Some(role_id), _) => {
            let mount = fields.value("approle_mount", read::text)?;
            Some(Auth::AppRole { mount, role_id, secret_id_file })
        }
        (.., Some(role)) => {
            let mount = fields.value("kubernetes_mount", read::text)?;
            let token_file = fields.value("kubernetes_token_file", read::path)?;
            Some(Auth::Kubernetes { mount, role, token_file })
        }
        _ => {
            let message = "Vault needs a login: `token_file`, `approle_role_id` or `kubernetes_role` is missing";
            fields.problems.push(Problem::nowhere(message));
            None
        }
    }
}

pub(super) fn render(vault: &Vault) -> Vec<(&'static str, String)> {
    let path = |path: &PathBuf| quoted(&path.to_string_lossy());
    let mut all = vec![("address", quoted(&vault.address))];
    all.extend(vault.namespace.as_ref().map(|namespace| ("namespace", quoted(namespace))));
    all.push(("mount", quoted(&vault.mount)));
    all.push(("endpoint", if vault.sts { "sts" } else { "creds" }.to_owned()));
    match &vault.auth {
        Auth::TokenFile(file) => all.push(("token_file", path(file))),
        Auth::AppRole { mount, role_id, secret_id_file } => {
            all.push(("approle_role_id", quoted(role_id)));
            all.extend(secret_id_file.as_ref().map(|file| ("approle_secret_id_file", path(file))));
            all.push(("approle_mount", quoted(mount)));
        }
        Auth::Kubernetes { mount, role, token_file } => {
            all.push(("kubernetes_role", quoted(role)));
            all.push(("kubernetes_token_file", path(token_file)));
            all.push(("kubernetes_mount", quoted(mount)));
        }
    }
    all.push(("serve_long_term", vault.serve_long_term.to_string()));
    all.extend(vault.ca_file.as_ref().map(|file| ("ca_file", path(file))));
    all.extend(vault.client_certificate.as_ref().map(|(chain, _)| ("client_certificate", path(chain))));
    all.extend(vault.client_certificate.as_ref().map(|(_, key)| ("client_key", path(key))));
    all.extend([
        ("connect_timeout", render_duration(vault.connect_timeout)),
        ("timeout", render_duration(vault.timeout)),
        ("rate", render_rate(vault.rate)),
        ("concurrency", vault.concurrency.to_string()),
    ]);
    all.extend(vault.proxying.render());
    all
}

impl Vault {
    /// In a few words.
    pub(in crate::config) fn summary(&self) -> String {
        format!("{}, {}{}, at most {}", self.address, self.mount, self.proxying.summary(), render_rate(self.rate))
    }
}
