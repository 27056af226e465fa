//! Whatever an IMS may send wrong: one clear sentence, never a panic, good credentials stay, and the
//! other roles are untouched.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use alppaca::{
    credentials::{Credentials, RoleName},
    mock_ims::{Behaviour, Misbehaviour},
    source::{
        ErrorKind, RoleList, Source, SourceError,
        ims::{ImsSource, Settings},
    },
};
use support::{Daemon, Ims, get};

fn settings(address: SocketAddr) -> Settings {
    Settings {
        list_url: format!("http://{address}/latest/meta-data/iam/security-credentials/"),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        max_response_bytes: 65_536,
        concurrency: 16,
        ca_file: None,
        client_certificate: None,
        proxy: None,
    }
}

fn source(address: SocketAddr) -> ImsSource {
    ImsSource::new(settings(address)).expect("legal")
}

fn role(name: &str) -> RoleName {
    name.parse().expect("a role name")
}

async fn fetch(source: &ImsSource) -> Result<Credentials, SourceError> {
    source.fetch(&role("test_role")).await
}

fn wrong(kind: Misbehaviour) -> Behaviour {
    Behaviour { document: Some(kind), ..Behaviour::default() }
}

#[tokio::test]
async fn each_bad_document_is_one_sentence_without_a_secret() {
    for (kind, part) in [
        (Misbehaviour::Empty, "the document is empty"),
        (Misbehaviour::Html, "not the expected JSON object (line 1, column 1)"),
        (Misbehaviour::Garbage, "not the expected JSON object"),
        (Misbehaviour::BadDate, "Expiration is not an ISO 8601 time"),
        (Misbehaviour::MissingField, "the document has no Token"),
        (Misbehaviour::Huge, "longer than 65536 bytes"),
        (Misbehaviour::Reset, "the answer broke off"),
        (Misbehaviour::Redirect, "redirects to elsewhere.example, which is not followed"),
        (Misbehaviour::Gzip, "compressed (gzip)"),
        (Misbehaviour::Status(500), "status 500 (the mock was told to say this)"),
        (Misbehaviour::Status(502), "status 502"),
        (Misbehaviour::Status(429), "status 429"),
        (Misbehaviour::Status(401), "status 401"),
        (Misbehaviour::Status(400), "status 400"),
    ] {
        let ims = Ims::start(wrong(kind));
        let error = fetch(&source(ims.address)).await.expect_err("wrong");
        assert_eq!(error.kind, ErrorKind::Transient, "{kind:?}: {error}");
        let said = format!("{error} {error:?}");
        assert!(said.contains(part) && error.message.starts_with("GET http://127.0.0.1:"), "{kind:?}: {error}");
        assert!(!error.message.contains('\n') && !said.contains("elsewhere.example/secret"), "{error}");
        for issued in ims.handle.all_issued() {
            assert!(
                !said.contains(&issued.secret_access_key) && !said.contains(&issued.session_token[..16]),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_slow_answer_is_given_up_in_time() {
    for kind in [Misbehaviour::Drip, Misbehaviour::Hang] {
        let ims = Ims::start(wrong(kind));
        let settings = Settings { timeout: Duration::from_millis(300), ..settings(ims.address) };
        let error = fetch(&ImsSource::new(settings).expect("legal")).await.expect_err("slow");
        assert!(
            error.kind == ErrorKind::Transient && error.message.contains("no whole answer within 300ms"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn the_upstreams_word_is_told_from_its_silence() {
    for (kind, expected) in [
        (Misbehaviour::Status(403), Some(true)),
        (Misbehaviour::Status(404), Some(true)),
        (Misbehaviour::ErrorDocument, Some(false)),
        (Misbehaviour::Status(503), None),
    ] {
        let ims = Ims::start(wrong(kind));
        let error = fetch(&source(ims.address)).await.expect_err("refused");
        let withdraws = match &error.kind {
            ErrorKind::Refused { withdraws, code, .. } => {
                assert_eq!(code, "AssumeRoleUnauthorizedAccess");
                Some(*withdraws)
            }
            ErrorKind::Transient => None,
        };
        assert_eq!(withdraws, expected, "{kind:?}");
    }
}

#[tokio::test]
async fn unusual_but_legal_dates_and_short_lives_are_read() {
    for kind in [Misbehaviour::FractionalDate, Misbehaviour::OffsetDate, Misbehaviour::Expired] {
        let ims = Ims::start(Behaviour { lifetime: Duration::from_secs(10), ..wrong(kind) });
        let credentials = fetch(&source(ims.address)).await.expect("legal");
        assert!(ims.handle.issued(&credentials.access_key_id).is_some());
    }
}

#[tokio::test]
async fn bad_lists_are_told_and_lists_with_a_bad_line_are_read() {
    let list = |kind| Behaviour { list: Some(kind), ..Behaviour::default() };
    for (behaviour, part) in [
        (list(Misbehaviour::Html), "no role list; it begins with \"<html>"),
        (list(Misbehaviour::Garbage), "not UTF-8"),
        (list(Misbehaviour::Huge), "longer than 1048576 bytes"),
        (list(Misbehaviour::Status(500)), "status 500"),
    ] {
        let ims = Ims::start(behaviour);
        let error = source(ims.address).roles().await.expect_err("wrong");
        assert!(error.kind == ErrorKind::Transient && error.message.contains(part), "{error}");
    }
    let names = ["a", "x/y", "..", "b c", "b"].map(str::to_owned).to_vec();
    let ims = Ims::start(Behaviour { roles: names, ..Behaviour::default() });
    let list = source(ims.address).roles().await.expect("a list");
    assert_eq!((list.names, list.problems.len()), (vec![role("a"), role("b")], 3));
    let ims = Ims::start(list_of_nothing());
    assert_eq!(source(ims.address).roles().await, Ok(RoleList::default()));
}

fn list_of_nothing() -> Behaviour {
    Behaviour { roles: Vec::new(), ..Behaviour::default() }
}

#[tokio::test]
async fn nobody_there_and_no_such_host_are_told() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free");
    let error = fetch(&source(free)).await.expect_err("nobody");
    assert!(error.kind == ErrorKind::Transient && error.message.contains("Connection refused"), "{error}");
    let settings = Settings { list_url: "http://no-such-host.invalid/".to_owned(), ..settings(free) };
    let error = fetch(&ImsSource::new(settings).expect("legal")).await.expect_err("nobody");
    assert!(error.kind == ErrorKind::Transient && error.message.contains("no-such-host.invalid"), "{error}");
}

#[tokio::test]
async fn a_thousand_roles_are_fetched_over_a_few_connections() {
    let roles: Vec<_> = (0..1000).map(|n| format!("role-{n}")).collect();
    let ims = Ims::start(Behaviour { roles, ..Behaviour::default() });
    let source = Arc::new(source(ims.address));
    let list = source.roles().await.expect("a list");
    let mut calls = tokio::task::JoinSet::new();
    for name in list.names {
        let source = Arc::clone(&source);
        calls.spawn(async move { source.fetch(&name).await.expect("credentials").access_key_id });
    }
    let keys: std::collections::HashSet<_> = calls.join_all().await.into_iter().collect();
    assert_eq!(keys.len(), 1000);
    assert!(ims.handle.connections() <= 17, "{}", ims.handle.connections());
}

/// Closes each connection after one answer, without saying so before.
fn closing_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("free");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let mut head = [0; 4096];
            // Whatever it asks, it gets the same.
            if client.read(&mut head).is_ok_and(|length| length > 0) {
                let _gone = client.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nrole");
            }
        }
    });
    address
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_fails_nothing() {
    let source = source(closing_server());
    for _ in 0..20 {
        assert_eq!(source.roles().await.expect("a list").names, [role("role")]);
    }
}

#[test]
fn bad_documents_never_replace_good_credentials_and_leave_other_roles_alone() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1\n", ims.config()));
    for kind in [Misbehaviour::Empty, Misbehaviour::Expired, Misbehaviour::ErrorDocument, Misbehaviour::Status(503)] {
        let told = |daemon: &Daemon| daemon.log().matches("[WARNING] role test_role: cannot fetch").count();
        let before = told(&daemon);
        ims.handle.set(|behaviour| behaviour.document = Some(kind));
        while told(&daemon) == before {
            let document = get(daemon.address(), "/latest/meta-data/iam/security-credentials/test_role");
            assert_eq!((document.status, document.json()["Code"].as_str()), (200, Some("Success")), "{kind:?}");
        }
        let recovered = daemon.log().matches("could be fetched again").count();
        ims.handle.set(|behaviour| behaviour.document = None);
        while daemon.log().matches("could be fetched again").count() == recovered {
            assert_eq!(get(daemon.address(), "/latest/meta-data/iam/security-credentials/test_role").status, 200);
        }
    }
}
