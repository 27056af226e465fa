//! The webhook as a process, and a client of it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustix::{
    net::{AddressFamily, SocketType},
    process::{Pid, Signal, kill_process},
};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs::default_provider,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::eventually;

pub const HOST: &str = "alppaca-webhook.alppaca.svc";
pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// Files of a certificate, as Kubernetes mounts a Secret: links into a directory that is switched as a whole.
pub struct Certificates {
    pub directory: PathBuf,
    generation: u32,
}

impl Certificates {
    pub fn new(directory: PathBuf) -> Self {
        fs::create_dir(&directory).expect("a directory");
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), directory.join(file)).expect("a link");
        }
        Self { directory, generation: 0 }
    }

    /// Another certificate of an authority of its own, which is given.
    pub fn switch(&mut self) -> String {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([HOST, "127.0.0.1"].map(str::to_owned)).expect("a name");
        params.not_after = rcgen::date_time_ymd(2031, 5, 6);
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        self.write(&certificate.pem(), &key.serialize_pem());
        authority.pem()
    }

    pub fn write(&mut self, certificate: &str, key: &str) {
        self.generation += 1;
        let name = format!("..{}", self.generation);
        let folder = self.directory.join(&name);
        fs::create_dir(&folder).expect("a directory");
        for (file, text) in [("tls.crt", certificate), ("tls.key", key)] {
            fs::write(folder.join(file), text).expect("a file");
            fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o600)).expect("ours");
        }
        let next = self.directory.join("..next");
        symlink(name, &next).expect("a link");
        fs::rename(next, self.directory.join("..data")).expect("ours");
    }
}

/// What the section `pod_identity` begins with.
pub const PODS: &str = "ims_host: localhost\npod_identity:\n  issuer: https://issuer.example\n  jwks_file: /dev/null\n";

pub struct Webhook {
    child: Child,
    pub address: SocketAddr,
    pub metrics: SocketAddr,
    pub certificates: Certificates,
    pub authority: String,
    directory: TempDir,
}

impl Webhook {
    /// With these associations and other keys of the section `webhook`.
    pub fn start(associations: &str, more: &str) -> Self {
        Self::start_in(TempDir::new().expect("a directory"), associations, more)
    }

    /// The same in a directory that has files already.
    pub fn start_in(directory: TempDir, associations: &str, more: &str) -> Self {
        let mut certificates = Certificates::new(directory.path().join("tls"));
        let authority = certificates.switch();
        let mut webhook = Self {
            child: Command::new("true").spawn().expect("it runs"),
            address: ([0, 0, 0, 0], 0).into(),
            metrics: ([0, 0, 0, 0], 0).into(),
            certificates,
            authority,
            directory,
        };
        webhook.child.wait().expect("ours");
        webhook.configure(associations, more);
        let log = File::create(webhook.directory.path().join("log")).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
        command.arg("webhook").arg("-c").arg(webhook.config()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        webhook.child = command.spawn().expect("the binary starts");
        let address = |line: String| line.rsplit(' ').next().expect("a word").parse().expect("an address");
        webhook.address = address(webhook.wait_for_log("answers the API server at "));
        webhook.metrics = address(webhook.wait_for_log("metrics at "));
        webhook
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("alppaca.yaml")
    }

    pub fn configure(&self, associations: &str, more: &str) {
        let tls = self.certificates.directory.display();
        let text = format!(
            "{PODS}  associations: {associations}\nlogging_handler: {{module: logging, class: StreamHandler}}\n\
             log_level: debug\nwebhook:\n  listen: 127.0.0.1:0\n  metrics_listen: 127.0.0.1:0\n  tls_certificate: {tls}/tls.crt\n  \
             tls_key: {tls}/tls.key\n{more}"
        );
        fs::write(self.config(), text).expect("a file");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).expect("a log")
    }

    pub fn wait_for_log(&self, part: &str) -> String {
        let find = || self.log().lines().find(|line| line.contains(part)).map(str::to_owned);
        eventually(part, find, || self.log())
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("ours").code()
    }

