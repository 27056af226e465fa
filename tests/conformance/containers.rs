//! The container protocols: ECS, and EKS Pod Identity.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use alppaca::{
    clock::SystemClock,
    mock_ims::{Answer, Behaviour},
};
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa};
use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Daemon, Ims, Response, request};

/// A daemon whose container face gives `test_role` for the token, or the id, that stands in a file.
struct Ecs {
    _ims: Ims,
    daemon: Daemon,
    files: TempDir,
}

impl Ecs {
    fn start() -> Self {
        Self::of(Behaviour::default(), "10m", Daemon::with_credentials)
    }

    fn of(behaviour: Behaviour, overlap: &str, start: impl FnOnce(&str) -> Daemon) -> Self {
        let ims = Ims::start(behaviour);
        let files = TempDir::new().expect("a directory");
        fs::write(files.path().join("token"), "s3cr3t-token+/=\n").expect("a file");
        fs::write(files.path().join("id"), "0a1b2c3d-id").expect("a file");
        let directory = files.path().display();
        let daemon = start(&format!(
            "{}metadata: {{account_id: '123456789012'}}
container:
  listen: ['127.0.0.1:0', '[::1]:0']
  token_overlap: {overlap}
  roles:
    test_role: {{authorization_token_file: {directory}/token, credentials_id_file: {directory}/id}}
",
            ims.config()
        ));
        Self { _ims: ims, daemon, files }
    }

    fn address(&self) -> SocketAddr {
        self.daemon.face("container")
    }

    fn ask(&self, path: &str, headers: &str) -> Response {
        request(self.address(), &format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}", self.address()))
    }

    fn with(&self, path: &str, token: &str) -> Response {
        self.ask(path, &format!("Accept: application/json\r\nAuthorization: {token}\r\n"))
    }
}

const TOKEN: &str = "s3cr3t-token+/=";

