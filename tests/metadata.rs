//! What IMDS says beside credentials: the tree, what is set in it, and what a real IMDS is asked for.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use alppaca::{clock::SystemClock, mock_ims::Behaviour};
use support::{Daemon, Ims, connect, get, read_one, request};

fn at(daemon: &Daemon, path: &str) -> (u16, String) {
    let response = get(daemon.address(), path);
    (response.status, response.body)
}

fn ok(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

#[test]
fn the_defaults_are_found_on_the_host_and_follow_the_region() {
    let ims = Ims::start(Behaviour::default());
    let config =
        format!("{}metadata: {{defaults: ec2, region: eu-north-1, account_id: '123456789012'}}\n", ims.config());
    let daemon = Daemon::with_credentials(&config);
    let meta = |name: &str| at(&daemon, &format!("/latest/meta-data/{name}"));
    assert_eq!(at(&daemon, "/latest/"), ok("dynamic\nmeta-data"));
    assert_eq!(meta("placement/"), ok("availability-zone\nregion"));
    assert_eq!(meta("placement/region"), ok("eu-north-1"));
    assert_eq!(meta("placement/availability-zone/"), ok("eu-north-1a"));
    assert_eq!(meta("services"), ok("domain\npartition"));
    let id = meta("instance-id").1;
    assert!(id.len() == 19 && id.starts_with("i-") && id[2..].bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    if let Ok(machine) = std::fs::read_to_string("/etc/machine-id") {
        assert!(!id.contains(&machine[..8]), "{id}");
    }
    let again = Daemon::with_credentials(&config);
    assert_eq!(at(&again, "/latest/meta-data/instance-id").1, id);
    let listing = meta("").1;
    for name in ["ami-id", "hostname", "iam/", "instance-id", "instance-type", "local-hostname", "placement/"] {
        assert!(listing.lines().any(|line| line == name), "{name}: {listing}");
    }
    for name in ["nothing", "placement/x", "instance-id/x", "user-data", "tags/x"] {
        assert_eq!(meta(name).0, 404, "{name}");
    }
    assert_eq!(at(&daemon, "/latest/user-data").0, 404);
    let document = get(daemon.address(), "/2021-07-15/dynamic/instance-identity/document");
    assert!(
        document.body.starts_with("{\n  \"accountId\" : \"123456789012\",\n  \"architecture\" : \""),
        "{document:?}"
    );
    assert!(document.body.ends_with("\n  \"version\" : \"2017-09-30\"\n}"), "{document:?}");
    let json = document.json();
    assert_eq!((&json["region"], &json["instanceId"]), (&"eu-north-1".into(), &id.as_str().into()));
    assert!(json["billingProducts"].is_null());
    for name in ["pkcs7", "signature", "rsa2048"] {
        assert_eq!(at(&daemon, &format!("/latest/dynamic/instance-identity/{name}")).0, 404);
    }
    let info = get(daemon.address(), "/latest/meta-data/iam/info");
    assert_eq!(info.json()["InstanceProfileArn"], "arn:aws:iam::123456789012:instance-profile/test_role");
    assert!(info.json()["InstanceProfileId"].as_str().is_some_and(|id| id.len() == 21 && id.starts_with("AIPA")));
    assert_eq!(info.header("content-type"), Some("text/plain"));
    assert!(info.header("last-modified").is_some());
}

#[test]
fn everything_can_be_set_and_removed_as_a_tree() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!(
        "{}metadata:
  meta-data:
    hostname: null
    instance-id: i-0123456789abcdef0
    placement: {{availability-zone: us-west-2c}}
    tags: {{instance: {{Name: web-1, 'my:key': 'a b'}}}}
    security-groups: [one, two]
    network: {{interfaces: {{macs: {{'0a:ff:ff:ff:ff:ff': {{vpc-id: vpc-1, subnet-id: ''}}}}}}}}
    iam: {{info: null}}
  dynamic: {{instance-identity: {{pkcs7: MIAG, document: '{{}}'}}, fws: null}}
  user-data: \"#!/bin/sh\\ntrue\\n\"
",
        ims.config()
    ));
    let meta = |name: &str| at(&daemon, &format!("/latest/meta-data/{name}"));
    assert_eq!(at(&daemon, "/latest"), ok("dynamic\nmeta-data\nuser-data"));
    assert_eq!(meta("hostname").0, 404);
    assert!(!meta("").1.lines().any(|line| line == "hostname"));
    assert_eq!(meta("instance-id/"), ok("i-0123456789abcdef0"));
    assert_eq!(meta("placement/region"), ok("us-west-2"));
    assert_eq!(meta("placement/availability-zone"), ok("us-west-2c"));
    assert_eq!(meta("tags/instance/"), ok("Name\nmy:key"));
    assert_eq!(meta("tags/instance/my:key"), ok("a b"));
    assert_eq!(meta("tags/instance/my%3Akey"), ok("a b"));
    assert_eq!(meta("security-groups"), ok("one\ntwo"));
    assert_eq!(meta("network/interfaces/macs/"), ok("0a:ff:ff:ff:ff:ff/"));
    assert_eq!(meta("network/interfaces/macs/0a:ff:ff:ff:ff:ff/vpc-id/"), ok("vpc-1"));
    assert_eq!(meta("network/interfaces/macs/0a:ff:ff:ff:ff:ff/subnet-id"), ok(""));
    assert_eq!(meta("iam/info").0, 404);
    assert_eq!(meta("iam/"), ok("security-credentials/"));
    assert_eq!(at(&daemon, "/latest/dynamic/instance-identity/document"), ok("{}"));
    assert_eq!(at(&daemon, "/latest/dynamic/instance-identity/"), ok("document\npkcs7"));
    let user_data = get(daemon.address(), "/latest/user-data");
    assert_eq!((user_data.status, &*user_data.body), (200, "#!/bin/sh\ntrue\n"));
    assert_eq!(user_data.header("content-type"), Some("application/octet-stream"));
    assert_eq!(user_data.header("accept-ranges"), Some("bytes"));
}

