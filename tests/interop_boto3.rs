//! boto3 gets its credentials from the real binary, through IMDSv2 and through IMDSv1.
#![allow(clippy::disallowed_methods, reason = "the environment tells which Python has boto3")]
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use alppaca::mock_ims::Behaviour;
use serde_json::Value;
use support::{Daemon, Ims};

#[test]
fn boto3_gets_the_credentials_of_the_ims_through_imdsv2() {
    let Some(python) = python("boto3 through IMDSv2") else { return };
    let host = Host::start();
    let front = Front::start(host.daemon.address(), Tokens::Passed);

    let seen = boto3(&python, front.address, &host);

    host.assert_serves(&seen);
    let heads = front.heads();
    let gets: Vec<_> = heads.iter().filter(|head| head.starts_with("GET ")).collect();
    assert!(heads.iter().any(|head| head.starts_with("PUT /latest/api/token ")), "{heads:?}");
    assert!(!gets.is_empty() && gets.iter().all(|head| has_token(head)), "{heads:?}");
}

/// botocore falls back to IMDSv1 when the PUT is answered by 403, 404 or 405, as by a metadata
/// service older than IMDSv2. The daemon always knows the PUT, so an old front stands before it:
/// it answers the PUT by 405 and passes everything else on unchanged.
#[test]
fn boto3_gets_the_credentials_of_the_ims_through_imdsv1() {
    let Some(python) = python("boto3 through IMDSv1") else { return };
    let host = Host::start();
    let front = Front::start(host.daemon.address(), Tokens::Refused);

    let seen = boto3(&python, front.address, &host);

    host.assert_serves(&seen);
    let heads = front.heads();
    let gets: Vec<_> = heads.iter().filter(|head| head.starts_with("GET ")).collect();
    assert!(!gets.is_empty() && !gets.iter().any(|head| has_token(head)), "{heads:?}");
}

fn has_token(head: &str) -> bool {
    head.to_ascii_lowercase().contains("\r\nx-aws-ec2-metadata-token:")
}

/// The Python that has boto3. None, and a line in the summary of `cargo xtask test`, if there is none.
fn python(test: &str) -> Option<String> {
    let python = std::env::var("ALPPACA_TEST_PYTHON").ok();
    if python.is_none() {
        let why = "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one";
        if let Some(file) = std::env::var_os("ALPPACA_TEST_SKIPPED") {
            let mut file = std::fs::File::options().append(true).open(file).expect("the file for skipped tests");
            file.write_all(format!("{test}: {why}\n").as_bytes()).expect("a line");
        }
        eprintln!("skipped: {test}: {why}");
    }
    python
}

/// Runs the script with nothing else in reach that boto3 could take credentials from.
fn boto3(python: &str, endpoint: SocketAddr, host: &Host) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/python/boto3_credentials.py");
    let output = Command::new(python)
        .arg(script)
        .env_clear()
        .env("HOME", host.daemon.directory.path())
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{endpoint}/"))
        .stdin(Stdio::null())
        .output()
        .expect("python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON from the script")
}

/// The mock IMS and the daemon that asks it.
struct Host {
    _ims: Ims,
    daemon: Daemon,
}

impl Host {
    fn start() -> Self {
        let ims = Ims::start(Behaviour::default());
        let daemon = Daemon::with_credentials(&ims.config());
        Self { _ims: ims, daemon }
    }

    /// boto3's keys and its expiry are those of the set that the daemon serves.
    fn assert_serves(&self, seen: &Value) {
        let served = self.daemon.get("/latest/meta-data/iam/security-credentials/test_role").json();
        assert_eq!(seen["access_key"], served["AccessKeyId"]);
        assert_eq!(seen["secret_sha256"], sha256(&served["SecretAccessKey"]));
        assert_eq!(seen["token_sha256"], sha256(&served["Token"]));
        let expiry = seen["expiry"].as_str().expect("an expiry").replace("+00:00", "Z");
        assert_eq!(expiry, served["Expiration"].as_str().expect("a string"));
    }
}

fn sha256(value: &Value) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, value.as_str().expect("a string").as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// What the front does with a PUT.
#[derive(Clone, Copy, PartialEq)]
enum Tokens {
    Passed,
    Refused,
}

/// Passes each request on, one for each connection, and keeps its head.
struct Front {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Front {
    fn start(daemon: SocketAddr, tokens: Tokens) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&heads);
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let seen = Arc::clone(&seen);
                thread::spawn(move || pass_on(client, daemon, tokens, &seen));
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

fn pass_on(mut client: TcpStream, daemon: SocketAddr, tokens: Tokens, seen: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    // botocore sends no bodies, so the head is the request.
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).expect("an ASCII head");
    seen.lock().expect("no panic").push(head.clone());
    if tokens == Tokens::Refused && head.starts_with("PUT ") {
        let answer = b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        client.write_all(answer).expect("the client reads");
        return;
    }
    let mut upstream = TcpStream::connect(daemon).expect("the daemon listens");
    // The daemon then closes, which ends the copy, and tells the client so.
    let request = head.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
    upstream.write_all(request.as_bytes()).expect("the daemon reads");
    std::io::copy(&mut upstream, &mut client).expect("the answer");
}