pub(crate) fn the_right_token_gets_four_keys_as_json() {
    let ecs = Ecs::start();
    for response in [
        ecs.with("/", TOKEN),
        ecs.with("/role/test_role", TOKEN),
        ecs.ask("/v2/credentials/0a1b2c3d-id", ""),
        ecs.ask("/v1/credentials?id=0a1b2c3d-id", ""),
    ] {
        assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
        assert_eq!(response.header("content-length"), Some(&*response.body.len().to_string()));
        assert!(response.header("server").is_none() && response.header("accept-ranges").is_none());
        for key in ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"] {
            assert!(response.json()[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {response:?}");
        }
    }
    ecs.daemon.wait_for_log("/v2/credentials/*** HTTP/1.1\" 200");
    let log = ecs.daemon.log();
    assert!(!log.contains(TOKEN) && !log.contains("0a1b2c3d"), "{log}");
}

/// What Go and Java read, and what JavaScript does.
fn assert_is_an_error(response: &Response, status: u16, code: &str) {
    assert_eq!(response.status, status, "{response:?}");
    // Go compares it as a whole.
    assert_eq!(response.header("content-type"), Some("application/json"), "{response:?}");
    let json = response.json();
    assert_eq!((&json["code"], &json["Code"]), (&code.into(), &code.into()));
    assert!(json["message"].as_str().is_some_and(|text| !text.is_empty()) && json["message"] == json["Message"]);
    assert_eq!(json["HTTPErrorCode"], status);
}

pub(crate) fn without_it_an_error_that_all_sdks_read() {
    let ecs = Ecs::start();
    assert_is_an_error(&ecs.ask("/", ""), 401, "MissingAuthorizationToken");
    assert_is_an_error(&ecs.with("/", ""), 401, "MissingAuthorizationToken");
    for wrong in ["wrong", "s3cr3t-token+/", "S3CR3T-TOKEN+/=", "Bearer s3cr3t-token+/=", "0a1b2c3d-id"] {
        assert_is_an_error(&ecs.with("/", wrong), 401, "InvalidAuthorizationToken");
        assert_is_an_error(&ecs.with("/role/test_role", wrong), 401, "InvalidAuthorizationToken");
    }
    assert_is_an_error(&ecs.with("/role/other", TOKEN), 403, "AccessDenied");
    assert_is_an_error(&ecs.ask("/v2/credentials/other", ""), 400, "InvalidIdInRequest");
    assert_is_an_error(&ecs.ask("/v2/credentials/", ""), 400, "NoIdInRequest");
    assert_is_an_error(&ecs.ask("/v2/credentials/s3cr3t-token+%2f=", ""), 400, "InvalidIdInRequest");
    let right = format!("Authorization: {TOKEN}\r\n");
    for header in ["X-Forwarded-For: 1.2.3.4", "Origin: http://x", "Sec-Fetch-Site: cross-site"] {
        assert_is_an_error(&ecs.ask("/", &format!("{right}{header}\r\n")), 403, "AccessDenied");
    }
    let rebound = request(ecs.address(), &format!("GET / HTTP/1.1\r\nHost: evil.example\r\n{right}"));
    assert_is_an_error(&rebound, 403, "AccessDenied");
    let posted = request(ecs.address(), &format!("POST / HTTP/1.1\r\n{right}"));
    assert_is_an_error(&posted, 405, "MethodNotAllowed");
    let head = format!("GET / HTTP/1.1\r\nx: {}\r\n", "x".repeat(20_000));
    assert_is_an_error(&request(ecs.address(), &head), 431, "BadRequest");
    // Neither the first fetch, nor an upstream that refuses, nor the end of the set is a 200.
    let slow = Behaviour { latency: Duration::from_secs(20), ..Behaviour::default() };
    let warming = Ecs::of(slow, "1m", Daemon::start);
    assert_is_an_error(&warming.with("/", TOKEN), 503, "CredentialsUninitialized");
    let refusing = Ecs::of(Behaviour { document: Answer::Status(403), ..Behaviour::default() }, "1m", |config| {
        let daemon = Daemon::start(config);
        daemon.wait_for_log("cannot fetch credentials");
        daemon
    });
    assert_is_an_error(&refusing.with("/", TOKEN), 403, "AssumeRoleUnauthorizedAccess");
}

pub(crate) fn white_space_around_a_token_does_not_count() {
    let ecs = Ecs::start();
    for token in [format!("{TOKEN}  "), format!("  {TOKEN}"), format!("\t{TOKEN}\t ")] {
        assert_eq!(ecs.with("/", &token).status, 200, "{token:?}");
    }
    // Nor does it in the file.
    fs::write(ecs.files.path().join("token"), "\n  another \r\n\n").expect("a file");
    assert_eq!(ecs.with("/", "another").status, 200);
}

pub(crate) fn the_document_of_ecs_has_the_role_arn() {
    let ecs = Ecs::start();
    let document = ecs.ask("/v2/credentials/0a1b2c3d-id", "").json();
    let mut keys: Vec<&str> = document.as_object().expect("an object").keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["AccessKeyId", "Expiration", "RoleArn", "SecretAccessKey", "Token"]);
    assert_eq!(document["RoleArn"], "arn:aws:iam::123456789012:role/test_role");
}