    /// A connection, with one of these versions of TLS.
    pub fn connect_with(&self, versions: &[&'static SupportedProtocolVersion]) -> Result<Tls, String> {
        let socket = TcpStream::connect(self.address).map_err(|error| error.to_string())?;
        self.secure(socket, versions)
    }

    /// A connection of the host with this address.
    pub fn connect_from(&self, host: [u8; 4]) -> Tls {
        self.secure(socket_from(host, self.address), rustls::ALL_VERSIONS).expect("a connection")
    }

    fn secure(&self, socket: TcpStream, versions: &[&'static SupportedProtocolVersion]) -> Result<Tls, String> {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(self.authority.as_bytes()).expect("PEM");
        roots.add(authority).expect("an authority");
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = HOST.try_into().expect("a name");
        let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
        socket.set_read_timeout(Some(Duration::from_mins(1))).expect("a limit");
        let mut stream = StreamOwned::new(connection, socket);
        stream.flush().map_err(|error| error.to_string())?;
        Ok(stream)
    }

    pub fn connect(&self) -> Tls {
        self.connect_with(rustls::ALL_VERSIONS).expect("a connection")
    }

    /// Sends a review in a connection of its own.
    pub fn post(&self, body: &str) -> (u16, String) {
        let mut stream = self.connect();
        stream.write_all(head("POST /mutate", "application/json", body.len()).as_bytes()).expect("it takes it");
        stream.write_all(body.as_bytes()).expect("it takes it");
        answer(&mut stream)
    }

    /// The answer to a review of a pod in that namespace, with that service account.
    pub fn review(&self, namespace: &str, account: &str) -> Value {
        let (status, body) = self.post(&review(namespace, account));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// What the listener of the metrics answers.
    pub fn shown(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.metrics).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it takes it");
        answer(&mut stream)
    }

    pub fn metric(&self, series: &str) -> String {
        let (_, page) = self.shown("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(series).and_then(|rest| rest.strip_prefix(' ')));
        line.unwrap_or_else(|| panic!("no {series} in\n{page}")).to_owned()
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        // It may have ended.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// The binary with this configuration, which is wrong.
pub fn refused(config: &str) -> Output {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    fs::write(&file, config).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    command.arg("webhook").arg("-c").arg(file).output().expect("the binary starts")
}

/// A socket of the host with this address, connected.
pub fn socket_from(host: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::new(IpAddr::V4(Ipv4Addr::from(host)), 0)).expect("of loopback");
    rustix::net::connect(&socket, &to).expect("it listens");
    socket.into()
}

pub fn head(line: &str, kind: &str, length: usize) -> String {
    format!(
        "{line}?timeout=5s HTTP/1.1\r\nHost: {HOST}:443\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    )
}

pub fn review(namespace: &str, account: &str) -> String {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "1",
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": namespace,
            "operation": "CREATE",
            "object": {
                "metadata": { "generateName": "app-" },
                "spec": { "serviceAccountName": account, "containers": [{ "name": "app", "image": "x" }] },
            },
        },
    })
    .to_string()
}

/// Status and body of an answer.
pub fn answer(stream: &mut impl Read) -> (u16, String) {
    let mut text = Vec::new();
    let (head, body) = loop {
        let mut piece = [0; 4096];
        let count = stream.read(&mut piece).expect("an answer");
        assert!(count > 0, "the connection ended: {}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&piece[..count]);
        let shown = String::from_utf8_lossy(&text);
        if let Some((head, body)) = shown.split_once("\r\n\r\n") {
            break (head.to_owned(), body.len());
        }
    };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let length: usize = length.expect("a length").parse().expect("a number");
    let mut rest = vec![0; length - body];
    stream.read_exact(&mut rest).expect("the rest");
    let start = text.len() - body;
    text.extend(rest);
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, String::from_utf8(text.split_off(start)).expect("text"))
}
