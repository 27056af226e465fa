//! The status page of a running daemon: what is on it, who gets it, and that it can be read.

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/chromium.rs"]
mod chromium;

mod browser;
mod hostile;

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Command,
    time::Duration,
};

use alppaca::mock_ims::{Answer, Behaviour};
use support::{Daemon, Ims, Response, request};

const ALPPACA: &str = env!("CARGO_BIN_EXE_alppaca");
const PAGE: &str = "status_page: {listen: '127.0.0.1:0'}\n";

/// Where its page is.
fn page_of(daemon: &Daemon) -> SocketAddr {
    let line = daemon.wait_for_log("status page at http://");
    let address = line.split("status page at http://").nth(1).and_then(|rest| rest.split('/').next());
    address.and_then(|text| text.parse().ok()).expect("an address")
}

fn get(address: SocketAddr, target: &str, headers: &str) -> Response {
    request(address, &format!("GET {target} HTTP/1.1\r\n{headers}"))
}

/// The page, when it has `part`: it is made once a second.
fn page_with(address: SocketAddr, part: &str) -> String {
    page_that(address, part, |page| page.contains(part))
}

fn page_that(address: SocketAddr, what: &str, fits: impl Fn(&str) -> bool) -> String {
    let page = || get(address, "/", "Host: localhost\r\n").body;
    support::eventually(what, || Some(page()).filter(|page| fits(page)), page)
}

/// Whether a role was without a set from one second to another: what is shorter is not remembered.
fn is_without_for_long(page: &str) -> bool {
    let outages = page.split("no valid set ").skip(1);
    outages.filter_map(|rest| rest.get(..20)?.split_once(" to ")).any(|(from, to)| from != to)
}

fn at_socket(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).expect("it listens");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    answer
}

#[test]
fn the_page_shows_roles_sources_callers_and_what_is_in_force_and_no_secrets() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&(ims.config() + PAGE));
    let served = daemon.get("/latest/meta-data/iam/security-credentials/test_role").json();
    let put = "PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let token = request(daemon.address(), put).body;
    request(daemon.address(), "PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: x\r\n");
    let page = page_with(page_of(&daemon), "passed on by a proxy");
    for part in [
        "The role has valid credentials",
        "test_role",
        "valid from now on",
        "when the next set is fetched",
        "answers",
        "programs of this host",
        "imds v1",
        "enforce: ",
        env!("CARGO_PKG_VERSION"),
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let key = served["AccessKeyId"].as_str().expect("a key");
    assert!(page.contains(&format!("{}…{}", &key[..4], &key[key.len() - 4..])), "{page}");
    for secret in ["AccessKeyId", "SecretAccessKey", "Token"].map(|field| served[field].as_str().expect("a text")) {
        assert!(!page.contains(secret), "{secret}: {page}");
    }
    assert!(!page.contains(&token) && !token.is_empty());
    let status = Command::new(ALPPACA).args(["status", "--socket"]).arg(daemon.socket()).output().expect("it runs");
    let status = String::from_utf8(status.stdout).expect("UTF-8");
    assert!(status.contains(&format!("status page at http://{}/\n", page_of(&daemon))), "{status}");
}