pub(crate) fn half_an_hour_is_left_in_every_answer() {
    let ecs = Ecs::start();
    let clock = SystemClock::shared();
    let mut last = None;
    for _ in 0..20 {
        let document = ecs.with("/", TOKEN).json();
        let expiration: jiff::Timestamp = document["Expiration"].as_str().expect("a text").parse().expect("a time");
        let left = expiration.duration_since(clock.now().wall).as_secs();
        assert!(left >= 30 * 60, "{left} s");
        assert!(last.is_none_or(|last| last <= expiration), "never earlier than it was");
        last = Some(expiration);
    }
    // A set that is over is never handed out.
    let short = Behaviour { lifetime: Duration::from_secs(2), ..Behaviour::default() };
    let ims = Ims::start(short);
    let daemon = Daemon::with_credentials(&format!(
        "{}container: {{listen: '127.0.0.1:0', roles: {{test_role: {{open: true}}}}}}\n",
        ims.config()
    ));
    ims.handle.update(|behaviour| behaviour.document = Answer::Status(502));
    let address = daemon.face("container");
    let gone = loop {
        let response = request(address, "GET /role/test_role HTTP/1.1\r\n");
        if response.status != 200 {
            break response;
        }
        let expiration: jiff::Timestamp = response.json()["Expiration"].as_str().expect("a text").parse().expect("one");
        assert!(expiration > clock.now().wall - Duration::from_secs(1), "{response:?}");
        thread::sleep(Duration::from_millis(50));
    };
    assert_is_an_error(&gone, 503, "CredentialsExpired");
}

pub(crate) fn a_rotated_token_breaks_nobody() {
    let ecs = Ecs::of(Behaviour::default(), "2s", Daemon::with_credentials);
    let file = ecs.files.path().join("token");
    assert_eq!(ecs.with("/", "new-token").status, 401);
    // As most programs replace files: in one step.
    fs::write(file.with_extension("new"), "new-token\n").expect("a file");
    fs::rename(file.with_extension("new"), &file).expect("the same directory");
    // It was looked for a moment ago, and is looked for again only after a second.
    let found = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(50));
        ecs.with("/", "new-token").status == 200
    });
    assert!(found, "{}", ecs.daemon.log());
    assert_eq!(ecs.with("/", TOKEN).status, 200, "the old one for a while");
    let over = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(50));
        ecs.with("/", TOKEN).status == 401
    });
    assert!(over, "but not for ever");
    assert_eq!(ecs.with("/", "new-token").status, 200);
    // Several at once, and a file that is gone for a moment.
    fs::write(&file, "one\ntwo\n").expect("a file");
    let both = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(50));
        ecs.with("/", "one").status == 200 && ecs.with("/", "two").status == 200
    });
    assert!(both);
    fs::remove_file(&file).expect("there");
    assert_eq!(ecs.with("/", "one").status, 200);
}

pub(crate) fn path_and_query_of_the_url_arrive_intact() {
    let ecs = Ecs::start();
    for path in ["/x?y=z", "/a/b/c?d=e&f=%20g", "/latest/meta-data/?q=/../x", "/%C3%A4?x"] {
        assert_eq!(ecs.with(path, TOKEN).status, 200, "{path}");
        ecs.daemon.wait_for_log(&format!("\"GET {path} HTTP/1.1\" 200"));
    }
    // Also by IPv6.
    let v6 = ecs.daemon.faces("container")[1];
    assert!(v6.is_ipv6());
    let response = request(v6, &format!("GET /x?y=z HTTP/1.1\r\nHost: {v6}\r\nAuthorization: {TOKEN}\r\n"));
    assert_eq!(response.status, 200);
}

pub(crate) const ISSUER: &str = "https://kubernetes.default.svc";

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A Kubernetes API server, as far as it signs tokens. By hand, so that no library judges itself.
pub(crate) struct Cluster {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        Self { rsa, ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key") }
    }

    pub(crate) fn keys(&self, prefix: &str) -> String {
        let public = self.rsa.public_key();
        let point = self.ec.public_key().as_ref();
        let keys = json!({"keys": [
            {"kty": "RSA", "kid": format!("{prefix}-rsa"), "use": "sig", "alg": "RS256",
             "n": encode(public.modulus().big_endian_without_leading_zero()),
             "e": encode(public.exponent().big_endian_without_leading_zero())},
            {"kty": "EC", "kid": format!("{prefix}-ec"), "use": "sig", "alg": "ES256", "crv": "P-256",
             "x": encode(&point[1..33]), "y": encode(&point[33..])},
        ]});
        keys.to_string()
    }

