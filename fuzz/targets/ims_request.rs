//! Any request to the role server, from any client, is answered without a panic: with credentials only for a proof that
//! was there, never with a secret of the server's own, and with a record of each hand-out and each refusal.
#![no_main]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use std::{env, process, thread};

use alppaca::clock::{BootTime, Clock, Moment, SystemClock};
use alppaca_command::environment;
use alppaca_identity::dns::{LookupError, Resolve};
use alppaca_identity::{Opening, Peer};
use alppaca_ims::protocol::Body;
use alppaca_ims::server::{Client, Current, Server, Shown};
use alppaca_ims::site;
use alppaca_logging::{AuditLog, AuditTarget};
use alppaca_mock_sts::{Role, Script, User, serve};
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use libfuzzer_sys::fuzz_target;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;
use tokio::runtime::Runtime;

/// The server's own.
const SECRET: &str = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY";
const TOKEN: &str = "0123456789abcdef";
/// Its hash.
const TOKENS: &str = "web2 9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f\n";
const SIGNERS: &str = include_str!("../ssh_signers");
/// Of RFC 7515, appendix A.3: nobody here has its private half.
const KEYS: &str = r#"{"keys":[{"kty":"EC","kid":"k","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
const PROXY: &str = "192.0.2.1";

/// What the name service says is the client's own, too: the value of `x-ptr`.
struct Names(Mutex<Option<String>>);

static NAMES: Names = Names(Mutex::new(None));

impl Resolve for &'static Names {
    fn name(&self, _: IpAddr) -> Result<String, LookupError> {
        self.0.lock().expect("not poisoned").clone().ok_or(LookupError::NotFound)
    }

    fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, LookupError> {
        Ok(vec![PROXY.parse().expect("an address")])
    }
}

/// The system's clock, but that a minute has passed at each look: no client has had too many denials to be recorded.
struct Leaping(AtomicU64);

impl Clock for Leaping {
    fn now(&self) -> Moment {
        Moment { boot: BootTime::from_millis(self.0.fetch_add(60_000, Ordering::Relaxed)), ..SystemClock.now() }
    }
}

struct Host {
    runtime: Runtime,
    server: Arc<Server>,
    records: Mutex<BufReader<File>>,
    /// None, of a host, and of a host of another authority of the same name.
    chains: [Arc<[CertificateDer<'static>]>; 3],
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, "Hosts");
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("a certificate")
}

fn chain(issuer: &CertifiedIssuer<'static, KeyPair>) -> Arc<[CertificateDer<'static>]> {
    let mut parameters = CertificateParams::new(vec!["web1".to_owned()]).expect("a name");
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    let certificate = parameters.signed_by(&key, issuer).expect("a certificate");
    Arc::from([certificate.der().clone()])
}

fn configuration(folder: &Path, sts: &str) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    format!(
        "\
listen: 127.0.0.1:0
audit_log: /audit
audit_required: yes
accounts: {{demo: '111122223333'}}
identities:
  hosts: {{kind: mtls, ca_files: {}}}
  people: {{kind: proxy, name_header: X-User, groups_header: X-Groups, from_networks: {PROXY}, from_users: ['1']}}
  secrets: {{kind: token, file: {}}}
  keys: {{kind: ssh, for: people, file: {}, hosts: [ims]}}
  tickets: {{kind: jwt, issuer: i, audience: a, jwks_file: {}}}
  names: {{kind: dns, pattern: '.*'}}
mounts:
  - {{path: /, identities: [hosts, people, secrets, keys, tickets]}}
  - {{path: /names, identities: [names]}}
rules:
  - {{name: hosts, match: {{name: 'web[0-9].*'}}, account: demo, role: web, tags: {{host: '{{identity}}'}}}}
  - {{name: groups, match: {{method: people, groups: '(?P<account>[^-]*)-(?P<role>.*)'}}, account: '{{account}}', role: '{{role}}'}}
  - {{name: emergencies, match: {{method: people}}, account: demo, role: admin, emergency: {{reason: required}}}}
  - {{name: nobody, match: {{name: mallory}}, deny: {{role: '.*'}}}}
sts:
  credentials: {{kind: static, access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: {SECRET}}}
  regions: [us-east-1]
  endpoint: {sts}
",
        file("ca.pem"),
        file("tokens"),
        file("signers"),
        file("keys"),
    )
}

fn script() -> Script {
    let arn = "arn:aws:iam::111122223333:user/ims".to_owned();
    let role = |name| Role::new(format!("arn:aws:iam::111122223333:role/{name}"), arn.clone());
    let roles = ["web", "admin", "readonly"].map(role).into();
    let secret_access_key = SECRET.to_owned();
    let users = vec![User { arn: arn.clone(), access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(), secret_access_key }];
    Script { users, roles, ..Script::default() }
}

