//! `imds`: another alppaca as the upstream, and servers that are not quite EC2.

use std::{sync::Arc, time::Duration};

use alppaca::{
    mock_ims::Behaviour,
    refresh::Fetch,
    source::imds::{Imds, Settings},
};

use crate::{
    is_refused, is_transient,
    server::{Asked, Server},
    support::{Daemon, Ims},
};

const DOCUMENT: &str = r#"{"Code":"Success","LastUpdated":"2026-11-23T09:00:00Z","Type":"AWS-HMAC","AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"wJalr","Token":"IQoJ","Expiration":"2099-01-01T00:00:00Z"}"#;

fn imds(endpoint: String, v1_fallback: bool) -> Arc<Imds> {
    let timeout = Duration::from_secs(20);
    Imds::new(&Settings { endpoint, v1_fallback, connect_timeout: timeout, timeout }).expect("good settings")
}

#[tokio::test]
async fn a_chain_of_two_alppacas_works() {
    let ims = Ims::start(Behaviour { roles: vec!["first".into(), "second".into()], ..Behaviour::default() });
    let upstream = Daemon::with_credentials(&format!("{}imds_v1: false\n", ims.config()));
    upstream.wait_for_log("second");
    let imds = imds(format!("http://{}/", upstream.address()), false);
    let set = imds.role(None).fetch(None).await.expect("credentials");
    let issued = ims.handle.issued_with(&set.access_key_id).expect("from the mock");
    assert_eq!((issued.role.as_str(), set.session_token.expose()), ("first", issued.session_token.as_str()));
    let second = imds.role("second".parse().ok()).fetch(None).await.expect("credentials");
    assert_eq!(ims.handle.issued_with(&second.access_key_id).expect("from the mock").role, "second");
    let error = imds.role("third".parse().ok()).fetch(None).await.expect_err("no such role");
    assert!(is_refused(&error), "{error:?}");
}

fn ec2(asked: &Asked) -> (u16, String) {
    match asked.line().as_str() {
        "PUT /latest/api/token" if asked.header("x-aws-ec2-metadata-token-ttl-seconds") == Some("21600") => {
            (200, "T0KEN==".into())
        }
        _ if asked.header("x-aws-ec2-metadata-token") != Some("T0KEN==") => (401, String::new()),
        "GET /latest/meta-data/iam/security-credentials/" => (200, "web\n".into()),
        "GET /latest/meta-data/iam/security-credentials/web" => (200, DOCUMENT.into()),
        _ => (404, String::new()),
    }
}

#[tokio::test]
async fn the_token_is_asked_for_once_and_again_when_it_is_over() {
    let server = Server::start(ec2);
    let imds = imds(server.url(), false);
    for _ in 0..2 {
        imds.role(None).fetch(None).await.expect("credentials");
    }
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("PUT")).count(), 1);

    // A restart: each token is good for three requests.
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if asked.method == "GET" && number == 3 { (401, String::new()) } else { ec2(asked) }
    });
    let imds = self::imds(server.url(), false);
    for _ in 0..2 {
        imds.role(None).fetch(None).await.expect("credentials");
    }
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("PUT")).count(), 2, "{:?}", server.lines());
}

#[tokio::test]
async fn without_tokens_it_is_asked_only_where_that_is_allowed() {
    let old = |asked: &Asked| match asked.line().as_str() {
        "GET /latest/meta-data/iam/security-credentials/" => (200, "web".into()),
        "GET /latest/meta-data/iam/security-credentials/web" => (200, DOCUMENT.into()),
        _ => (404, String::new()),
    };
    let server = Server::start(old);
    let error = imds(server.url(), false).role(None).fetch(None).await.expect_err("no token");
    assert!(is_transient(&error) && error.message.contains("/latest/api/token: the answer is 404"), "{error:?}");
    let set = imds(server.url(), true).role(None).fetch(None).await.expect("credentials");
    assert_eq!(set.access_key_id, "ASIAEXAMPLE");
    assert!(server.asked().iter().all(|asked| asked.header("x-aws-ec2-metadata-token").is_none()));
}

#[tokio::test]
async fn each_failure_means_what_it_means() {
    let with = |status: u16, body: &'static str| {
        Server::start(move |asked| if asked.target.ends_with("/web") { (status, body.to_owned()) } else { ec2(asked) })
    };
    let error = |server: Server| async move {
        imds(server.url(), false).role("web".parse().ok()).fetch(None).await.expect_err("no credentials")
    };
    assert!(is_refused(&error(with(404, "")).await));
    assert!(is_refused(&error(with(403, "")).await));
    assert!(is_transient(&error(with(500, "")).await));
    assert!(is_transient(&error(with(401, "")).await));
    assert!(is_transient(&error(with(200, "<html>")).await));
    let refused = error(with(200, r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"no trust"}"#)).await;
    assert!(is_refused(&refused), "{refused:?}");

    let empty = Server::start(|asked| if asked.method == "PUT" { (200, "T".into()) } else { (200, String::new()) });
    assert!(is_refused(&imds(empty.url(), false).role(None).fetch(None).await.expect_err("no role")));
    let off = Server::start(|_| (403, String::new()));
    let error = imds(off.url(), false).role(None).fetch(None).await.expect_err("switched off");
    assert!(is_refused(&error) && error.message.contains("switched off"), "{error:?}");
    let odd = Server::start(|_| (200, "two words".into()));
    let error = imds(odd.url(), false).role(None).fetch(None).await.expect_err("no token");
    assert!(error.message.ends_with("the answer is not a token"), "{error}");
}

#[tokio::test]
async fn whoever_is_out_of_reach_is_told_about_hop_limits() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let error = imds(format!("http://{closed}"), false).role(None).fetch(None).await.expect_err("nobody there");
    assert!(is_transient(&error) && error.message.contains("hop limit of 2"), "{error}");
}
