//! The server as hosts, people and administrators meet it.

mod support;

use std::{
    fs,
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::Path,
    process::Command,
    time::Duration,
};

use support::{PATIENCE, Scene, Server, Sts, eventually, records};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const WEB: &str = "/latest/meta-data/iam/security-credentials/web";

#[test]
fn a_host_gets_its_own_role_and_no_other() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start(&scene, &scene.usual(&sts.url()));
    let host = scene.authority.host("web1.example.com", 7);
    let client = scene.client(server.address, Some(&host));

    let list = client.get(LIST, &[]);
    assert_eq!((list.status, list.body.as_str()), (200, "web"), "{list:?}");
    assert_eq!(list.header("cache-control"), Some("private, max-age=300"));
    assert_eq!(list.header("alppaca-ims"), Some("1"));

    let document = client.get(WEB, &[]);
    assert_eq!(document.status, 200, "{document:?}\n{}", server.log());
    assert_eq!(document.header("cache-control"), Some("no-store"));
    assert_eq!((document.field("Code").as_str(), document.field("Type").as_str()), ("Success", "AWS-HMAC"));

    let [call] = &*sts.assumed() else { panic!("{:?}", sts.assumed()) };
    assert_eq!(call.get("RoleArn"), "arn:aws:iam::111122223333:role/web");
    assert_eq!((call.get("RoleSessionName"), call.get("SourceIdentity")), ("web1.example.com", "web1.example.com"));
    assert_eq!((call.get("Tags.member.1.Key"), call.get("Tags.member.1.Value")), ("host", "web1.example.com"));

    // What it writes has no influence: no header, no other path.
    for (path, headers) in [
        (format!("{LIST}admin"), vec![]),
        (format!("{LIST}admin"), vec![("X-Remote-User", "root"), ("X-Groups", "aws-admin")]),
        ("/account/demo/admin/credentials".to_owned(), vec![]),
        (format!("{LIST}web%00"), vec![]),
    ] {
        let answer = client.get(&path, &headers);
        assert_eq!((answer.status, answer.header("alppaca-ims")), (403, Some("1")), "{path}: {answer:?}");
        assert!(!answer.body.contains("AccessKeyId"));
    }
    // A slash is one, however it is written: there is no such route.
    assert_eq!(client.get(&format!("{LIST}..%2fadmin"), &[]).status, 404);
    // Another host has nothing, which is a decision, too.
    let other = scene.client(server.address, Some(&scene.authority.host("db1.example.com", 8)));
    let list = other.get(LIST, &[]);
    assert_eq!((list.status, list.body.as_str(), list.header("alppaca-ims")), (200, "", Some("1")), "{list:?}");
    assert_eq!(other.get(WEB, &[]).status, 403);
    assert_eq!(sts.assumed().len(), 1);
}

