//! `web_identity` against a real STS (moto's), with a token that an issuer made in the test signs, and that is rotated
//! while the daemon runs.
#![allow(clippy::disallowed_methods, reason = "the environment tells which Python has moto")]
#![allow(clippy::print_stderr, reason = "a test that cannot run says so")]

mod support;

use std::{
    fs::File,
    io::Write,
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use alppaca::{
    clock::SystemClock,
    credentials::AccountId,
    fetch::{Options, Proxies},
    refresh::Fetch,
    source::{
        aws::StsSettings,
        sts::Request,
        web_identity::{Settings, WebIdentity},
    },
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use support::{Daemon, PATIENCE};
use tempfile::TempDir;

/// An `OpenID` Connect issuer: a key and what it signs.
struct Issuer(KeyPair);

impl Issuer {
    fn new() -> Self {
        Self(KeyPair::generate().expect("a key"))
    }

    fn token(&self, serial: u32) -> String {
        let claims = json!({"iss": "https://issuer.example", "sub": "system:serviceaccount:prod:app",
            "aud": "sts.amazonaws.com", "iat": 1_700_000_000, "exp": 4_070_908_800_u64, "jti": serial.to_string()});
        encode(&Header::new(Algorithm::ES256), &claims, &EncodingKey::from_ec_der(self.0.serialized_der()))
            .expect("a token")
    }

    /// The serial number of a token that this issuer signed.
    fn serial(&self, token: &str) -> String {
        let key = DecodingKey::from_ec_der(self.0.public_key_raw());
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_audience(&["sts.amazonaws.com"]);
        let claims = decode::<Value>(token, &key, &validation).expect("signed by the issuer").claims;
        claims["jti"].as_str().expect("a serial number").to_owned()
    }
}

/// moto's server, ended with the test.
struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    fn start() -> Option<Self> {
        let Some(python) = std::env::var_os("ALPPACA_TEST_PYTHON") else {
            let why = "web identity with moto: no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            if let Some(file) = std::env::var_os("ALPPACA_TEST_SKIPPED") {
                let mut file = File::options().append(true).open(file).expect("the file for skipped tests");
                writeln!(file, "{why}").expect("a line");
            }
            eprintln!("skipped: {why}");
            return None;
        };
        // It cannot say which port it took, so another process may be quicker; then it exits and is tried anew.
        for _ in 0..10 {
            let address = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
            let mut command = Command::new(&python);
            command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p"]).arg(address.port().to_string());
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut moto = Self { child: child.expect("it starts"), address };
            while moto.child.try_wait().expect("a child").is_none() {
                if TcpStream::connect(address).is_ok() {
                    return Some(moto);
                }
                // There is no event for "somebody else's process listens".
                thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        panic!("moto does not come up");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Passes connections on to moto and remembers the tokens that go through.
fn relay(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let tokens = Arc::new(Mutex::new(Vec::new()));
    let memory = Arc::clone(&tokens);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (client, server) = (stream.expect("a connection"), TcpStream::connect(to).expect("moto"));
            let (mut back, mut forth) = (server.try_clone().expect("a copy"), client.try_clone().expect("a copy"));
            thread::spawn(move || std::io::copy(&mut back, &mut forth));
            let memory = Arc::clone(&memory);
            thread::spawn(move || pass_on(client, server, &memory));
        }
    });
    (address, tokens)
}

fn pass_on(mut client: TcpStream, mut server: TcpStream, tokens: &Mutex<Vec<String>>) {
    use std::io::Read;
    let mut seen = String::new();
    let mut piece = [0; 16 * 1024];
    while let Ok(length @ 1..) = client.read(&mut piece) {
        seen.push_str(&String::from_utf8_lossy(&piece[..length]));
        // A body may come in pieces; the token is its last field.
        if let Some((_, token)) = seen.split_once("WebIdentityToken=") {
            let token = token.split('&').next().unwrap_or_default();
            let mut tokens = tokens.lock().expect("not poisoned");
            if tokens.last().is_some_and(|last| token.starts_with(last.as_str())) {
                tokens.pop();
            }
            tokens.push(token.to_owned());
        }
        if server.write_all(&piece[..length]).is_err() {
            return;
        }
    }
}

/// A directory with the token of an issuer, which it rotates as Kubernetes and SPIFFE do: a new file takes the place of
/// the old one.
struct Mount {
    issuer: Issuer,
    directory: TempDir,
}

impl Mount {
    fn new() -> Self {
        let mount = Self { issuer: Issuer::new(), directory: tempfile::tempdir().expect("a directory") };
        mount.rotate(1);
        mount
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("token")
    }

    fn rotate(&self, serial: u32) {
        let new = self.directory.path().join("new");
        std::fs::write(&new, self.issuer.token(serial)).expect("writable");
        std::fs::rename(&new, self.file()).expect("one directory");
    }
}

#[test]
fn the_daemon_serves_what_sts_gives_for_the_token() {
    let Some(moto) = Moto::start() else { return };
    let (mount, (sts, tokens)) = (Mount::new(), relay(moto.address));
    let config = format!(
        "sources:\n  oidc: {{kind: web_identity, token_file: {}, endpoint: 'http://{sts}'}}\nroles:\n  app: {{source: oidc, \
         role_arn: 'arn:aws:iam::123456789012:role/app', duration: 15m}}\n",
        mount.file().display()
    );
    let daemon = Daemon::with_credentials(&config);
    let document = daemon.get("/latest/meta-data/iam/security-credentials/app").json();
    assert!(document["AccessKeyId"].as_str().is_some_and(|key| key.starts_with("ASIA")), "{document}");
    assert!(!document["Token"].as_str().expect("a token").is_empty());
    let seen = tokens.lock().expect("not poisoned").clone();
    assert_eq!(seen.iter().map(|token| mount.issuer.serial(token)).collect::<Vec<_>>(), ["1"]);
    assert!(!daemon.log().contains(&seen[0]));
}

#[tokio::test]
async fn a_token_that_is_rotated_meanwhile_is_taken_for_the_next_call() {
    let Some(moto) = Moto::start() else { return };
    let (mount, (sts, tokens)) = (Mount::new(), relay(moto.address));
    let identity = Arc::new(WebIdentity::new(
        Settings {
            token_file: mount.file(),
            sts: StsSettings {
                region: "eu-central-1".into(),
                endpoint: Some(format!("http://{sts}")),
                fips: false,
                dual_stack: false,
                http: Options {
                    connect_timeout: PATIENCE,
                    timeout: PATIENCE,
                    limit_name: None,
                    ca_file: None,
                    client_certificate: None,
                    proxies: Proxies::none(),
                },
            },
        },
        SystemClock::shared(),
    ));
    let role = identity.role(Request::new(
        "arn:aws:iam::123456789012:role/app".parse().expect("an ARN"),
        "alppaca-on-host".to_owned(),
    ));
    for serial in 1..=3 {
        mount.rotate(serial);
        let set = role.fetch(None).await.expect("credentials");
        assert_eq!(set.account_id.as_ref().map(AccountId::as_str), Some("123456789012"), "{set:?}");
    }
    let seen = tokens.lock().expect("not poisoned").clone();
    assert_eq!(seen.iter().map(|token| mount.issuer.serial(token)).collect::<Vec<_>>(), ["1", "2", "3"]);
}
