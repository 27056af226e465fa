//! Servers that answer wrongly, late, or with something else.

use std::{thread, time::Duration};

use alppaca::mock_ims::{Answer, Behaviour};

use crate::{
    assert_found, doctor, findings,
    server::{document, healthy, serve, serve_raw},
    support::{Daemon, Ims},
};

const NOWHERE: &str = "/no/daemon.sock";

/// What is found at an IMDS.
fn at(url: &str) -> (Option<i32>, Vec<String>) {
    findings(&doctor(NOWHERE.as_ref(), &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)]))
}

#[test]
fn a_healthy_server_of_another_make_is_only_named() {
    let (code, lines) = at(&format!("http://{}", serve(healthy)));
    assert_eq!(code, Some(0), "{lines:#?}");
    let rules: Vec<_> = lines.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(rules, ["note answerer", "good protocol", "good fresh", "good region"], "{lines:#?}");
}

#[test]
fn a_token_without_its_life_is_a_problem() {
    let address = serve(|line| match healthy(line) {
        (status, _, body) if line.starts_with("PUT") => (status, String::new(), body),
        other => other,
    });
    let (code, lines) = at(&format!("http://{address}"));
    assert_eq!(code, Some(1));
    assert_found(&lines, "problem protocol the token comes without its TTL", "SDKs for Rust and Go");
}

#[test]
fn a_slow_answer_is_a_problem_before_sdks_give_up() {
    let address = serve(|line| {
        if line.starts_with("PUT") {
            thread::sleep(Duration::from_millis(700));
        }
        healthy(line)
    });
    let (code, lines) = at(&format!("http://{address}"));
    assert_eq!(code, Some(1));
    assert_found(&lines, "problem pace the answer took ", "the SDK for Go waits 500 ms");
    let slow = serve(|_| {
        thread::sleep(Duration::from_millis(700));
        (200, String::new(), document())
    });
    let url = format!("http://{slow}/");
    let (_, lines) = findings(&doctor(NOWHERE.as_ref(), &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &url)]));
    assert_found(&lines, "problem pace ", "look for load on this host");
}

#[test]
fn what_the_list_of_roles_may_be_is_told_apart() {
    for (status, body, part) in [
        (200, "", "the list of roles is empty -> see the daemon's log"),
        (500, "x", "the answer is 500"),
        (503, "", "there are no valid credentials at the moment (503)"),
    ] {
        let address = serve(move |line| {
            let list = line.ends_with("/security-credentials/");
            if list { (status, String::new(), body.to_owned()) } else { healthy(line) }
        });
        let (code, lines) = at(&format!("http://{address}"));
        assert_eq!(code, Some(1));
        assert_found(&lines, "problem role ", part);
    }
}

#[test]
fn what_the_document_may_be_is_told_apart() {
    for (answer, part) in [
        (Answer::Status(503), "role test_role: there are no valid credentials at the moment (503)"),
        (Answer::Status(500), "role test_role: the answer is 500"),
        (Answer::Expired, " expired 1h"),
        (Answer::MissingField, "Token"),
        (Answer::Html, "role test_role: "),
        (Answer::BadDate, "Expiration"),
    ] {
        let ims = Ims::start(Behaviour { document: answer.clone(), ..Behaviour::default() });
        let (code, lines) = at(&format!("http://{}", ims.address));
        assert_eq!(code, Some(1), "{answer:?}: {lines:#?}");
        assert_found(&lines, "problem fresh ", part);
        assert!(lines.iter().any(|line| line.ends_with(" -> `alppaca status` shows why")), "{lines:#?}");
    }
}

#[test]
fn metadata_without_a_region_is_a_note() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let (code, lines) = at(&format!("http://{}", daemon.address()));
    assert_eq!(code, Some(0));
    assert_found(&lines, "note region the metadata has no region", "set `metadata: {region: …}`");
}

#[test]
fn what_is_no_http_and_who_breaks_off_are_no_metadata_service() {
    let (code, lines) = at(&format!("http://{}", serve_raw(|_| "SSH-2.0-OpenSSH_9.2\r\n".to_owned())));
    assert_eq!((code, lines.len()), (Some(1), 1), "{lines:#?}");
    assert_found(&lines, "problem reach ", "what came back is no HTTP");
    for broken in ["/security-credentials/", "/security-credentials/web"] {
        let address = serve_raw(move |line| {
            let (status, headers, body) = healthy(line);
            let answer = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
            if line.ends_with(broken) { "HTTP/1.1 200".to_owned() } else { answer }
        });
        let (code, lines) = at(&format!("http://{address}"));
        assert_eq!(code, Some(1));
        assert_found(&lines, "problem reach ", "what came back is no HTTP");
    }
}

#[test]
fn what_a_container_endpoint_may_say_is_told_apart() {
    let container = |url: &str| findings(&doctor(NOWHERE.as_ref(), &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)]));
    for (status, start, part) in [
        (503, "problem role ", "there are no valid credentials at the moment (503)"),
        (404, "problem role ", "the answer is 404"),
        (401, "problem token ", "`alppaca exec`"),
        (200, "good fresh role of the container: ASIAEXAMPLE", ""),
    ] {
        let (_, lines) = container(&format!("http://{}/x", serve(move |_| (status, String::new(), document()))));
        assert_found(&lines, start, part);
    }
    // The id in such a URL is as secret as a token.
    for (url, start) in [
        ("http://u:s3cret@127.0.0.1:1/v2/credentials/s3cret", "problem reach http://127.0.0.1:1/v2/credentials/*** "),
        ("https://127.0.0.1:1/v1/credentials?id=s3cret", "note reach https://127.0.0.1:1/v2/credentials/*** "),
    ] {
        let (_, lines) = container(url);
        assert_found(&lines, start, "");
        assert!(!lines.concat().contains("s3cret"), "{lines:#?}");
    }
    let url = format!("http://{}/v2/credentials/s3cret", serve(|_| (200, String::new(), document())));
    let (_, lines) = container(&url);
    assert_found(&lines, "good protocol container credentials at http://127.0.0.1:", "/v2/credentials/***");
    assert!(!lines.concat().contains("s3cret"), "{lines:#?}");
    let (code, lines) = container("https://127.0.0.1:1/x");
    assert_eq!(code, Some(0), "{lines:#?}");
    assert_found(&lines, "note reach https://127.0.0.1:1/x uses https, which is not tried here", "");
    let (code, lines) = container("http://127.0.0.1:1/x");
    assert_eq!(code, Some(1), "{lines:#?}");
    assert_found(
        &lines,
        "problem reach http://127.0.0.1:1/x cannot be reached: ",
        "start the daemon; `systemctl status",
    );
}