#[test]
fn each_decision_is_recorded_with_its_proof_and_its_request() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let mut server = Server::start(&scene, &scene.usual(&sts.url()));
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 0x2a)));
    let document = client.get(WEB, &[]);
    assert_eq!(client.get(&format!("{LIST}admin"), &[]).status, 403);
    assert_eq!(scene.client(server.address, None).get(LIST, &[]).status, 401);
    assert_eq!(server.stop(), Some(0));
    let audit = fs::read_to_string(scene.path().join("audit.log")).expect("an audit");
    let records = records(&audit);
    let [handed, denied, unproven] = records.as_slice() else { panic!("{audit}") };
    let request_id = sts.assumed().remove(0).request_id;
    for (key, expected) in [
        ("event", "handed_out"),
        ("identity", "web1.example.com"),
        ("method", "mtls"),
        ("proven_by", "hosts"),
        ("peer", "127.0.0.1"),
        ("rule", "web servers"),
        ("account", "111122223333"),
        ("role", "web"),
        ("session_name", "web1.example.com"),
        ("access_key_id", &document.field("AccessKeyId")),
        ("expiration", &document.field("Expiration")),
        ("aws_request_id", &request_id),
    ] {
        assert_eq!(handed[key], expected, "{key}: {handed}");
    }
    assert!(handed["proof"].as_str().is_some_and(|proof| proof.contains("serial 2a")), "{handed}");
    let guide = include_str!("../../../docs/ims-guide.md");
    let example = guide.lines().find(|line| line.starts_with(r#"{"time":"#)).expect("an example");
    let [example] = <[_; 1]>::try_from(self::records(example)).expect("one record");
    let keys = |record: &serde_json::Value| {
        record.as_object().expect("a record").keys().cloned().collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(keys(&example), keys(handed), "docs/ims-guide.md");
    let form = |record: &serde_json::Value| {
        record["proof"].as_str().expect("text").split(' ').map(str::len).collect::<Vec<_>>()
    };
    assert_eq!(form(&example), form(handed), "docs/ims-guide.md: {}", handed["proof"]);
    assert_eq!((&denied["event"], &denied["reason"]), (&"denied".into(), &"no rule gives it".into()), "{denied}");
    assert_eq!((&unproven["event"], &unproven["identity"]), (&"unproven".into(), &serde_json::Value::Null));
}

#[test]
fn a_flood_of_denials_leaves_few_records_and_each_hand_out() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let mut server = Server::start(&scene, &scene.usual(&sts.url()));
    let host = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    let mut stranger = scene.client(server.address, None).connect().expect("a connection");
    for _ in 0..400 {
        assert_eq!(stranger.get(LIST, &[]).expect("an answer").status, 401);
    }
    // From the same address.
    assert_eq!(host.get(&format!("{LIST}admin"), &[]).status, 403);
    for _ in 0..10 {
        assert_eq!(host.get(WEB, &[]).status, 200);
    }
    assert_eq!(server.stop(), Some(0));
    let records = records(&fs::read_to_string(scene.path().join("audit.log")).expect("an audit"));
    let count = |event: &str| records.iter().filter(|record| record["event"] == event).count();
    assert_eq!((count("denied"), count("handed_out")), (1, 10));
    // It may take minutes.
    assert!((60..200).contains(&count("unproven")), "{}", count("unproven"));
}

#[test]
fn no_secret_is_ever_written() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let mut server = Server::start(&scene, &scene.usual(&sts.url()));
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    let document = client.get(WEB, &[]);
    let people = scene.client(server.address, None);
    let account =
        people.get("/account/demo/readonly/credentials", &[("X-Remote-User", "a"), ("X-Groups", "aws-readonly")]);
    sts.change(|script| script.down.push("*".to_owned()));
    let db = people.get("/account/demo/db/credentials", &[("X-Remote-User", "b"), ("X-Groups", "aws-db")]);
    assert_eq!((document.status, account.status, db.status), (200, 200, 503));
    assert_eq!(server.stop(), Some(0));
    let written = server.log() + &fs::read_to_string(scene.path().join("audit.log")).expect("an audit");
    let secrets = [&document, &account].map(|answer| [answer.field("SecretAccessKey"), answer.field("Token")]);
    for secret in secrets.as_flattened().iter().map(String::as_str).chain([support::SECRET]) {
        assert!(!written.contains(secret), "{secret} is in\n{written}");
    }
    // The search finds what is there.
    assert!(written.contains(&document.field("AccessKeyId")));
}

