//! `kind: vault`: HashiCorp Vault's AWS secrets engine.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{Auth, Endpoint, RoleSettings, Settings, Vault};
use crate::{
    fetch::{self, Proxying, end_of_certificate, is_clear_text},
    needs::Needs,
    refresh::{CallLimit, Fetch},
    settings::{
        Fields, Keys, NamedFiles, Problem, Rendered, Setting, options, read,
        render::{AsYaml, quoted},
    },
    source::{
        aws::{Rate, endpoint, rate, render_rate},
        host_env::HostEnv,
        kind::{CertificateEnd, Kind, Opened, Opening, Provides, Written},
        long_term::SERVE_LONG_TERM,
        purpose::{Purpose, Serves},
    },
};

options! {
    /// The server, and what of it is served.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::source) struct Options {
        /// `https://vault.example.com:8200`.
        pub address: String = Setting::nested(
            "address",
            "",
            "Where Vault is: `https://vault.example.com:8200`. Required.",
        ) => required("a Vault needs an `address`, such as https://vault.example.com:8200", endpoint);
        /// The namespace.
        pub namespace: Option<String> = Setting::nested("namespace", "", "The namespace (Vault Enterprise, OpenBao).")
            => optional(read::text);
        /// Where the secrets engine is mounted.
        pub mount: String = Setting::nested("mount", "aws", "Where the AWS secrets engine is mounted.")
            => value(read::text);
        /// Which path is asked.
        pub endpoint: Endpoint = Setting::nested(
            "endpoint",
            "sts",
            "`sts` or `creds`: the path of the engine. `creds` for roles of the type `iam_user`.",
        ) => value(|node| read::choice(node, &[("sts", Endpoint::Sts), ("creds", Endpoint::Creds)]));
        /// How we authenticate.
        pub auth: Auth;
        /// Whether clients get sets without a session token.
        pub serve_long_term: bool = SERVE_LONG_TERM => value(read::boolean);
        /// Further certificate authorities.
        pub ca_file: Option<PathBuf> = Setting::nested(
            "ca_file",
            "",
            "PEM file of additional certificate authorities. The system's stay in force.",
        ) => optional(read::path);
        /// The client's certificate.
        pub client_certificate: Option<PathBuf> = Setting::nested(
            "client_certificate",
            "",
            "PEM file of the client's certificate and its chain.",
        ) => optional(read::path);
        /// Its key; there are both or none.
        pub client_key: Option<PathBuf> = Setting::nested(
            "client_key",
            "",
            "PEM file of the client's private key, unencrypted.",
        ) => optional(read::path);
        /// For one connection.
        pub connect_timeout: Duration = Setting::nested(
            "connect_timeout",
            "3s",
            "Longest time for the TCP, proxy and TLS handshakes of a connection.",
        ) => value(read::limit);
        /// For one whole call.
        pub timeout: Duration = Setting::nested("timeout", "15s", "Longest time for one whole call.")
            => value(read::limit);
        /// How many calls may begin in a second.
        pub rate: Rate = Setting::nested("rate", "10/s", "How many calls may begin: `10/s`, `300/m`.") => value(rate);
        /// How many calls may run at once.
        pub concurrency: usize = Setting::nested("concurrency", "4", "How many calls may run at once.")
            => value(read::count);
        /// The proxy in front of it.
        pub proxying: Proxying;
    }
    before Options::pairs;
    after Options::warn;
}

impl Written for Options {
    const WORD: &'static str = "vault";
}

impl Options {
    fn pairs(fields: &mut Fields) {
        fields.pair("client_certificate", "client_key");
    }

    #[expect(clippy::unnecessary_wraps, reason = "a check may refuse what was read")]
    fn warn(self, fields: &mut Fields) -> Option<Self> {
        if let (true, Some(place)) = (is_clear_text(&self.address), fields.place("address")) {
            let message = "credentials will travel in clear text: Vault uses http over the network";
            fields.warnings.push(Problem::new(place, message));
        }
        Some(self)
    }

    fn certificate(&self) -> Option<(PathBuf, PathBuf)> {
        self.client_certificate.clone().zip(self.client_key.clone())
    }
}

impl Keys for Auth {
    const SETTINGS: &'static [Setting] = &[
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
    ];

    fn read(fields: &mut Fields) -> Option<Self> {
        auth(fields)
    }
}

impl Rendered for Auth {
    fn render(&self) -> Vec<(&'static str, String)> {
        let path = |path: &PathBuf| quoted(&path.to_string_lossy());
        let mut all = Vec::new();
        match self {
            Self::TokenFile(file) => all.push(("token_file", path(file))),
            Self::AppRole { mount, role_id, secret_id_file } => {
                all.push(("approle_role_id", quoted(role_id)));
                all.extend(secret_id_file.as_ref().map(|file| ("approle_secret_id_file", path(file))));
                all.push(("approle_mount", quoted(mount)));
            }
            Self::Kubernetes { mount, role, token_file } => {
                all.push(("kubernetes_role", quoted(role)));
                all.push(("kubernetes_token_file", path(token_file)));
                all.push(("kubernetes_mount", quoted(mount)));
            }
        }
        all
    }
}

impl AsYaml for Endpoint {
    fn as_yaml(&self) -> Option<String> {
        Some(self.word().to_owned())
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
        fields.only_with(part, whole);
    }
    let token_file = fields.optional("token_file", read::path)?;
    let role_id = fields.optional("approle_role_id", read::text)?;
    let secret_id_file = fields.optional("approle_secret_id_file", read::path)?;
    let role = fields.optional("kubernetes_role", read::text)?;
    let approle_mount = fields.value("approle_mount", read::text)?;
    let kubernetes_mount = fields.value("kubernetes_mount", read::text)?;
    let kubernetes_token_file = fields.value("kubernetes_token_file", read::path)?;
    match (token_file, role_id, role) {
        (Some(path), ..) => Some(Auth::TokenFile(path)),
        (_, Some(role_id), _) => Some(Auth::AppRole { mount: approle_mount, role_id, secret_id_file }),
        (.., Some(role)) => Some(Auth::Kubernetes { mount: kubernetes_mount, role, token_file: kubernetes_token_file }),
        _ => {
            let message = "Vault needs a login: `token_file`, `approle_role_id` or `kubernetes_role` is missing";
            fields.problems.push(Problem::nowhere(message));
            None
        }
    }
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::PerName
    }

    fn summary(&self) -> String {
        let Self { address, mount, .. } = self;
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
        files.authorities("ca_file", self.ca_file.as_ref());
        files.client_certificate(self.certificate().as_ref());
        match &self.auth {
            Auth::TokenFile(path) => files.secret("token_file", Some(path)),
            Auth::AppRole { secret_id_file, .. } => files.secret("secret_id_file", secret_id_file.as_ref()),
            Auth::Kubernetes { token_file, .. } => files.secret("token_file", Some(token_file)),
        }
    }

    fn needs(&self, host_env: &HostEnv, needs: &mut Needs) {
        needs.url(&self.address, "Vault");
        self.proxying.needs(&host_env.proxies, needs);
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let http = fetch::Options {
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
            limit_name: None,
            ca_file: self.ca_file.clone(),
            client_certificate: self.certificate(),
            proxies: self.proxying.resolve(&opening.host_env.proxies)?,
        };
        let Self { address, namespace, mount, auth, .. } = self.clone();
        let settings = Settings { address, namespace, mount, auth, http };
        let certificate = self.client_certificate.clone();
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
