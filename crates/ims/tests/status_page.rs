//! The status page of the server: what is on it, whom it names, and that it can be read.

#[path = "../../../tests/support/chromium.rs"]
mod chromium;
mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::{fs::PermissionsExt, net::UnixStream},
};

use chromium::Chromium;
use support::{
    PATIENCE, SECRET, Scene, Server, Sts, eventually,
    needs::{cannot, needs},
};

const WEB: &str = "/latest/meta-data/iam/security-credentials/web";
const WHAT: &str = "alppaca-ims: status page";

fn page_of(server: &Server) -> SocketAddr {
    let line = server.wait_for_log("status page at http://");
    let address = line.split("status page at http://").nth(1).and_then(|rest| rest.split('/').next());
    address.and_then(|text| text.parse().ok()).expect("an address")
}

fn talk(mut stream: impl Read + Write, headers: &str) -> String {
    write!(stream, "GET /?refresh=0 HTTP/1.1\r\n{headers}Connection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn ask(address: SocketAddr, headers: &str) -> String {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("settable");
    talk(stream, headers)
}

/// The page, when it has `part`: it is made once a second.
fn page_with(server: &Server, part: &str) -> String {
    let page = || ask(page_of(server), "Host: localhost\r\n");
    eventually(part, || Some(page()).filter(|page| page.contains(part)), page)
}

/// A server that has answered a host, and denied something to a person. The key that it gave.
fn asked(scene: &Scene, sts: &Sts, section: &str) -> (Server, String) {
    let server = Server::start(scene, &format!("{}status_page: {section}\n", scene.usual(&sts.url())));
    let host = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    let answer = host.get(WEB, &[]);
    assert_eq!(answer.status, 200);
    let people = scene.client(server.address, None);
    people.get("/account/demo/db/credentials", &[("X-Remote-User", "bob<b>"), ("X-Groups", "aws-other")]);
    (server, answer.body)
}

#[test]
fn the_page_counts_decisions_and_names_nobody_unless_that_is_wanted() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let (server, given) = asked(&scene, &sts, "{listen: '127.0.0.1:0'}");
    let page = page_with(&server, "What each rule has given");
    for part in [
        "HTTP/1.1 200 ",
        "Credentials can be handed out",
        "web servers",
        "us-east-1, calls in pieces of ten minutes:",
        "1 made, 0 refused, 0 throttled, 0 failed",
        "Calls of the last hours by region",
        "1 denied",
        "is not remembered",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(page.contains("content-security-policy: default-src 'none'"), "{page}");
    let given: serde_json::Value = serde_json::from_str(&given).expect("JSON");
    let secrets = ["AccessKeyId", "SecretAccessKey", "Token"].map(|field| given[field].as_str().expect("a text"));
    for hidden in secrets.into_iter().chain([SECRET, "web1.example.com", "bob"]) {
        assert!(!page.contains(hidden), "{hidden}: {page}");
    }
    for headers in ["Host: evil.example.com\r\n", "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n"] {
        assert!(ask(page_of(&server), headers).starts_with("HTTP/1.1 403 "), "{headers}");
    }
}

#[test]
fn where_it_is_wanted_the_page_names_hosts_and_people_and_what_was_refused() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let socket = scene.path().join("page.sock");
    let section = format!("{{listen: ['127.0.0.1:0', 'unix:{}'], callers: yes}}", socket.display());
    let (mut server, _) = asked(&scene, &sts, &section);
    let page = page_with(&server, "The last refusals");
    for part in ["web1.example.com", "mtls", "bob&lt;b&gt;", "proxy"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert_eq!(fs::metadata(&socket).expect("there").permissions().mode() & 0o7777, 0o600);
    assert!(
        talk(UnixStream::connect(&socket).expect("it listens"), "Host: localhost\r\n").contains("web1.example.com")
    );
    assert_eq!(server.stop(), Some(0));
    assert!(!socket.exists(), "the confinement allows to remove it");
}

#[test]
fn the_servers_page_is_for_everybody() {
    if !["chromium", "chromedriver"].iter().all(|program| needs(WHAT, program)) {
        return;
    }
    let Some(axe) = chromium::axe() else {
        cannot(WHAT, "there is no axe-core");
        return;
    };
    let (scene, sts) = (Scene::new(), Sts::start());
    let (server, _) = asked(&scene, &sts, "{listen: '127.0.0.1:0', callers: yes}");
    page_with(&server, "The last refusals");
    let (chromium, url) = (Chromium::start(), format!("http://{}/?refresh=0", page_of(&server)));
    chromium.is_for_everybody(&url, &axe, "ims-status");
}
