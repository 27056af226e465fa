//! Both halves: the daemon with the server as its upstream.

#[path = "../../../tests/support/openssh.rs"]
mod openssh;
mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use openssh::{Agent, keygen, new_key, public};
use support::{
    Authority, Scene, Server, Sts, daemon_program, eventually,
    needs::{needs, needs_root},
};

struct Daemon {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Daemon {
    fn start(scene: &Scene, server: &Server, proof: &str) -> Self {
        Self::start_as("root", scene, server, proof)
    }

    /// The same; `user`: what it becomes.
    fn start_as(user: &str, scene: &Scene, server: &Server, proof: &str) -> Self {
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
user: {user}
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

/// Waits until it serves the role `web`.
fn serves(daemon: &Daemon, server: &Server) {
    eventually(
        "the role is served",
        || Some(daemon.get(WEB)).filter(|answer| answer.contains(" 200 ")),
        || format!("{}\n{}", daemon.log(), server.log()),
    );
}

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

/// A server that knows the host key `host`, the authority `ca` of host certificates, and the key `alice` of a person.
fn with_ssh(scene: &Scene, sts: &Sts) -> Server {
    let folder = scene.path();
    for name in ["host", "ca", "renewed", "alice"] {
        new_key(folder, name, &["ed25519"]);
    }
    let (hosts, people) = (folder.join("known_hosts"), folder.join("allowed_signers"));
    let lines = format!(
        "web1.example.com {}\n@cert-authority *.example.com {}\n",
        public(folder, "host"),
        public(folder, "ca")
    );
    fs::write(&hosts, lines).expect("ours");
    fs::write(&people, format!("alice {}\n", public(folder, "alice"))).expect("ours");
    let more = format!(
        "\
identities:
  fleet: {{kind: ssh, for: hosts, file: {}, hosts: localhost}}
  people: {{kind: ssh, for: people, file: {}, hosts: localhost}}
rules:
  - {{name: web, match: {{method: fleet, name: 'web[0-9]+\\.example\\.com'}}, account: demo, role: web}}
  - {{name: alice, match: {{method: people, name: alice}}, account: demo, role: web}}
",
        hosts.display(),
        people.display(),
    );
    Server::start(scene, &scene.config(&sts.url(), &more))
}

fn names(sts: &Sts) -> Vec<String> {
    sts.assumed().iter().map(|call| call.get("RoleSessionName").to_owned()).collect()
}

#[test]
fn a_daemon_signs_with_its_host_key_or_an_agent() {
    if !needs("openssh", "ssh-keygen") || !needs("openssh", "ssh-agent") {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = with_ssh(&scene, &sts);
    let key = |name: &str| scene.path().join(name).display().to_string();
    serves(&Daemon::start(&scene, &server, &format!("ims_identity: {{kind: ssh, key: {}}}", key("host"))), &server);
    assert_eq!(names(&sts), ["web1.example.com"]);

    let agent = Agent::start(scene.path());
    for name in ["renewed", "alice"] {
        agent.add(scene.path(), name);
    }
    let socket = agent.socket.display();
    let proof =
        format!("ims_identity: {{kind: ssh, agent: {socket}, key: {}.pub, for: people, user: alice}}", key("alice"));
    serves(&Daemon::start(&scene, &server, &proof), &server);
    assert_eq!(names(&sts), ["web1.example.com", "alice"]);

    // A key that nobody knows is refused, and says so in the daemon's log.
    let proof = format!("ims_identity: {{kind: ssh, agent: {socket}, key: renewed}}");
    let daemon = Daemon::start(&scene, &server, &proof);
    eventually(
        "the refusal is logged",
        || daemon.log().contains("is not listed").then_some(()),
        || format!("{}\n{}", daemon.log(), server.log()),
    );
}

#[test]
fn a_reload_goes_on_with_a_host_key_that_only_root_may_read() {
    if !needs("openssh", "ssh-keygen") || !needs_root("a host key that only root may read") {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = with_ssh(&scene, &sts);
    fs::set_permissions(scene.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let proof = format!("ims_identity: {{kind: ssh, key: {}}}", scene.path().join("host").display());
    let daemon = Daemon::start_as("daemon", &scene, &server, &proof);
    serves(&daemon, &server);
    let config = scene.path().join("alppaca.yaml");
    let text = fs::read_to_string(&config).expect("ours");
    fs::write(&config, text.replace("ims_port:", "ims_timeout: 9s\nims_port:")).expect("ours");
    let killed = Command::new("kill").args(["-HUP", &daemon.child.id().to_string()]).status();
    assert!(killed.expect("kill").success());
    let reloaded = || daemon.log().contains("the configuration has been reloaded").then_some(());
    eventually("it is read again", reloaded, || daemon.log());
    serves(&daemon, &server);
}

#[test]
fn a_daemon_shows_the_host_certificate_that_is_there_now() {
    if !needs("openssh", "ssh-keygen") {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = with_ssh(&scene, &sts);
    let certify = |name: &str, validity: &str| {
        let name = format!("{name}.example.com");
        keygen(scene.path(), &["-s", "ca", "-h", "-I", "x", "-n", &name, "-V", validity, "renewed.pub"]);
    };
    certify("web2", "-2h:-1h");
    let (key, certificate) = (scene.path().join("renewed"), scene.path().join("renewed-cert.pub"));
    let proof = format!("ims_identity: {{kind: ssh, key: {}, certificate: {}}}", key.display(), certificate.display());
    let daemon = Daemon::start(&scene, &server, &proof);
    server.wait_for_log("it has expired");
    certify("web2", "+1h");
    serves(&daemon, &server);
    assert_eq!(names(&sts), ["web2.example.com"]);
}

#[test]
fn a_daemon_shows_the_client_certificate_that_is_there_now() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start(&scene, &scene.usual(&sts.url()));
    Authority::new("Strangers").host("web3.example.com", 7).write(scene.path(), "host");
    let (certificate, key) = (scene.path().join("host.pem"), scene.path().join("host.key"));
    let proof = format!("ims_client_certificate: {}\nims_client_key: {}", certificate.display(), key.display());
    let daemon = Daemon::start(&scene, &server, &proof);
    eventually(
        "it is refused",
        || daemon.log().contains("no credentials could be fetched yet").then_some(()),
        || daemon.log(),
    );
    // As spiffe-helper does it: one file after the other.
    scene.authority.host("web3.example.com", 7).write(scene.path(), "host");
    serves(&daemon, &server);
    assert_eq!(names(&sts), ["web3.example.com"]);
    assert!(daemon.log().contains("is a new one"), "{}", daemon.log());
}
