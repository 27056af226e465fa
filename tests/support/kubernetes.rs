//! A real API server of Kubernetes, with its etcd: what `cargo xtask test` builds from `tests/interop/kubernetes`.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]
#![allow(clippy::disallowed_methods, reason = "the environment tells where the server is")]
#![allow(clippy::needless_pass_by_value, reason = "callers make their bodies on the spot")]

use std::{
    env,
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What its tokens say as their issuer.
pub const ISSUER: &str = "https://kubernetes.default.svc";
const ADMIN: &str = "the-token-of-the-administrator";

/// A cluster without nodes. It ends with the test.
pub struct Cluster {
    program: PathBuf,
    directory: TempDir,
    pub address: SocketAddr,
    child: Option<Child>,
}

/// The server, if it was built from the sources as they are.
pub fn program() -> Option<PathBuf> {
    env::var_os("ALPPACA_TEST_CLUSTER").map(PathBuf::from)
}

impl Cluster {
    /// One that answers. `None` if there is none here; then the test `what` is told as skipped.
    pub fn start(what: &str) -> Option<Self> {
        let Some(program) = program() else {
            super::support::cannot(
                what,
                "ALPPACA_TEST_CLUSTER is not set: `cargo xtask test` sets it if a kube-apiserver was built of these sources \
                 (ALPPACA_TEST_KUBERNETES=1 builds it)",
            );
            return None;
        };
        let directory = TempDir::new().expect("a directory");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let mut cluster = Self { program, directory, address, child: None };
        cluster.write_keys();
        cluster.run();
        Some(cluster)
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    pub fn ca_file(&self) -> PathBuf {
        self.path("ca.crt")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write_keys(&self) {
        let key = KeyPair::generate().expect("a key");
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // By the same name as its own, OpenSSL takes a certificate for self-signed.
        authority.distinguished_name.push(DnType::CommonName, "the cluster");
        let ca = authority.self_signed(&key).expect("signed");
        let issuer = Issuer::new(authority, key);
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let server_key = KeyPair::generate().expect("a key");
        let server = CertificateParams::new(names).expect("names").signed_by(&server_key, &issuer).expect("signed");
        let write = |name: &str, text: String| fs::write(self.path(name), text).expect("written");
        write("ca.crt", ca.pem());
        write("server.crt", server.pem());
        write("server.key", server_key.serialize_pem());
        let accounts = KeyPair::generate().expect("a key");
        write("accounts.key", accounts.serialize_pem());
        write("accounts.pub", accounts.public_key_pem());
        write("tokens.csv", format!("{ADMIN},admin,1,system:masters\n"));
    }

    /// Runs it, on the data that it has, until it is ready.
    pub fn run(&mut self) {
        let file = |name: &str| self.path(name).display().to_string();
        let log = File::create(self.path("log")).expect("a file");
        let mut command = Command::new(&self.program);
        command.arg(self.directory.path()).args([
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.address.port()),
            format!("--tls-cert-file={}", file("server.crt")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--cert-dir={}", file("certificates")),
            format!("--token-auth-file={}", file("tokens.csv")),
            format!("--service-account-issuer={ISSUER}"),
            format!("--service-account-signing-key-file={}", file("accounts.key")),
            format!("--service-account-key-file={}", file("accounts.pub")),
            "--service-cluster-ip-range=10.96.0.0/24".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
        ]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file")).stderr(log);
        self.child = Some(command.spawn().expect("it starts"));
        let said = self.path("log");
        super::support::eventually(
            "the API server is ready",
            || {
                let ended = self.child.as_mut().and_then(|child| child.try_wait().expect("a child"));
                assert!(ended.is_none(), "the API server has ended: {}", fs::read_to_string(&said).unwrap_or_default());
                (self.call("GET", "/readyz", None)?.0 == 200).then_some(())
            },
            || fs::read_to_string(&said).unwrap_or_default(),
        );
    }

    /// Ends it at once. Its data stay.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it has ended");
        }
    }

    /// Asks as the administrator; `None` if nobody answers.
    pub fn call(&self, method: &str, path: &str, body: Option<(&str, Value)>) -> Option<(u16, Value)> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", "--request", method, "--write-out", "\n%{http_code}"]);
        curl.arg("--cacert").arg(self.ca_file()).args(["--header", &format!("Authorization: Bearer {ADMIN}")]);
        if let Some((kind, body)) = &body {
            curl.args(["--header", &format!("Content-Type: {kind}"), "--data-binary", &body.to_string()]);
        }
        let output = curl.arg(format!("{}{path}", self.url())).output().expect("curl runs");
        let text = String::from_utf8(output.stdout).expect("text");
        let (body, status) = text.rsplit_once('\n').filter(|_| output.status.success())?;
        Some((status.parse().expect("a status"), serde_json::from_str(body).unwrap_or(Value::Null)))
    }

    /// The same, which has to succeed.
    fn done(&self, method: &str, path: &str, body: Option<(&str, Value)>) -> Value {
        let (status, answer) = self.call(method, path, body).expect("an answer");
        assert!((200..300).contains(&status), "{method} {path}: {status} {answer}");
        answer
    }

    pub fn create(&self, path: &str, object: Value) -> Value {
        self.done("POST", path, Some(("application/json", object)))
    }

    pub fn create_namespace(&self, name: &str) {
        self.create("/api/v1/namespaces", json!({"metadata": {"name": name}}));
    }

    pub fn create_account(&self, namespace: &str, name: &str) {
        let account = json!({"metadata": {"name": name}});
        self.create(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), account);
    }

    /// Sets an annotation of an account, or removes it.
    pub fn annotate(&self, namespace: &str, name: &str, key: &str, value: Option<&str>) {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}");
        self.done("PATCH", &path, Some(("application/merge-patch+json", patch)));
    }

    pub fn delete(&self, path: &str) {
        self.done("DELETE", path, None);
    }

    /// A token of an account, as the kubelet would ask for it (`TokenRequest`).
    pub fn token(&self, namespace: &str, name: &str, audience: Option<&str>) -> String {
        let audiences: Vec<_> = audience.into_iter().collect();
        let request = json!({"spec": {"audiences": audiences, "expirationSeconds": 3600}});
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        self.create(&path, request)["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// Lets an account list and watch service accounts, as the documentation says.
    pub fn let_watch(&self, namespace: &str, name: &str) {
        let rules = json!([{"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["list", "watch"]}]);
        let group = "/apis/rbac.authorization.k8s.io/v1";
        self.create(&format!("{group}/clusterroles"), json!({"metadata": {"name": "alppaca"}, "rules": rules}));
        let subject = json!([{"kind": "ServiceAccount", "namespace": namespace, "name": name}]);
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "alppaca"});
        let binding = json!({"metadata": {"name": "alppaca"}, "subjects": subject, "roleRef": role});
        self.create(&format!("{group}/clusterrolebindings"), binding);
    }

    /// Writes a token where a pod has it.
    pub fn write_token(&self, name: &str, token: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, token).expect("written");
        path
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}