    pub(crate) fn token(&self, kid: &str, change: impl FnOnce(&mut Value)) -> String {
        let now = SystemClock::shared().now().wall.as_second();
        let mut claims = json!({
            "iss": ISSUER, "aud": ["pods.eks.amazonaws.com"], "sub": "system:serviceaccount:prod:web-1",
            "exp": now + 600, "nbf": now, "iat": now,
            "kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "web-1", "uid": "u"}},
        });
        change(&mut claims);
        let ec = kid.ends_with("-ec");
        let header = json!({"alg": if ec { "ES256" } else { "RS256" }, "kid": kid});
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let random = SystemRandom::new();
        let signature = if ec {
            self.ec.sign(&random, message.as_bytes()).expect("a signature").as_ref().to_vec()
        } else {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).expect("a signature");
            signature
        };
        format!("{message}.{}", encode(signature))
    }
}

fn pod_identity(ims: &Ims, keys: &str) -> Daemon {
    let daemon = Daemon::with_credentials(&format!(
        "{}metadata: {{account_id: '123456789012'}}
pod_identity:
  listen: ['127.0.0.1:0', '[::1]:0']
  issuer: {ISSUER}
  {keys}
  associations:
    - {{namespace: prod, service_account: 'web-*', role: test_role}}
",
        ims.config()
    ));
    daemon.wait_for_log(" public keys from ");
    daemon
}

fn ask_agent(address: SocketAddr, host: &str, token: &str) -> Response {
    let head = format!("GET /v1/credentials HTTP/1.1\r\nHost: {host}\r\nAuthorization: {token}\r\n");
    request(address, &head)
}

pub(crate) fn a_pod_gets_the_role_of_its_service_account() {
    let ims = Ims::start(Behaviour::default());
    let cluster = Cluster::new();
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("jwks.json");
    fs::write(&file, cluster.keys("a")).expect("a file");
    let daemon = pod_identity(&ims, &format!("jwks_file: {}", file.display()));
    let address = daemon.face("pod-identity");
    for kid in ["a-rsa", "a-ec"] {
        for host in ["169.254.170.23", "[fd00:ec2::23]", "169.254.170.23:80"] {
            let response = ask_agent(address, host, &cluster.token(kid, |_| {}));
            assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
            let keys = ["\"AccessKeyId\"", "\"SecretAccessKey\"", "\"Token\"", "\"AccountId\"", "\"Expiration\""];
            let places: Vec<_> = keys.iter().map(|key| response.body.find(key).expect("there")).collect();
            assert!(places.is_sorted(), "{places:?}");
            assert_eq!(response.json()["AccountId"], "123456789012");
            assert_eq!(response.json().as_object().map(serde_json::Map::len), Some(5));
        }
    }
    let refused = |host: &str, token: &str, status: u16, part: &str| {
        let response = ask_agent(address, host, token);
        assert_eq!((response.status, response.body.contains(part)), (status, true), "{response:?}");
        assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert!(response.body.ends_with('\n') && response.body.lines().count() == 1, "{response:?}");
    };
    let token = cluster.token("a-rsa", |_| {});
    let agent = "169.254.170.23";
    refused("evil.example", &token, 403, "Access Denied. Called agent through invalid address");
    refused("169.254.170.2", &token, 403, "not 169.254.170.2");
    refused(agent, "", 400, "Service account token cannot be empty");
    refused(agent, "nonsense", 400, "cannot be parsed");
    refused(agent, &cluster.token("a-rsa", |claims| claims["exp"] = 1.into()), 400, "token is expired");
    refused(agent, &cluster.token("a-rsa", |claims| claims["aud"] = "sts".into()), 400, "invalid audience");
    refused(agent, &cluster.token("a-rsa", |claims| claims["iss"] = "x".into()), 400, "invalid issuer");
    refused(agent, &Cluster::new().token("a-rsa", |_| {}), 400, "signature is invalid");
    let other = cluster.token("a-ec", |claims| claims["sub"] = "system:serviceaccount:prod:db".into());
    refused(agent, &other, 404, "ResourceNotFoundException");
    let nowhere = request(address, "GET /v2/credentials/x HTTP/1.1\r\nHost: 169.254.170.23\r\n");
    assert_eq!((nowhere.status, &*nowhere.body), (404, "404 page not found\n"));
    assert_eq!(ask_agent(daemon.faces("pod-identity")[1], "[::1]:80", &token).status, 200);
    assert!(!daemon.log().contains(&token));
    the_keys_of_the_issuer_may_change(&ims);
}