#[test]
fn a_person_is_who_the_proxy_says_and_only_the_proxy() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let socket = scene.path().join("proxy.sock");
    let usual = scene
        .usual(&sts.url())
        .replace("listen: 127.0.0.1:0", &format!("listen: [127.0.0.1:0, 'unix:{}']", socket.display()));
    // Only over the Unix socket.
    let config = usual.replace("from_networks: 127.0.0.1", "from_users: [root]");
    let server = Server::start(&scene, &config);
    let alice = [("X-Remote-User", "alice"), ("X-Groups", "aws-readonly, other")];
    let over_tcp = scene.client(server.address, None).get("/account", &alice);
    assert_eq!(over_tcp.status, 401, "{over_tcp:?}");
    assert!(over_tcp.body.contains("is not believed: 127.0.0.1 is not a listed proxy"), "{over_tcp:?}");

    let ask = |request: &str| {
        use std::io::Read;
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("settable");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let head = "GET /account HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Groups: aws-readonly, other\r\n";
    let answer = ask(&format!("{head}X-Remote-User: alice\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(r#"{"demo": ["readonly"]}"#), "{answer}");
    assert!(answer.contains("x-username: alice\r\n"), "{answer}");
    let twice = ask(&format!("{head}X-Remote-User: alice\r\nX-Remote-User: root\r\n\r\n"));
    assert!(twice.starts_with("HTTP/1.1 401 ") && twice.contains("comes more than once"), "{twice}");
    let joined = ask(&format!("{head}X-Remote-User: alice, root\r\n\r\n"));
    assert!(joined.starts_with("HTTP/1.1 401 "), "{joined}");
    let site = ask(&format!("{head}X-Remote-User: alice\r\nSec-Fetch-Site: cross-site\r\n\r\n"));
    assert!(site.starts_with("HTTP/1.1 403 "), "{site}");
}

#[test]
fn its_own_trouble_is_never_a_decision() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start(&scene, &scene.usual(&sts.url()));
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    sts.change(|script| script.down.push("*".to_owned()));
    let answer = client.get(WEB, &[]);
    assert_eq!((answer.status, answer.header("alppaca-ims")), (503, None), "{answer:?}");
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|s| s > 0)));
    sts.change(|script| script.down.clear());
    let held =
        eventually("STS is back", || Some(client.get(WEB, &[])).filter(|answer| answer.status == 200), || server.log());
    // What is held outlives the next outage.
    sts.change(|script| script.down.push("*".to_owned()));
    assert_eq!(client.get(WEB, &[]).field("AccessKeyId"), held.field("AccessKeyId"));
    // A role that trusts no one is the site's mistake: trouble, and not a denial.
    sts.change(|script| {
        script.down.clear();
        script.roles.retain(|role| !role.arn.ends_with("/readonly"));
    });
    let people = scene.client(server.address, None);
    let answer =
        people.get("/account/demo/readonly/credentials", &[("X-Remote-User", "a"), ("X-Groups", "aws-readonly")]);
    assert_eq!((answer.status, answer.header("alppaca-ims")), (503, None), "{answer:?}");
    server.wait_for_log("AccessDenied");
}

#[test]
fn a_certificate_that_is_revoked_is_refused_on_an_open_connection() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let list = scene.path().join("crl.pem");
    fs::write(&list, scene.authority.revoke(&[99])).expect("ours");
    let config = scene.usual(&sts.url()).replace("ca.pem}", &format!("ca.pem, crl_files: {}}}", list.display()));
    let server = Server::start(&scene, &config);
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    let mut connection = client.connect().expect("a connection");
    assert_eq!(connection.get(LIST, &[]).expect("an answer").status, 200);
    fs::write(&list, scene.authority.revoke(&[99, 7])).expect("ours");
    server.reload(&config, "the configuration was read again");
    let answer = connection.get(LIST, &[]).expect("it is still open");
    assert_eq!(answer.status, 401, "{answer:?}");
    assert!(answer.body.contains("the client certificate is refused"), "{answer:?}");
    let other = scene.client(server.address, Some(&scene.authority.host("web2.example.com", 8)));
    assert_eq!(other.get(LIST, &[]).status, 200);
}

#[test]
fn a_certificate_of_a_stranger_and_a_name_without_proof_are_nothing() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start(&scene, &scene.usual(&sts.url()));
    // An authority of the same name, with another key.
    let stranger = support::Authority::new("Hosts of Example").host("web1.example.com", 7);
    let refused =
        scene.client(server.address, Some(&stranger)).connect().and_then(|mut connection| connection.get(LIST, &[]));
    assert!(refused.is_err(), "{refused:?}");
    let none = scene.client(server.address, None).get(LIST, &[]);
    assert_eq!((none.status, none.header("alppaca-ims")), (401, None), "{none:?}");
    // A certificate of the server's own is for servers.
    let server_certificate = scene.authority.server("web1.example.com");
    let refused = scene
        .client(server.address, Some(&server_certificate))
        .connect()
        .and_then(|mut connection| connection.get(LIST, &[]));
    assert!(refused.is_err(), "{refused:?}");
}