#[test]
fn binary_user_data_are_served_byte_for_byte() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}metadata: {{user-data: !!binary H4sIAP8=}}\n", ims.config()));
    let mut stream = connect(daemon.address());
    stream.write_all(b"GET /latest/user-data HTTP/1.1\r\nConnection: close\r\n\r\n").expect("open");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    assert!(answer.ends_with(b"\r\n\r\n\x1f\x8b\x08\x00\xff"), "{answer:?}");
}

#[test]
fn without_a_region_there_is_none() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    assert_eq!(at(&daemon, "/latest/meta-data/placement/region").0, 404);
    assert_eq!(at(&daemon, "/latest/dynamic/instance-identity/document").0, 404);
    assert_eq!(at(&daemon, "/latest/"), ok("meta-data"));
}

/// A second alppaca in the part of the real IMDS, with version 2 alone, and credentials of its own.
fn real_imds() -> (Ims, Daemon) {
    let behaviour = Behaviour { roles: vec!["real_role".to_owned()], ..Behaviour::default() };
    let ims = Ims::start(behaviour);
    let daemon = Daemon::with_credentials(&format!(
        "{}imds_v1: false
metadata:
  region: ap-south-1
  defaults: ec2
  account_id: '123456789012'
  meta-data:
    instance-id: i-ffffffffffffffff0
    identity-credentials: {{ec2: {{info: x}}}}
    hostname: real
    tags: {{instance: {{credential-owner: team}}}}
    public-keys: {{'0=real key': {{openssh-key: K}}}}
",
        ims.config()
    ));
    (ims, daemon)
}

