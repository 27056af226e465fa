//! `kind: vault`: HashiCorp Vault's AWS secrets engine.

use std::{path::PathBuf, sync::Arc};

use super::{Auth, Endpoint, RoleSettings, Settings, Vault};
use crate::{
    fetch::{self, Proxies, Proxying, end_of_certificate, is_clear_text, proxying},
    refresh::{CallLimit, Fetch},
    settings::{
        Fields, Keys, NamedFiles, Problem, Rendered, Setting,
        read::{self, render_duration},
        render::quoted,
        table::concat,
    },
    source::{
        aws::{Rate, endpoint, rate, render_rate},
        host_env::HostEnv,
        kind::{CertificateEnd, Kind, Opened, Opening, Provides, Written},
        long_term::SERVE_LONG_TERM,
        purpose::{Purpose, Serves},
    },
};

/// The server, and what of it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::source) struct Options {
    /// The server and how to talk to it. Its proxies are known only when it is opened.
    pub vault: Settings,
    /// Which path is asked (`endpoint`).
    pub endpoint: Endpoint,
    /// Whether clients get sets without a session token (`serve_long_term`).
    pub serve_long_term: bool,
    /// How many calls may begin in a second (`rate`).
    pub rate: Rate,
    /// How many calls may run at once (`concurrency`).
    pub concurrency: usize,
    /// The proxy in front of it.
    pub proxying: Proxying,
}

const OWN: [Setting; 19] = [
    Setting::nested("address", "", "Where Vault is: `https://vault.example.com:8200`. Required."),
    Setting::nested("namespace", "", "The namespace (Vault Enterprise, OpenBao)."),
    Setting::nested("mount", "aws", "Where the AWS secrets engine is mounted."),
    Setting::nested(
        "endpoint",
        "sts",
        "`sts` or `creds`: the path of the engine. `creds` for roles of the type `iam_user`.",
    ),
    Setting::nested(
        "token_file",
        "",
        "The file of a token that another program renews, such as Vault Agent; read again each time.",
    ),
    Setting::nested("approle_role_id", "", "Log in with AppRole: the role's id."),
    Setting::nested("approle_secret_id_file", "", "The file of its secret id, read again at each login."),
    Setting::nested("approle_mount", "approle", "Where AppRole is mounted, below `auth/`."),
    Setting::nested("kubernetes_role", "", "Log in with a service account: the role of that method."),
    Setting::nested(
        "kubernetes_token_file",
        "/var/run/secrets/kubernetes.io/serviceaccount/token",
        "The file of the account's token, read again at each login.",
    ),
    Setting::nested(
        "kubernetes_mount",
        "kubernetes",
        "Where the method is mounted, below `auth/`. A mount of the type `jwt` works as well.",
    ),
    SERVE_LONG_TERM,
    Setting::nested("ca_file", "", "PEM file of additional certificate authorities. The system's stay in force."),
    Setting::nested("client_certificate", "", "PEM file of the client's certificate and its chain."),
    Setting::nested("client_key", "", "PEM file of the client's private key, unencrypted."),
    Setting::nested("connect_timeout", "3s", "Longest time for the TCP, proxy and TLS handshakes of a connection."),
    Setting::nested("timeout", "15s", "Longest time for one whole call."),
    Setting::nested("rate", "10/s", "How many calls may begin: `10/s`, `300/m`."),
    Setting::nested("concurrency", "4", "How many calls may run at once."),
];
const SETTINGS: [Setting; 19 + proxying::COUNT] = concat(OWN, proxying::SETTINGS);

impl Written for Options {
    const WORD: &'static str = "vault";
}

impl Keys for Options {
    const SETTINGS: &'static [Setting] = &SETTINGS;