#[test]
fn a_reload_changes_rules_and_certificate_and_a_mistake_changes_nothing() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let config = scene.usual(&sts.url());
    let server = Server::start(&scene, &config);
    let host = scene.authority.host("web1.example.com", 7);
    let client = scene.client(server.address, Some(&host));
    let mut connection = client.connect().expect("a connection");
    assert_eq!(connection.get(LIST, &[]).expect("an answer").body, "web");

    server.reload(&config.replace("role: web,", "role: db,"), "the configuration was read again");
    assert_eq!(connection.get(LIST, &[]).expect("it is still open").body, "db");

    server.reload(&config.replace("rules:", "ruels:"), "there is no setting \"ruels\"; did you mean `rules`?");
    assert!(server.log().contains("nothing has been changed"));
    assert_eq!(connection.get(LIST, &[]).expect("it is still open").body, "db");

    // Another authority's certificate for the server: old connections stay, new clients have to know it.
    let other = support::Authority::new("Another");
    other.server("localhost").write(scene.path(), "server");
    server.reload(&config, "the configuration was read again");
    assert_eq!(connection.get(LIST, &[]).expect("it is still open").body, "web");
    assert!(client.connect().is_err());
    assert_eq!(support::Client::new(server.address, &other, Some(&host)).get(LIST, &[]).body, "web");
}

#[test]
fn what_is_no_request_is_refused_and_nothing_is_smuggled() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start(&scene, &scene.usual(&sts.url()));
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    let get = format!("GET {LIST} HTTP/1.1\r\nHost: x\r\n");
    for (request, status) in [
        (format!("POST {LIST} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"), 405),
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 404),
        (format!("{get}X: {}\r\n\r\n", "x".repeat(200_000)), 431),
        (format!("{get}{}\r\n", "X: y\r\n".repeat(200)), 431),
        ("GET\r\n\r\n".to_owned(), 400),
        (format!("{get}Content-Length: 5\r\nContent-Length: 6\r\n\r\n"), 400),
    ] {
        let mut connection = client.connect().expect("a connection");
        let answer = match connection.raw(&request) {
            Ok(answer) => answer,
            // The server does not read on: the end of the connection can overtake the answer.
            Err(_broken) if status == 431 => continue,
            Err(error) => panic!("{request:.80}: {error}"),
        };
        assert_eq!(answer.status, status, "{request:.80}: {answer:?}");
        assert_ne!(answer.header("alppaca-ims"), Some("1"), "{answer:?}");
    }
    // What follows a body that nobody reads is no request.
    let mut connection = client.connect().expect("a connection");
    let smuggled = format!("{get}Content-Length: 500\r\n\r\n{get}\r\n");
    assert_eq!(connection.raw(&smuggled).expect("an answer").header("connection"), Some("close"));
    assert!(connection.get(LIST, &[]).is_err());
    // A HEAD makes no credentials.
    let mut connection = client.connect().expect("a connection");
    let answer = connection.raw(&format!("HEAD {WEB} HTTP/1.1\r\nHost: x\r\n\r\n")).expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(sts.assumed().len(), 0);
}

#[test]
fn one_address_cannot_have_all_connections() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let config = scene.usual(&sts.url()) + "max_connections_per_address: 3\n";
    let server = Server::start(&scene, &config);
    let client = scene.client(server.address, None);
    let held: Vec<_> = (0..3).map(|_| client.connect().expect("a connection")).collect();
    assert!(client.connect().and_then(|mut connection| connection.get("/status", &[])).is_err());
    drop(held);
    eventually(
        "there is room again",
        || client.connect().and_then(|mut connection| connection.get("/status", &[])).ok(),
        || server.log(),
    );
}

#[test]
fn requests_at_hand_are_answered_before_it_stops() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let mut server = Server::start(&scene, &scene.usual(&sts.url()));
    sts.change(|script| script.latency = Duration::from_millis(500));
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    let asking = std::thread::spawn(move || client.get(WEB, &[]).status);
    eventually("the call has begun", || (!sts.assumed().is_empty()).then_some(()), || server.log());
    assert_eq!(server.stop(), Some(0));
    assert_eq!(asking.join().expect("no panic"), 200);
}

