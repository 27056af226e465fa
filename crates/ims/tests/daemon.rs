//! Both halves: the daemon with the server as its upstream.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use support::{Scene, Server, Sts, daemon_program, eventually};

struct Daemon {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Daemon {
    fn start(scene: &Scene, server: &Server, proof: &str) -> Self {
        let program = daemon_program();
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let file = |name: &str| scene.path().join(name).display().to_string();
        let config = format!(
            "\
ims_host: localhost
ims_port: {}
ims_ca_file: {}
{proof}
listen: {address}
run_dir: {}
logging_handler: {{module: logging, class: StreamHandler}}
user: root
",
            server.address.port(),
            file("ca.pem"),
            file("run"),
        );
        let path = scene.path().join("alppaca.yaml");
        fs::write(&path, config).expect("ours");
        let log = scene.path().join("daemon.log");
        let stderr = fs::File::create(&log).expect("ours");
        let mut command = Command::new(program);
        command.args(["run", "-c"]).arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let daemon = Self { child: command.spawn().expect("it starts"), address, log };
        eventually("the daemon listens", || TcpStream::connect(address).ok(), || daemon.log());
        daemon
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

const WEB: &str = "/latest/meta-data/iam/security-credentials/web";

#[test]
fn a_daemon_serves_what_its_certificate_gives_it() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start(&scene, &scene.usual(&sts.url()));
    scene.authority.host("web1.example.com", 7).write(scene.path(), "host");
    let (certificate, key) = (scene.path().join("host.pem"), scene.path().join("host.key"));
    let proof = format!("ims_client_certificate: {}\nims_client_key: {}", certificate.display(), key.display());
    let daemon = Daemon::start(&scene, &server, &proof);
    let answer = eventually(
        "the role is served",
        || Some(daemon.get(WEB)).filter(|answer| answer.contains(" 200 ")),
        || format!("{}\n{}", daemon.log(), server.log()),
    );
    let audit = || fs::read_to_string(scene.path().join("audit.log")).expect("an audit");
    // A thread of its own writes it.
    let line = eventually("a record", || audit().lines().next().map(str::to_owned), audit);
    let record: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(record["session_name"], "web1.example.com");
    let key_id = record["access_key_id"].as_str().expect("a key id");
    assert!(answer.contains(key_id), "{answer}\n{line}");
}

#[test]
fn a_daemon_shows_its_token() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let mut digest = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum");
    digest.stdin.take().expect("piped").write_all(secret.as_bytes()).expect("sent");
    let digest = String::from_utf8(digest.wait_with_output().expect("it ends").stdout).expect("text");
    let tokens = scene.path().join("tokens");
    fs::write(&tokens, format!("web1.example.com {}\n", digest.split(' ').next().expect("a digest"))).expect("ours");
    let file = scene.path().join("secret");
    fs::write(&file, format!("{secret}\n")).expect("ours");
    let config = scene.config(
        &sts.url(),
        &format!(
            "identities: {{hosts: {{kind: token, file: {}}}}}\nrules:\n  - {{name: web, match: {{method: hosts, name: 'web1\\.example\\.com'}}, \
             account: demo, role: web}}\n",
            tokens.display()
        ),
    );
    let server = Server::start(&scene, &config);
    let proof = format!("ims_identity: {{kind: token, file: {}}}", file.display());
    let daemon = Daemon::start(&scene, &server, &proof);
    eventually(
        "the role is served",
        || Some(daemon.get(WEB)).filter(|answer| answer.contains(" 200 ")),
        || format!("{}\n{}", daemon.log(), server.log()),
    );
    assert!(!server.log().contains(secret) && !daemon.log().contains(secret));
}