    fn read(fields: &mut Fields) -> Option<Self> {
        fields.pair("client_certificate", "client_key");
        let address =
            fields.required("address", "a Vault needs an `address`, such as https://vault.example.com:8200", endpoint);
        if let (Some(address), Some(place)) = (&address, fields.place("address"))
            && is_clear_text(address)
        {
            let message = "credentials will travel in clear text: Vault uses http over the network";
            fields.warnings.push(Problem::new(place, message));
        }
        let namespace = fields.optional("namespace", read::text);
        let mount = fields.value("mount", read::text);
        let choices = [("sts", Endpoint::Sts), ("creds", Endpoint::Creds)];
        let endpoint = fields.value("endpoint", |node| read::choice(node, &choices));
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
        let http = fetch::Options {
            connect_timeout: connect_timeout?,
            timeout: timeout?,
            limit_name: None,
            ca_file: ca_file?,
            client_certificate: certificate?.zip(key?),
            proxies: Proxies::none(),
        };
        Some(Self {
            vault: Settings { address: address?, namespace: namespace?, mount: mount?, auth: auth?, http },
            endpoint: endpoint?,
            serve_long_term: serve_long_term?,
            rate: rate?,
            concurrency: concurrency?,
            proxying: proxying?,
        })
    }
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

impl Rendered for Options {
    fn render(&self) -> Vec<(&'static str, String)> {
        let vault = &self.vault;
        let path = |path: &PathBuf| quoted(&path.to_string_lossy());
        let mut all = vec![("address", quoted(&vault.address))];
        all.extend(vault.namespace.as_ref().map(|namespace| ("namespace", quoted(namespace))));
        all.push(("mount", quoted(&vault.mount)));
        all.push(("endpoint", self.endpoint.word().to_owned()));
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
        all.push(("serve_long_term", self.serve_long_term.to_string()));
        all.extend(vault.http.ca_file.as_ref().map(|file| ("ca_file", path(file))));
        all.extend(vault.http.client_certificate.as_ref().map(|(chain, _)| ("client_certificate", path(chain))));
        all.extend(vault.http.client_certificate.as_ref().map(|(_, key)| ("client_key", path(key))));
        all.extend([
            ("connect_timeout", render_duration(vault.http.connect_timeout)),
            ("timeout", render_duration(vault.http.timeout)),
            ("rate", render_rate(self.rate)),
            ("concurrency", self.concurrency.to_string()),
        ]);
        all.extend(self.proxying.render());
        all
    }
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::PerName
    }

    fn summary(&self) -> String {
        let Settings { address, mount, .. } = &self.vault;
        format!("{address}, {mount}{}, at most {}", self.proxying.summary(), render_rate(self.rate))
    }

    fn call_limit(&self) -> CallLimit {
        CallLimit { concurrency: self.concurrency, rate: Some(self.rate.per_second()) }
    }

    fn accepts(&self) -> &'static [&'static str] {
        &["upstream_role", "role_arn", "session_name", "duration"]
    }

    fn serves_long_term(&self) -> bool {
        self.serve_long_term
    }

    fn proxying(&self) -> Option<&Proxying> {
        Some(&self.proxying)
    }

    fn files(&self, _: &HostEnv, files: &mut NamedFiles) {
        files.obeyed("ca_file", self.vault.http.ca_file.as_ref());
        files.client_certificate(self.vault.http.client_certificate.as_ref());
        match &self.vault.auth {
            Auth::TokenFile(path) => files.secret("token_file", Some(path)),
            Auth::AppRole { secret_id_file, .. } => files.secret("secret_id_file", secret_id_file.as_ref()),
            Auth::Kubernetes { token_file, .. } => files.secret("token_file", Some(token_file)),
        }
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let mut settings = self.vault.clone();
        settings.http.proxies = self.proxying.resolve(&opening.host_env.proxies)?;
        let certificate = settings.http.client_certificate.as_ref().map(|(path, _)| path.clone());
        let vault = Vault::new(settings, opening.host_env.clock.clone()).map_err(|error| error.to_string())?;
        Ok(Arc::new(Ready { vault, endpoint: self.endpoint, certificate }))
    }
}

/// It is shared by its roles.
struct Ready {
    vault: Arc<Vault>,
    endpoint: Endpoint,
    certificate: Option<PathBuf>,
}

impl Opened for Ready {
    fn call(&self, purpose: &Purpose, _: Serves) -> Result<Arc<dyn Fetch>, String> {
        let arn = purpose.role_arn.cloned();
        Ok(Arc::new(self.vault.role(RoleSettings {
            role: purpose.upstream_role.unwrap_or(purpose.name.as_str()).to_owned(),
            endpoint: self.endpoint,
            ttl: purpose.session.duration,
            // Without an ARN Vault makes up a name, as it does for federation tokens.
            session_name: arn.is_some().then(|| purpose.session_name()),
            role_arn: arn,
        })))
    }

    /// Read once, as the connections read it.
    fn certificate_end(&self) -> Option<CertificateEnd> {
        let end = end_of_certificate(self.certificate.as_ref()?);
        Some(Box::new(move || end))
    }
}
