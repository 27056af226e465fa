//! Warm requests and handshakes a second over mutual TLS, on one core, beside nginx with the same set-up in the same run.
//!
//! `cargo bench -p alppaca-ims`: needs nginx, taskset and two cores. Figures of one machine compare only with each other.

#![allow(clippy::print_stdout, reason = "it is for people")]
#![allow(clippy::disallowed_methods, reason = "it measures")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use support::{Client, Files, Scene, Server, Sts, eventually};

const CONNECTIONS: usize = 16;
const ROUND: Duration = Duration::from_secs(3);
const ROUNDS: usize = 3;
const WEB: &str = "/latest/meta-data/iam/security-credentials/web";

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Answers every request with a body of the same length, after the same handshake.
fn nginx(directory: &Path, length: usize) -> (Nginx, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
    let (here, body) = (directory.display(), "x".repeat(length));
    let text = format!(
        "\
daemon off;
master_process off;
pid {here}/nginx.pid;
error_log {here}/error.log;
events {{}}
http {{
  access_log {here}/access.log;
  keepalive_requests 100000000;
  client_body_temp_path {here}/body;
  proxy_temp_path {here}/proxy;
  fastcgi_temp_path {here}/fastcgi;
  uwsgi_temp_path {here}/uwsgi;
  scgi_temp_path {here}/scgi;
  server {{
    listen {address} ssl;
    ssl_certificate {here}/server.pem;
    ssl_certificate_key {here}/server.key;
    ssl_client_certificate {here}/ca.pem;
    ssl_verify_client on;
    ssl_protocols TLSv1.3;
    location / {{ default_type application/json; return 200 '{body}'; }}
  }}
}}
"
    );
    let path = directory.join("nginx.conf");
    fs::write(&path, text).expect("ours");
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let nginx = Nginx(command.spawn().expect("nginx"));
    eventually(
        "nginx listens",
        || TcpStream::connect(address).ok(),
        || fs::read_to_string(directory.join("error.log")).unwrap_or_default(),
    );
    (nginx, address)
}

/// The processor on which a process runs from now on, and the other for this one.
fn pin(process: u32, core: &str) {
    let mut command = Command::new("taskset");
    command.args(["-a", "-p", "-c", core, &process.to_string()]).stdout(Stdio::null());
    assert!(command.status().expect("taskset").success());
}

/// How often `work` was done in a second by all connections.
fn rate(work: impl Fn(&AtomicBool) -> u64 + Sync) -> f64 {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| done.fetch_add(work(&stop), Ordering::Relaxed));
        }
        thread::sleep(ROUND);
        stop.store(true, Ordering::Relaxed);
    });
    let count = u32::try_from(done.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
    f64::from(count) / begun.elapsed().as_secs_f64()
}

fn requests(client: &Client) -> f64 {
    rate(|stop| {
        let mut connection = client.connect().expect("a connection");
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(connection.get(WEB, &[]).expect("an answer").status, 200);
            count += 1;
        }
        count
    })
}

fn handshakes(client: &Client) -> f64 {
    rate(|stop| {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            drop(client.connect().expect("a connection"));
            count += 1;
        }
        count
    })
}

fn main() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let config = scene.usual(&sts.url()).replace("log_level: debug", "access_log: yes");
    let config = config.replace(
        "{module: logging, class: StreamHandler}",
        &format!("{{module: logging, class: FileHandler, args: ['{}']}}", scene.path().join("ims.log").display()),
    );
    let server = Server::start_with_log_file(&scene, &config, &scene.path().join("ims.log"));
    let host: Files = scene.authority.host("web1.example.com", 7);
    let ours = Client::without_resumption(server.address, &scene.authority, &host);
    let length = ours.get(WEB, &[]).body.len();
    let (nginx, address) = nginx(scene.path(), length);
    let theirs = Client::without_resumption(address, &scene.authority, &host);
    pin(server.id(), "0");
    pin(nginx.0.id(), "0");
    pin(std::process::id(), "1");
    println!(
        "{CONNECTIONS} connections, {length} bytes, TLS 1.3 with client certificates, server and load on one core each"
    );
    println!("{:<12} {:>16} {:>16}", "", "requests/s", "handshakes/s");
    for _ in 0..ROUNDS {
        for (name, client) in [("alppaca-ims", &ours), ("nginx", &theirs)] {
            println!("{name:<12} {:>16.0} {:>16.0}", requests(client), handshakes(client));
        }
    }
}