/// What a key server holds: how often it was asked, and the keys.
type Held = Arc<Mutex<(usize, String)>>;

/// A server with TLS that gives whatever it holds to those who have the right token. Its certificate authority is written
/// to `ca_file`.
fn key_server(keys: String, ca_file: &Path) -> (SocketAddr, Held) {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().expect("a key")).expect("one");
    fs::write(ca_file, authority.pem()).expect("a file");
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = parameters.signed_by(&key, &authority).expect("a certificate");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.into()], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
        .expect("a key that fits");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let shared: Held = Arc::new(Mutex::new((0, keys)));
    let held = Arc::clone(&shared);
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = rustls::Stream::new(&mut connection, &mut socket);
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let known = String::from_utf8_lossy(&head).to_lowercase().contains("authorization: bearer k8s\r\n");
            let mut held = held.lock().expect("not poisoned");
            held.0 += 1;
            let (status, body) = if known { ("200 OK", held.1.clone()) } else { ("401 No", String::new()) };
            let length = body.len();
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}")
                .expect("it reads");
        }
    });
    (address, shared)
}

fn the_keys_of_the_issuer_may_change(ims: &Ims) {
    let (first, second) = (Cluster::new(), Cluster::new());
    let directory = TempDir::new().expect("a directory");
    let [ca_file, token_file] = ["ca.pem", "token"].map(|name| directory.path().join(name));
    fs::write(&token_file, "k8s\n").expect("a file");
    let (server, held) = key_server(first.keys("first"), &ca_file);
    let keys = format!(
        "jwks_url: https://localhost:{}/openid/v1/jwks\n  jwks_ca_file: {}\n  jwks_token_file: {}",
        server.port(),
        ca_file.display(),
        token_file.display()
    );
    let daemon = pod_identity(ims, &keys);
    let address = daemon.face("pod-identity");
    let ask = |token: &str| ask_agent(address, "169.254.170.23", token).status;
    assert_eq!(ask(&first.token("first-rsa", |_| {})), 200);
    let asked = held.lock().expect("not poisoned").0;
    for _ in 0..20 {
        assert_eq!(ask(&first.token("first-ec", |_| {})), 200);
    }
    assert_eq!(held.lock().expect("not poisoned").0, asked, "no request fetches keys");
    // A new key is fetched for the first token that names it, which waits for that.
    held.lock().expect("not poisoned").1 = second.keys("second");
    assert_eq!(ask(&second.token("second-rsa", |_| {})), 200);
    assert_eq!(ask(&first.token("first-rsa", |_| {})), 400, "the old key is gone");
    // Tokens with made-up keys do not make us ask again and again; garbage replaces nothing.
    "garbage".clone_into(&mut held.lock().expect("not poisoned").1);
    let asked = held.lock().expect("not poisoned").0;
    for index in 0..20 {
        assert_eq!(ask(&second.token(&format!("made-up-{index}-rsa"), |_| {})), 400);
    }
    assert!(held.lock().expect("not poisoned").0 <= asked + 1);
    assert_eq!(ask(&second.token("second-ec", |_| {})), 200);
}
