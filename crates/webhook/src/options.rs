//! The section `webhook`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{
    https,
    needs::Needs,
    settings::{
        NamedFiles, Node, Problem, Setting, Topic, options, read,
        render::{AsYaml, quoted},
        url::{WEB_URL, is_web_url},
    },
};

/// The row of the section.
pub const SECTION: Setting = Setting::new(
    Topic::Serving,
    "webhook",
    "",
    "A mapping: the webhook of a Kubernetes cluster, `alppaca webhook`, which the daemon does not need. See [below](#webhook) \
     and [Kubernetes](kubernetes.md#the-webhook).",
);

options! {
    /// How the webhook listens, and what it adds to pods.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Options {
        /// Where the API server asks, by HTTPS.
        pub listen: Address = Setting::nested("listen", "0.0.0.0:8443", "`address:port` for the API server, by HTTPS.")
            .on_restart() => value(Address::read);
        /// Its certificate.
        pub tls_certificate: PathBuf = Setting::nested(
            "tls_certificate",
            "",
            "PEM file of its certificate, for `SERVICE.NAMESPACE.svc`, with its chain. It is read again once a minute. Required.",
        )
        .on_restart() => needed("`tls_certificate` is missing in this section", read::path);
        /// Its key.
        pub tls_key: PathBuf = Setting::nested("tls_key", "", "PEM file of its key. Required.").on_restart()
            => needed("`tls_key` is missing in this section", read::path);
        /// Where metrics and health are shown.
        pub metrics_listen: Option<Address> = Setting::nested(
            "metrics_listen",
            "",
            "`address:port` of an HTTP listener for its metrics, `/livez` and `/readyz`, without authentication.",
        )
        .on_restart() => optional(Address::read);
        /// Where programs ask for credentials.
        pub credentials_url: String = Setting::nested(
            "credentials_url",
            "http://169.254.170.23/v1/credentials",
            "Where `pod_identity` of the daemon listens on each node, as the programs of pods are told.",
        ) => value(url);
        /// How long a token is valid.
        pub token_expiration: Duration = Setting::nested(
            "token_expiration",
            "24h",
            "How long a token of a service account is valid, between 10m and 24h. The annotation \
             `eks.amazonaws.com/token-expiration` of a pod, in seconds, takes precedence.",
        ) => value(expiration);
        /// The region of pods.
        pub region: Option<String> = Setting::nested(
            "region",
            "",
            "The region (`AWS_REGION`, `AWS_DEFAULT_REGION`) of containers that set none. Without it, none is added.",
        ) => optional(read::region);
        /// Whether SDKs are to use STS of the region.
        pub regional_sts: bool = Setting::nested(
            "sts_regional_endpoints",
            "false",
            "Whether containers get `AWS_STS_REGIONAL_ENDPOINTS=regional`, which new SDKs do by themselves.",
        ) => value(read::boolean);
        /// How long it goes on after it was told to stop.
        pub stop_delay: Duration = Setting::nested(
            "stop_delay",
            "5s",
            "How long the webhook still accepts connections after SIGTERM: the cluster learns late that a pod ends.",
        )
        .on_restart() => value(read::duration);
    }
}

/// `address:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl Address {
    fn read(node: &Node) -> Result<Self, Problem> {
        read::socket_address(node).map(Self)
    }
}

impl AsYaml for Address {
    fn as_yaml(&self) -> Option<String> {
        Some(quoted(&self.0.to_string()))
    }
}

impl Options {
    /// The files of the certificate.
    pub fn tls(&self) -> https::Files {
        https::Files { certificate: self.tls_certificate.clone(), key: self.tls_key.clone() }
    }

    /// Adds the files that it names.
    pub fn files(&self, files: &mut NamedFiles) {
        files.obeyed("tls_certificate", [&self.tls_certificate]);
        files.secret("tls_key", [&self.tls_key]);
    }

    /// Adds what it needs of the system.
    pub fn needs(&self, needs: &mut Needs) {
        needs.read(&self.tls_certificate, "tls_certificate");
        needs.read(&self.tls_key, "tls_key");
    }

    /// The keys that only a restart changes and that differ from those of `started`.
    pub fn kept(&self, started: &Self) -> Vec<&'static str> {
        [
            ("webhook.listen", self.listen != started.listen),
            ("webhook.tls_certificate", self.tls_certificate != started.tls_certificate),
            ("webhook.tls_key", self.tls_key != started.tls_key),
            ("webhook.metrics_listen", self.metrics_listen != started.metrics_listen),
            ("webhook.stop_delay", self.stop_delay != started.stop_delay),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}

/// SDKs take plain HTTP only from a few addresses, but that is theirs to judge.
fn url(node: &Node) -> Result<String, Problem> {
    let text = read::text_like(node, WEB_URL)?;
    if is_web_url(&text) {
        return Ok(text);
    }
    read::wrong(node, "a URL such as http://169.254.170.23/v1/credentials")
}

fn expiration(node: &Node) -> Result<Duration, Problem> {
    read::duration_within(node, &(Duration::from_mins(10)..=Duration::from_hours(24)), "a duration between 10m and 24h")
}