#[test]
fn what_cannot_be_recorded_is_not_handed_out() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let config = scene.usual(&sts.url()).replace(&scene.path().join("audit.log").display().to_string(), "/dev/full");
    let server = Server::start(&scene, &format!("{config}audit_required: yes\n"));
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    // The first fills the pipe; as soon as that is known, nothing is handed out.
    let answer = eventually(
        "it is refused",
        || Some(client.get(WEB, &[])).filter(|answer| answer.status == 503),
        || server.log(),
    );
    assert!(!answer.body.contains("AccessKeyId"));
}

#[test]
fn metrics_and_health_have_a_listener_of_their_own() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start(&scene, &format!("{}metrics_listen: 127.0.0.1:0\n", scene.usual(&sts.url())));
    let ask = |path: &str| server.monitor(path);
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    assert_eq!(client.get(WEB, &[]).status, 200);
    assert!(ask("/livez").starts_with("HTTP/1.1 200 "));
    assert!(ask("/readyz").starts_with("HTTP/1.1 200 "));
    let metrics = ask("/metrics");
    assert!(metrics.contains("alppaca_ims_requests_total{ending=\"handed_out\"} 1\n"), "{metrics}");
    assert!(metrics.trim_end().ends_with("# EOF"), "{metrics}");
    assert!(ask("/account").starts_with("HTTP/1.1 404 "));
    sts.change(|script| script.down.push("*".to_owned()));
    let people = scene.client(server.address, None);
    eventually(
        "it is not ready",
        || {
            people.get("/account/demo/db/credentials", &[("X-Remote-User", "b"), ("X-Groups", "aws-db")]);
            ask("/readyz").starts_with("HTTP/1.1 503 ").then_some(())
        },
        || server.log(),
    );
    assert!(ask("/livez").starts_with("HTTP/1.1 200 "));
}

fn only_ours(file: &Path) -> std::io::Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))
}

/// What `check` ends with and says.
fn check(scene: &Scene, config: &str) -> (Option<i32>, String) {
    let path = scene.path().join("checked.yaml");
    fs::write(&path, config).and_then(|()| only_ours(&path)).expect("ours");
    let output = Command::new(env!("CARGO_BIN_EXE_alppaca-ims")).args(["check", "--quiet", "-c"]).arg(path).output();
    let output = output.expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn check_fails_for_files_that_are_wrong_and_warns_of_those_that_are_elsewhere() {
    let scene = Scene::new();
    let config = scene.usual("http://127.0.0.1:1");
    scene.authority.server("localhost").write(scene.path(), "other");
    fs::write(scene.path().join("empty"), "nothing\n").expect("ours");
    for secret in ["server.key", "other.key", "empty"] {
        only_ours(&scene.path().join(secret)).expect("ours");
    }
    assert_eq!(check(&scene, &config), (Some(0), String::new()));
    let file = |name: &str| scene.path().join(name).display().to_string();
    let (certificate, key, authority) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let wrong = "has no private key (no BEGIN … PRIVATE KEY line); PEM is needed";
    for (of, by, code, said) in [
        (&key, file("empty"), 2, format!("tls_key: {}: {wrong}", file("empty"))),
        (&key, file("server.pem"), 2, format!("tls_key: {certificate}: {wrong}")),
        (&key, file("other.key"), 2, format!("is not the key of the first certificate in {certificate}")),
        (&key, file("none"), 0, "none: cannot be read: No such file or directory".to_owned()),
        (&key, file("ca.pem/none"), 0, "none: cannot be read: Not a directory".to_owned()),
        (&certificate, file("empty"), 2, "tls_certificate: ".to_owned() + &file("empty") + ": has no certificate"),
        (&certificate, scene.path().display().to_string(), 2, "cannot be read: Is a directory".to_owned()),
        (&authority, file("empty"), 2, "identity method hosts: ".to_owned()),
        (&authority, file("none"), 0, "identity method hosts: ".to_owned()),
    ] {
        let (ended, told) = check(&scene, &config.replace(of, &by));
        assert!(ended == Some(code) && told.contains(&said), "{of}, {by}: {ended:?}: {told}");
        assert_eq!(told.contains("; the server will not start on this host"), code == 0, "{of}, {by}: {told}");
    }
}
