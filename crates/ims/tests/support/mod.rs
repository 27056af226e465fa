//! The real server over real sockets, with an authority of the tests' own and a mock STS.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "not every test uses all of it")]

#[path = "../../../../tests/support/browser.rs"]
mod browser;
pub mod certificates;
pub mod client;
#[path = "../../../../tests/support/eventually.rs"]
mod eventually;
#[path = "../../../../tests/support/needs.rs"]
pub mod needs;
pub mod oidc;
#[path = "../../../../tests/support/schema.rs"]
mod schema;
pub mod sts;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

pub use browser::Browser;
pub use certificates::{Authority, Files};
pub use client::Client;
pub use eventually::eventually;
pub use oidc::Provider;
pub use sts::Sts;

/// How long the tests wait for something that comes.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// The records of an audit, which have to be as is published.
pub fn records(audit: &str) -> Vec<serde_json::Value> {
    schema::check_records(include_str!("../../../../docs/schemas/ims/audit.schema.json"), audit);
    audit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What every configuration of the tests has.
pub const ACCOUNT: &str = "111122223333";

/// A place with certificates, for one server.
pub struct Scene {
    pub directory: TempDir,
    pub authority: Authority,
}

impl Scene {
    pub fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let authority = Authority::new("Hosts of Example");
        fs::write(directory.path().join("ca.pem"), authority.pem()).expect("ours");
        let scene = Self { directory, authority };
        scene.authority.server("localhost").write(scene.path(), "server");
        scene
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A client that shows this certificate.
    pub fn client(&self, address: SocketAddr, files: Option<&Files>) -> Client {
        Client::new(address, &self.authority, files)
    }

    /// TLS at a free port, hosts by certificate, people by headers from 127.0.0.1.
    pub fn config(&self, sts: &str, more: &str) -> String {
        let file = |name: &str| self.path().join(name).display().to_string();
        format!(
            "\
listen: 127.0.0.1:0
tls_certificate: {}
tls_key: {}
accounts: {{demo: '{ACCOUNT}'}}
sts:
  credentials: {{kind: static, access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: {SECRET}}}
  regions: [us-east-1]
  endpoint: {sts}
log_level: debug
logging_handler: {{module: logging, class: StreamHandler}}
audit_log: {}
user: root
{more}",
            file("server.pem"),
            file("server.key"),
            file("audit.log"),
        )
    }

    /// The configuration that most tests need.
    pub fn usual(&self, sts: &str) -> String {
        let ca = self.path().join("ca.pem").display().to_string();
        self.config(
            sts,
            &format!(
                "\
identities:
  hosts: {{kind: mtls, ca_files: {ca}}}
  people: {{kind: proxy, name_header: X-Remote-User, groups_header: X-Groups, from_networks: 127.0.0.1}}
rules:
  - {{name: web servers, match: {{method: hosts, name: 'web[0-9]+\\.example\\.com'}}, account: demo, role: web,
     source_identity: yes, tags: {{host: '{{identity}}'}}}}
  - {{name: groups, match: {{method: people, groups: 'aws-(?P<role>[a-z]+)'}}, account: demo, role: '{{role}}'}}
"
            ),
        )
    }
}

/// The secret of the server's own keys.
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

/// A server that runs.
pub struct Server {
    child: Child,
    log: Arc<Mutex<String>>,
    config: PathBuf,
    pub address: SocketAddr,
}

impl Server {
    /// Starts it with this configuration, written into `scene`.
    pub fn start(scene: &Scene, config: &str) -> Self {
        Self::start_through(scene, config, &mut Command::new(env!("CARGO_BIN_EXE_alppaca-ims")))
    }

    /// The same where it may have only so many files open.
    pub fn start_with_few_files(scene: &Scene, config: &str, files: usize) -> Self {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={files}:{files}")).arg(env!("CARGO_BIN_EXE_alppaca-ims"));
        Self::start_through(scene, config, &mut command)
    }

    fn start_through(scene: &Scene, config: &str, command: &mut Command) -> Self {
        let path = scene.path().join("ims.yaml");
        fs::write(&path, config).expect("ours");
        let mut child = command
            .args(["run", "-c"])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = Arc::new(Mutex::new(String::new()));
        let stderr = child.stderr.take().expect("piped");
        let into = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = into.lock().expect("not poisoned");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut server = Self { child, log, config: path, address: "127.0.0.1:1".parse().expect("an address") };
        let line = server.wait_for_log(" serves at ");
        let address = line.rsplit(" serves at ").next().and_then(|places| places.split(", ").next());
        server.address = address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        server
    }

    /// The same for a configuration whose log is in a file.
    pub fn start_with_log_file(scene: &Scene, config: &str, log: &Path) -> Self {
        let path = scene.path().join("ims.yaml");
        fs::write(&path, config).expect("ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca-ims"));
        command.args(["run", "-c"]).arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("it starts");
        let text = || fs::read_to_string(log).unwrap_or_default();
        let find = || text().lines().find_map(|line| line.split(" serves at ").nth(1).map(str::to_owned));
        let place = eventually("it serves", find, text);
        let address = place.parse().unwrap_or_else(|_| panic!("{place}"));
        Self { child, log: Arc::default(), config: path, address }
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("not poisoned").clone()
    }

    /// The first line of the log with this text, as soon as there is one.
    pub fn wait_for_log(&self, text: &str) -> String {
        eventually(text, || self.log().lines().find(|line| line.contains(text)).map(str::to_owned), || self.log())
    }

    /// Writes another configuration, and has it read. `said`: what the log then says.
    pub fn reload(&self, config: &str, said: &str) {
        fs::write(&self.config, config).expect("ours");
        let before = self.log().len();
        self.signal("-HUP");
        let new = || self.log()[before..].contains(said).then_some(());
        eventually(said, new, || self.log());
    }

    /// What the listener for metrics and health answers, of a server with `metrics_listen`.
    pub fn monitor(&self, path: &str) -> String {
        let line = self.wait_for_log("metrics at ");
        let mut stream =
            TcpStream::connect(line.rsplit("metrics at ").next().expect("an address")).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("settable");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    pub fn signal(&self, signal: &str) {
        let killed = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status();
        assert!(killed.expect("kill").success());
    }

    /// Stops it; answers its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("-TERM");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The daemon's program: another package's, so that cargo makes it here.
pub fn daemon_program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "alppaca", "--bin", "alppaca"]);
        assert!(cargo.stdin(Stdio::null()).status().expect("cargo").success());
        PathBuf::from(env!("CARGO_BIN_EXE_alppaca-ims")).with_file_name("alppaca")
    })
}