#[test]
fn a_real_imds_is_asked_for_all_that_is_not_set_but_never_for_credentials() {
    let (_ims, real) = real_imds();
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!(
        "{}metadata:
  passthrough: http://{}/
  meta-data: {{hostname: mine, mac: null, tags: {{instance: {{Name: mine}}}}}}
",
        ims.config(),
        real.address()
    ));
    let meta = |name: &str| at(&daemon, &format!("/latest/meta-data/{name}"));
    assert_eq!(meta("instance-id"), ok("i-ffffffffffffffff0"));
    assert_eq!(meta("placement/availability-zone/"), ok("ap-south-1a"));
    assert_eq!(meta("hostname"), ok("mine"));
    assert_eq!(meta("mac").0, 404);
    assert_eq!(meta("tags/"), ok("instance/"));
    // What the listings name is there, and what is not there is not named.
    assert_eq!(meta("tags/instance/"), ok("Name\ncredential-owner"));
    assert_eq!(meta("tags/instance/credential-owner"), ok("team"));
    assert_eq!((meta("public-keys/"), meta("public-keys/0/")), (ok("0=real key"), ok("openssh-key")));
    assert_eq!((at(&daemon, "/latest/"), at(&daemon, "/latest/user-data").0), (ok("dynamic\nmeta-data"), 404));
    let document = get(daemon.address(), "/2020-10-27/dynamic/instance-identity/document");
    assert_eq!(document.json()["region"], "ap-south-1");
    let listing = meta("").1;
    for (name, there) in [("hostname", true), ("mac", false), ("tags/", true), ("iam/", true), ("instance-id", true)] {
        assert_eq!(listing.lines().any(|line| line == name), there, "{name}: {listing}");
    }
    assert!(!listing.contains("credential"), "{listing}");
    assert_eq!(meta("iam/security-credentials/"), ok("test_role"));
    for path in [
        "/latest/meta-data/iam/security-credentials/real_role",
        "/latest/meta-data/iam/security-credentials/real_role/",
        "//latest//meta-data//iam//security-credentials//real_role",
        "/latest/meta-data/%69am/security-credentials/real_role",
        "/latest/meta-data/x/../iam/security-credentials/real_role",
        "/latest/meta-data/./iam/security-credentials/real_role",
        "/latest/meta-data/x/%2e%2e/iam/security-credentials/real_role",
        "/latest/dynamic/../meta-data/iam/security-credentials/real_role",
        "/latest/dynamic%2f..%2fmeta-data/iam/security-credentials/real_role",
        "/latest/meta-data/tags%2f..%2fiam/security-credentials/real_role",
        "/latest/meta-data/IAM/security-credentials/real_role",
        "/latest/meta-data/iam%00/security-credentials/real_role",
        "/latest/meta-data/iam;x/security-credentials/real_role",
        "/latest/meta-data/iam%3Fx/security-credentials/real_role",
        "/latest/meta-data/iam%23/security-credentials/real_role",
        "/latest/meta-data\\iam\\security-credentials\\real_role",
        "/latest/meta-data/%5c../iam/security-credentials/real_role",
        "/latest/meta-data/identity-credentials/ec2/info",
        "/2019-10-01/meta-data/iam/security-credentials/real_role",
        "http://127.0.0.1/latest/meta-data/iam/security-credentials/real_role",
    ] {
        let response = get(daemon.address(), path);
        assert!(response.status == 404 || response.status == 400, "{path}: {response:?}");
    }
    // None of these has even been tried there.
    assert_eq!(meta("last").0, 404);
    real.wait_for_log("\"GET /latest/meta-data/last HTTP/1.1\"");
    let log: String = real.log().lines().filter(|line| line.contains("HTTP/1.1")).collect();
    assert!(!log.contains("/iam") && !log.to_lowercase().contains("credentials/"), "{log}");
    assert!(log.contains("\"GET /latest/meta-data/instance-id HTTP/1.1\" 200"), "{log}");
}

