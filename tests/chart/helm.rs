//! The chart as Helm renders it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support;

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn chart() -> PathBuf {
    root().join("packaging/helm/alppaca")
}

/// Helm and a Python, if they are here.
#[allow(clippy::disallowed_methods, reason = "the environment says where the tools of the tests are")]
fn tools(test: &str) -> Option<(PathBuf, PathBuf)> {
    let tool = |name: &str| {
        let found = std::env::var_os(name).map(PathBuf::from);
        if found.is_none() {
            support::cannot(test, &format!("{name} is not set: `cargo xtask test` sets it"));
        }
        found
    };
    tool("ALPPACA_TEST_HELM").zip(tool("ALPPACA_TEST_PYTHON"))
}

/// Values as users write them: the least, and more.
pub const LEAST: &str = "
webhook: {failurePolicy: Ignore}
config: {ims_host: ims.example.com}
podIdentity:
  associations: [{namespace: prod, service_account: 'web-*', role: web}]
";
pub const MORE: &str = "
image: {repository: registry.example.com/alppaca, digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}
imagePullSecrets: [{name: registry}]
commonLabels: {team: platform}
secrets: [vault, aws]
config:
  sources: {node: {kind: vault, address: 'https://vault.example.com', token_file: /etc/alppaca/secrets/vault/token}}
  roles: {web: {source: node}, app: {source: web, role_arn: 'arn:aws:iam::123456789012:role/app'}}
  listen: ['127.0.0.1:25772', '169.254.169.254:80']
  audit_log: /dev/stdout
  policy: {rules: [{name: web, match: {user: web}, role: web}]}
podIdentity:
  serviceAccounts: {enabled: true, allow: [{namespace: prod, roles: 'web*', session_tags: false}, {namespace: apps, roles: app}]}
  sessionTags: {enabled: true, clusterName: blue, clusterArn: 'arn:aws:eks:eu-central-1:123456789012:cluster/blue'}
  listen: ['169.254.170.23:80', '[::1]:25775']
  associations: [{namespace: apps, role: app}, {role: web, session_tags: false}]
  extra: {jwks_file: /etc/alppaca/secrets/aws/keys}
capture: {imds: true, extraArgs: [--bridge=cni0]}
daemon:
  updateStrategy: {type: OnDelete}
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
webhook:
  failurePolicy: Fail
  namespaceSelector: {matchLabels: {aws: 'yes'}, matchExpressions: [{key: team, operator: In, values: [a, b]}]}
  extra: {region: eu-central-1, token_expiration: 1h}
  tls: {mode: certManager, certManager: {issuerRef: {kind: ClusterIssuer, name: internal}}}
  networkPolicy: {enabled: true, reviewsFrom: [{ipBlock: {cidr: 192.0.2.0/28}}], metricsFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]}
monitoring: {podMonitor: {enabled: true, labels: {release: prometheus}}}
ims:
  enabled: true
  tlsSecret: ims-tls
  secrets: [keys]
  config:
    audit_log: /dev/stdout
    identities: {hosts: {kind: mtls, ca_files: /etc/alppaca-ims/secrets/keys/ca.pem}}
    accounts: {shop: '111122223333'}
    rules: [{name: web, match: {method: hosts, name: 'web[0-9]+'}, account: shop, role: web}]
    sts: {credentials: {kind: imds}, regions: [eu-central-1]}
";
pub const ONLY_IMS: &str = "
daemon: {enabled: false}
webhook: {enabled: false}
podIdentity: {enabled: false}
ims:
  enabled: true
  tlsSecret: t
  secrets: [keys]
  podDisruptionBudget: {enabled: false}
  config:
    identities: {hosts: {kind: mtls, ca_files: /etc/alppaca-ims/secrets/keys/ca.pem}}
    rules: []
    sts: {credentials: {kind: imds}, regions: [eu-central-1]}
";
pub const OWN_CERTIFICATE: &str = "
daemon: {enabled: false}
config: {ims_host: x}
podIdentity: {associations: [{role: a}]}
webhook: {failurePolicy: Fail, tls: {mode: existingSecret, existingSecret: {name: own, caBundle: YQ==}}}
";

pub struct Helm {
    program: PathBuf,
    python: PathBuf,
    directory: TempDir,
}

impl Helm {
    pub fn new(test: &str) -> Option<Self> {
        let (helm, python) = tools(test)?;
        Some(Self { program: helm, python, directory: TempDir::new().expect("a directory") })
    }

    pub fn run(&self, command: &[&str], values: &str) -> Output {
        let file = self.directory.path().join("values.yaml");
        fs::write(&file, values).expect("a file");
        let mut helm = Command::new(&self.program);
        // Of itself, a helm that was not built by its makers takes a very old one.
        helm.args(command).args(["--kube-version", "1.33.0", "--values"]).arg(file).env("HOME", self.directory.path());
        helm.output().expect("helm starts")
    }

    pub fn template(&self, values: &str) -> Output {
        let chart = chart();
        self.run(&["template", "alppaca", chart.to_str().expect("text"), "--namespace", "aws"], values)
    }

    /// What is installed, valid for Kubernetes.
    pub fn documents(&self, values: &str) -> Vec<Value> {
        let output = self.template(values);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut python = Command::new(&self.python);
        python
            .arg(root().join("tests/chart/rendered.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut python = python.spawn().expect("python starts");
        python.stdin.take().expect("piped").write_all(&output.stdout).expect("it reads");
        let output = python.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What is told where values are refused.
    pub fn refusal(&self, values: &str) -> String {
        let output = self.template(values);
        assert!(!output.status.success(), "{values} is taken");
        String::from_utf8(output.stderr).expect("text")
    }
}

pub fn find<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |document: &&Value| document["kind"] == kind && document["metadata"]["name"] == name;
    documents.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}
