//! Connections: how many there may be, slow clients, no room for more, and balancers in front.

mod support;

use std::{
    fs,
    io::{Read, Write},
    process::Command,
};

use support::{Scene, Server, Sts, eventually};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";

#[test]
fn slow_clients_leave_room_for_others() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let config = scene.usual(&sts.url()) + "max_connections: 100\nmax_connections_per_address: 40\n";
    let server = Server::start(&scene, &config);
    let slow = scene.client(server.address, None).at("127.0.0.2");
    // One never begins TLS, one never ends a head, one never reads its answers.
    let mut silent: Vec<_> = (0..20).map(|_| slow.tcp().expect("a connection")).collect();
    silent[0].write_all(&[22, 3, 1]).expect("sent");
    let mut unfinished: Vec<_> = (0..19).map(|_| slow.connect().expect("a connection")).collect();
    for connection in &mut unfinished {
        connection.send("GET /status HTTP/1.1\r\nHost: x\r\nX-Slow: ").expect("sent");
    }
    let mut deaf = slow.connect().expect("a connection");
    deaf.send(&"GET /status HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500)).expect("sent");
    // They have the whole share of their address.
    assert!(slow.connect().and_then(|mut connection| connection.get("/status", &[])).is_err());
    let host = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    for _ in 0..30 {
        assert_eq!(host.get(LIST, &[]).body, "web");
    }
    // A body is not waited for.
    let mut body = host.connect().expect("a connection");
    let request = format!("GET {LIST} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n");
    assert_eq!(body.raw(&request).expect("an answer").header("connection"), Some("close"));
    // Who is silent is gone after a while.
    assert_eq!(silent[1].read(&mut [0; 1]).expect("an end"), 0);
    eventually("there is room", || slow.connect().and_then(|mut c| c.get("/status", &[])).ok(), || server.log());
}

#[test]
fn connections_are_fewer_where_few_files_may_be_open() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start_with_few_files(&scene, &scene.usual(&sts.url()), 64);
    server.wait_for_log("at most 64 files may be open, so there is room for 32 connections, 16 of one address");
    let many = scene.client(server.address, None).at("127.0.0.2");
    let held: Vec<_> = (0..16).map(|_| many.connect().expect("a connection")).collect();
    assert!(many.connect().and_then(|mut connection| connection.get("/status", &[])).is_err());
    let host = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    assert_eq!(host.get(&format!("{LIST}web"), &[]).status, 200, "{}", server.log());
    drop(held);
    assert!(!server.log().contains("cannot accept"), "{}", server.log());
}

#[test]
fn without_room_for_a_connection_it_waits_and_says_so_once() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start(&scene, &scene.usual(&sts.url()));
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    assert_eq!(client.get(LIST, &[]).body, "web");
    let open = fs::read_dir(format!("/proc/{}/fd", server.id())).expect("ours").count();
    let limit = |files: &str| {
        let limit = format!("--nofile={files}:");
        let set = Command::new("prlimit").args(["--pid", &server.id().to_string(), &limit]).status();
        assert!(set.expect("prlimit").success());
    };
    limit(&(open + 4).to_string());
    let mut held: Vec<_> = (0..20).map(|_| client.tcp().expect("a connection")).collect();
    server.wait_for_log("cannot accept connections: Too many open files");
    limit("1000");
    assert_eq!(client.get(LIST, &[]).body, "web", "{}", server.log());
    // Those that had to wait are accepted, too.
    held.truncate(10);
    assert_eq!(server.log().matches("cannot accept").count(), 1, "{}", server.log());
}

#[test]
fn a_balancer_says_where_the_client_is_and_nobody_else_does() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let config =
        scene.usual(&sts.url()).replace("match: {method: hosts,", "match: {method: hosts, from: 192.0.2.0/24,");
    let server = Server::start(&scene, &format!("{config}proxy_protocol_from: 127.0.0.3\n"));
    let host = scene.authority.host("web1.example.com", 7);
    let balancer = || scene.client(server.address, Some(&host)).at("127.0.0.3");
    let version_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x7f\0\0\x01\xdc\x04\x01\xbb";
    for header in [&b"PROXY TCP4 192.0.2.7 127.0.0.1 56324 443\r\n"[..], version_2] {
        assert_eq!(balancer().behind(header).get(LIST, &[]).body, "web");
    }
    // Another client of the same balancer, and the balancer itself.
    let other = balancer().behind(b"PROXY TCP4 198.51.100.7 127.0.0.1 56324 443\r\n").get(LIST, &[]);
    assert_eq!((other.status, other.body.as_str()), (200, ""));
    let check = balancer().behind(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").get("/status", &[]);
    assert_eq!(check.status, 200);
    for bad in [&b""[..], b"PROXY UNKNOWN\r\n", b"PROXY TCP4 192.0.2.7\r\n"] {
        assert!(balancer().behind(bad).connect().is_err());
    }
    server
        .wait_for_log("127.0.0.3 is in `proxy_protocol_from`, and its connection was closed: there is no PROXY header");
    let direct = || scene.client(server.address, Some(&host));
    assert_eq!(direct().get(LIST, &[]).body, "", "it is not in that network");
    assert!(direct().behind(b"PROXY TCP4 192.0.2.7 127.0.0.1 56324 443\r\n").connect().is_err());
    assert_eq!(balancer().behind(version_2).get(&format!("{LIST}web"), &[]).status, 200);
    let audit = || fs::read_to_string(scene.path().join("audit.log")).unwrap_or_default();
    let record = || audit().lines().find(|line| line.contains("handed_out")).map(str::to_owned);
    let record = eventually("a record", record, audit);
    assert!(record.contains("\"peer\":\"192.0.2.7\""), "{record}");
}