/// Somebody who plays an IMDS by hand: each request is noted and given to `answer`.
fn scripted(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (noted, answer) = (Arc::clone(&seen), Arc::new(answer));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (noted, answer) = (Arc::clone(&noted), Arc::clone(&answer));
            thread::spawn(move || {
                let mut stream = stream;
                let (mut head, mut byte) = (Vec::new(), [0]);
                while stream.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                    if !head.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let text = String::from_utf8(std::mem::take(&mut head)).expect("a head");
                    noted.lock().expect("not poisoned").push(text.clone());
                    match answer(&text) {
                        Some(answer) => stream.write_all(answer.as_bytes()).expect("it reads"),
                        // Silence until the other side gives up.
                        None => drop(stream.read(&mut [0])),
                    }
                }
            });
        }
    });
    (address, seen)
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn nothing_of_the_client_goes_along_and_answers_are_kept_for_a_moment() {
    let (address, seen) = scripted(|head| {
        Some(match head.split(' ').next() {
            Some("PUT") => answer("200 OK", "TOKEN"),
            _ if head.contains("TOKEN") => answer("200 OK", "value"),
            _ => answer("401 Unauthorized", ""),
        })
    });
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}metadata: {{passthrough: 'http://{address}'}}\n", ims.config()));
    for _ in 0..5 {
        let head = "GET /latest/meta-data/x?a=b HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: me\r\nCookie: c\r\n\
                    Authorization: a\r\n";
        assert_eq!(request(daemon.address(), head).body, "value");
    }
    let seen = seen.lock().expect("not poisoned");
    assert_eq!(seen.len(), 2, "a token and one document: {seen:?}");
    let said = seen.join("").to_lowercase();
    assert!(said.contains("put /latest/api/token http/1.1") && said.contains("ttl-seconds: 21600"), "{said}");
    for part in ["cookie", "authorization", "?a", "user-agent: me", "x-forwarded-for"] {
        assert!(!said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_slow_a_broken_and_a_talkative_imds_hold_up_nobody() {
    let (address, seen) = scripted(|head| {
        if head.contains("/slow") {
            return None;
        }
        Some(match head.split(' ').nth(1) {
            Some("/latest/api/token") => answer("403 Forbidden", ""),
            Some("/latest/meta-data/long") => answer("200 OK", &"x".repeat(70_000)),
            Some("/latest/meta-data/moved") => {
                "HTTP/1.1 302 Found\r\nLocation: /latest/meta-data/iam\r\nContent-Length: 0\r\n\r\n".to_owned()
            }
            Some("/latest/meta-data/odd") => "nonsense\r\n\r\n".to_owned(),
            _ => answer("404 Not Found", "nothing"),
        })
    });
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!(
        "{}metadata: {{passthrough: 'http://{address}', passthrough_timeout: 700ms}}\n",
        ims.config()
    ));
    let slow: Vec<_> = (0..30)
        .map(|index| {
            let mut stream = connect(daemon.address());
            write!(stream, "GET /latest/meta-data/slow{index} HTTP/1.1\r\nConnection: close\r\n\r\n").expect("open");
            stream
        })
        .collect();
    let clock = SystemClock::shared();
    let began = clock.now().boot;
    let elapsed = || clock.now().boot.since(began);
    for _ in 0..20 {
        assert_eq!(at(&daemon, "/latest/meta-data/iam/security-credentials/"), ok("test_role"));
    }
    assert!(elapsed() < Duration::from_millis(500), "{:?}", elapsed());
    for mut stream in slow {
        assert_eq!(read_one(&mut stream).status, 503);
    }
    assert!(elapsed() < Duration::from_secs(5), "{:?}", elapsed());
    for (name, status) in [("long", 503), ("moved", 503), ("odd", 503), ("none", 404)] {
        assert_eq!(at(&daemon, &format!("/latest/meta-data/{name}")).0, status, "{name}");
    }
    let seen = seen.lock().expect("not poisoned").join("");
    assert!(!seen.contains("/iam"), "redirects are not followed: {seen}");
}

#[test]
fn the_upstreams_token_is_renewed_when_it_is_refused() {
    let tokens = Arc::new(Mutex::new(0));
    let (address, _seen) = scripted(move |head| {
        let mut issued = tokens.lock().expect("not poisoned");
        if head.starts_with("PUT") {
            *issued += 1;
            return Some(answer("200 OK", &format!("TOKEN{issued}")));
        }
        // Each token is good for the time until the next path.
        let last = head.contains(&format!("TOKEN{issued}")) && (!head.contains("/b") || *issued > 1);
        Some(if last { answer("200 OK", &format!("by {issued}")) } else { answer("401 Unauthorized", "") })
    });
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}metadata: {{passthrough: 'http://{address}'}}\n", ims.config()));
    assert_eq!(at(&daemon, "/latest/meta-data/a"), ok("by 1"));
    assert_eq!(at(&daemon, "/latest/meta-data/b"), ok("by 2"));
}

#[test]
fn a_passthrough_to_itself_ends_and_is_told() {
    let ims = Ims::start(Behaviour::default());
    // The port is free when it is taken: somebody else would make the start fail, not the test pass.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
    let daemon = Daemon::with_credentials(&format!(
        "{}bind_port: {port}\nmetadata: {{passthrough: 'http://127.0.0.1:{port}', passthrough_timeout: 300ms}}\n",
        ims.config()
    ));
    assert_eq!(at(&daemon, "/latest/meta-data/instance-id").0, 503);
    daemon.wait_for_log("passthrough: ");
}