#[test]
fn it_is_shown_to_a_person_and_to_no_other_site() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&(ims.config() + PAGE));
    let address = page_of(&daemon);
    let fine = get(address, "/", &format!("Host: {address}\r\nSec-Fetch-Site: none\r\n"));
    assert_eq!((fine.status, fine.header("refresh")), (200, Some("30")));
    let policy = fine.header("content-security-policy").expect("a policy");
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(fine.header(name), Some(value));
    }
    assert_eq!(get(address, "/?refresh=0", "Host: localhost\r\n").header("refresh"), None);
    for (line, headers, status) in [
        ("GET / HTTP/1.1", "Host: evil.example.com\r\n", 403),
        ("GET / HTTP/1.1", "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
        ("GET / HTTP/1.1", "Host: localhost\r\nX-Forwarded-For: 192.0.2.1\r\n", 403),
        ("POST / HTTP/1.1", "Host: localhost\r\nContent-Length: 0\r\n", 405),
        ("GET /metrics HTTP/1.1", "Host: localhost\r\n", 404),
    ] {
        let answer = request(address, &format!("{line}\r\n{headers}"));
        assert_eq!(answer.status, status, "{line} {headers}");
        assert!(!answer.body.contains("test_role"), "{}", answer.body);
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[test]
fn an_outage_is_seen_while_it_lasts_and_what_was_seen_survives_a_reload() {
    let ims = Ims::start(Behaviour { lifetime: Duration::from_secs(3), ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&(ims.config() + PAGE));
    let address = page_of(&daemon);
    page_with(address, "2 set(s)");
    ims.handle.update(|behaviour| behaviour.document = Answer::Status(500));
    let page = page_that(address, "an outage", is_without_for_long);
    for part in ["no valid credentials", "attempts fail", "no valid set", " fails<", "500"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    daemon.hang_up();
    daemon.wait_for_log("the configuration has been reloaded");
    ims.handle.update(|behaviour| behaviour.document = Answer::Good);
    let page = page_with(address, "The role has valid credentials");
    assert!(page.contains("attempts fail") && page.contains("without a valid set"), "{page}");
}

#[test]
fn at_a_unix_socket_it_is_for_the_account_alone_and_the_file_is_removed() {
    let ims = Ims::start(Behaviour::default());
    let place = tempfile::tempdir().expect("a directory");
    let socket = place.path().join("page.sock");
    let config = format!("{}status_page: {{listen: 'unix:{}'}}\n", ims.config(), socket.display());
    let mut daemon = Daemon::with_credentials(&config);
    daemon.wait_for_log(&format!("status page at unix:{}", socket.display()));
    assert_eq!(fs::metadata(&socket).expect("there").permissions().mode() & 0o7777, 0o600);
    assert!(at_socket(&socket).contains("test_role"));
    daemon.hang_up();
    daemon.wait_for_log("the configuration has been reloaded");
    assert!(at_socket(&socket).contains("test_role"));
    assert_eq!(daemon.stop(), Some(0));
    assert!(!socket.exists(), "the confinement allows to remove it");
}

#[test]
fn another_hosts_reach_is_said_in_so_many_words() {
    let ims = Ims::start(Behaviour::default());
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    let check = |section: &str| {
        fs::write(&file, format!("{}status_page: {section}\n", ims.config())).expect("a file");
        let output = Command::new(ALPPACA).args(["check", "-c"]).arg(&file).output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("UTF-8"))
    };
    let (code, said) = check("{listen: '0.0.0.0:9311'}");
    assert!(code == Some(2) && said.contains("alppaca.yaml:4:15") && said.contains("beyond_loopback: yes"), "{said}");
    let (code, said) = check("{listen: '0.0.0.0:9311', beyond_loopback: yes}");
    assert!(code == Some(0) && said.contains("warning: ") && said.contains("has no password"), "{said}");
}

#[test]
fn the_page_names_the_users_that_were_served_or_denied() {
    let ims = Ims::start(Behaviour { roles: vec!["web".into(), "other".into()], ..Behaviour::default() });
    let uid = rustix::process::geteuid().as_raw();
    let policy = format!("policy: {{rules: [{{match: {{user: {uid}}}, role: web}}]}}\n");
    let daemon = Daemon::with_credentials(&(ims.config() + &policy + PAGE));
    assert_eq!(daemon.get("/latest/meta-data/iam/security-credentials/web").status, 200);
    assert_eq!(daemon.get("/latest/meta-data/iam/security-credentials/other").status, 404);
    // The name is looked up for the page after the next.
    let name = nix::unistd::User::from_uid(uid.into()).ok().flatten().map(|user| user.name);
    let row = format!("{}<", name.unwrap_or_else(|| format!("user {uid}")));
    let page = page_that(page_of(&daemon), "the caller", |page| {
        page.split("Users and addresses").nth(1).is_some_and(|table| table.contains(&row))
    });
    let table = page.split("Users and addresses").nth(1).expect("found").split("</table>").next().expect("its end");
    for part in ["Last seen", "Got credentials", ">1<"] {
        assert!(table.contains(part), "{part}: {table}");
    }
}