fn start() -> Host {
    let folder = env::temp_dir().join(format!("alppaca-fuzz-ims-{}", process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let (own, other) = (authority(), authority());
    for (name, text) in
        [("ca.pem", &*own.pem()), ("tokens", TOKENS), ("signers", SIGNERS), ("keys", KEYS), ("audit", "")]
    {
        fs::write(folder.join(name), text).expect("a file");
    }
    let records = File::open(folder.join("audit")).expect("the audit");
    // It stays there when the folder is gone.
    let audit = AuditTarget::File(format!("/proc/self/fd/{}", records.as_raw_fd()).into());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let server = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let sts = serve(listener, script(), SystemClock::shared()).expect("a mock");
        let text = configuration(&folder, &sts.url());
        std::mem::forget(sts);
        let site = site::parse(vec![("ims.yaml".into(), text)]).unwrap_or_else(|errors| panic!("{errors}")).site;
        let opening = Opening { resolver: Arc::new(&NAMES), ..Opening::system() };
        let host_env = environment::host_env();
        let current = Current::open(&site, &opening, &host_env, None).expect("methods");
        let (sts, background) = site.sts.open(&host_env, &[]).expect("an STS");
        tokio::spawn(background);
        let console = site.console.open(&host_env).expect("a console");
        let audit = AuditLog::open(&audit, true, SystemClock::shared(), &environment::for_logging()).expect("an audit");
        let shown = Shown::new(jiff::Timestamp::UNIX_EPOCH, String::new(), None);
        let server = Server::new(current, sts, console, Some(audit), shown, Arc::new(Leaping(AtomicU64::new(0))));
        while server.unready().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server
    });
    fs::remove_dir_all(&folder).expect("the folder");
    let chains = [Arc::from([]), chain(&own), chain(&other)];
    Host { runtime, server, records: Mutex::new(BufReader::new(records)), chains }
}

/// The head of a request as a connection would give it on.
fn head(input: &[u8]) -> Option<Parts> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(input).ok().filter(httparse::Status::is_complete)?;
    let mut built = Request::new(()).into_parts().0;
    built.method = Method::from_bytes(request.method?.as_bytes()).ok()?;
    built.uri = request.path?.parse::<Uri>().ok()?;
    for header in &*request.headers {
        let name = HeaderName::from_bytes(header.name.as_bytes()).ok()?;
        built.headers.append(name, HeaderValue::from_bytes(header.value).ok()?);
    }
    Some(built)
}

impl Host {
    /// The next record that a request has to leave.
    fn record(&self) -> serde_json::Value {
        let mut records = self.records.lock().expect("not poisoned");
        let mut line = String::new();
        loop {
            // The log has a thread of its own, which writes whole lines, though not at once.
            while !line.ends_with('\n') {
                if records.read_line(&mut line).expect("text") == 0 {
                    thread::yield_now();
                }
            }
            assert!(!line.contains(SECRET));
            let record: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            // These are there for some requests only, or in addition.
            if record["event"] != "unavailable" && record["event"] != "emergency" {
                return record;
            }
            line.clear();
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fuzz_target!(|input: &[u8]| {
    static HOST: OnceLock<Host> = OnceLock::new();
    let host = HOST.get_or_init(start);
    let Some((first, rest)) = input.split_first() else { return };
    // The fuzzer learns the secret from the comparisons below; an answer may quote what the client said.
    if contains(rest, SECRET) {
        return;
    }
    let Some(head) = head(rest) else { return };
    let tcp = |address: &str| Peer::Tcp(address.parse().expect("an address"));
    let peer = [tcp(PROXY), tcp("::ffff:192.0.2.1"), tcp("192.0.2.2"), Peer::Unix { uid: 1 }, Peer::Unix { uid: 2 }];
    let peer = peer[usize::from(first % 5)].clone();
    let kind = usize::from(first / 5 % 3);
    let client = Client { peer, certificates: Arc::clone(&host.chains[kind]) };
    let of = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    *NAMES.0.lock().expect("not poisoned") = of("x-ptr").map(str::to_owned);
    let is_proxy = matches!(client.peer, Peer::Unix { uid: 1 }) || first % 5 < 2;
    let by_token = of("authorization").is_some_and(|value| value.contains(TOKEN));
    let could_be_proven = kind == 1 || of("x-ptr").is_some() || by_token || (is_proxy && of("x-user").is_some());

    let answer = host.runtime.block_on(host.server.answer(&client, head));

    let status = answer.status.as_u16();
    let body = answer.body.bytes();
    let has = |text: &str| contains(body, text);
    let gives = has("SecretAccessKey");
    assert!(matches!(status, 200 | 401 | 403 | 404 | 405 | 503), "{status}");
    assert!(status != 200 || could_be_proven || has("\"message\": \"OK\""), "an answer without a proof");
    assert!(!gives || status == 200);
    assert!(!has(SECRET) && !format!("{:?}", answer.headers).contains(SECRET), "the server's own secret");
    assert_eq!(status == 503, answer.header(&RETRY_AFTER).is_some());
    assert!(!gives || answer.header(&CACHE_CONTROL) == Some("no-store"));
    // Trouble is no decision.
    let decided = answer.header(&HeaderName::from_static("alppaca-ims")).is_some();
    assert!(!decided || matches!(status, 200 | 403));
    let event = match status {
        200 if gives => "handed_out",
        401 => "unproven",
        403 => "denied",
        // A list without a role is a decision, too.
        200 if matches!(&answer.body, Body::Open(text) if text.is_empty() || text == "{}") => "denied",
        _ => return,
    };
    let record = host.record();
    assert_eq!(record["event"], event, "{record}");
    assert_eq!(gives, record["access_key_id"].is_string(), "{record}");
});
