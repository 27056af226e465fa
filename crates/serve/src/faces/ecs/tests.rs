//! The face by itself. The same over sockets is in `tests/conformance`.

use super::*;
use crate::{
    clock::SystemClock,
    credentials::{Credentials, RoleId, render_refusal},
    faces::tests::{credentials, ended, held, name, now, peer, read, respond},
    policy::Grant,
    store::{Slot, Store},
};

fn id(text: &str) -> RoleId {
    RoleId::named(&name(text))
}

fn face() -> (Ecs, EcsTokens) {
    let store = Store::shared();
    let arn = "arn:aws:iam::111122223333:role/path/first".parse().expect("an ARN");
    store.publish_roles(&["first", "expired", "denied", "warming", "open"].map(name));
    store.publish(&id("first"), held(&Credentials { role_arn: Some(arn), ..credentials() }));
    store.publish(&id("open"), held(&credentials()));
    store.publish(&id("expired"), ended());
    store.publish(&id("denied"), Slot::Denied(render_refusal("AccessDenied", "no", now().wall).into()));
    let tokens = EcsTokens::new().expect("randomness");
    let open = options::Role { name: name("open"), opener: options::Opener { open: true, ..Default::default() } };
    let shared = Shared { account_id: "123456789012".parse().ok(), ..Shared::of(store) };
    let options = Options { roles: vec![open], ..Options::default() };
    let (face, _files) = Ecs::new(options, shared, tokens.clone(), SystemClock::shared());
    (face, tokens)
}

fn ask_as(face: &Ecs, head: &str, grant: &Grant) -> (u16, String) {
    read(respond((FACE, face), head, (&peer(), grant), now()))
}

fn ask(face: &Ecs, head: &str) -> (u16, String) {
    ask_as(face, head, &Grant::Everything)
}

#[test]
fn a_token_opens_its_role_at_any_path_and_no_other() {
    let (face, tokens) = face();
    let token = tokens.issue(&id("first"), Duration::from_mins(1), now().boot).expect("room");
    let with = |path: &str, token: &str| ask(&face, &format!("GET {path} HTTP/1.1\r\nAuthorization: {token}"));
    for path in ["/", "/x?y=z", "/role/first", "/v3/anything/at/all", "/1/2/3/4/5/6/7/8/9", "/%ff"] {
        let (status, body) = with(path, token.expose());
        assert_eq!(status, 200, "{path}");
        assert!(
            body.starts_with(r#"{"RoleArn":"arn:aws:iam::111122223333:role/path/first","AccessKeyId":"ASIA"#),
            "{body}"
        );
    }
    assert_eq!(with("/", &format!("  {}\t ", token.expose())).0, 200);
    assert_eq!(with("/role/expired", token.expose()).0, 403);
    for wrong in ["", "x", &format!("Bearer {}", token.expose()), &token.expose()[1..]] {
        let (status, body) = with("/", wrong);
        assert_eq!(status, 401, "{wrong}");
        let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&json["code"], &json["message"]), (&json["Code"], &json["Message"]));
        assert!(json["code"].is_string() && json["message"].is_string() && json["HTTPErrorCode"] == 401);
    }
    assert_eq!(ask(&face, "GET / HTTP/1.1").0, 401);
}

#[test]
fn each_state_of_a_role_has_its_one_answer() {
    let (face, tokens) = face();
    let of = |role: &str| {
        let token = tokens.issue(&id(role), Duration::from_mins(1), now().boot).expect("room");
        ask(&face, &format!("GET / HTTP/1.1\r\nAuthorization: {}", token.expose()))
    };
    assert_eq!(of("first").0, 200);
    assert_eq!(of("expired").0, 503);
    assert_eq!(of("warming").0, 0);
    assert_eq!(of("unknown").0, 404);
    let (status, body) = of("denied");
    assert!(status == 403 && body.contains(r#""Code":"AccessDenied""#) && body.contains(r#""message":"no""#), "{body}");
}

#[test]
fn an_open_role_needs_no_token_and_an_id_is_enough() {
    let (face, tokens) = face();
    let (status, body) = ask(&face, "GET /role/open HTTP/1.1");
    assert!(status == 200 && body.contains("arn:aws:iam::123456789012:role/open"), "{body}");
    assert_eq!(ask(&face, "GET /role/first HTTP/1.1").0, 401);
    tokens.configure(0, (&id("first"), Key::Id), &[b"abc-1"], Duration::ZERO, now().boot);
    for (path, status) in [
        ("/v2/credentials/abc-1", 200),
        ("/v1/credentials?id=abc-1", 200),
        ("/v1/credentials?x=y&id=abc-1", 200),
        ("/v2/credentials/abc", 400),
        ("/v2/credentials/", 400),
        ("/v1/credentials", 400),
        ("/v1/credentials?id=", 400),
        ("/role/abc-1", 401),
    ] {
        assert_eq!(ask(&face, &format!("GET {path} HTTP/1.1")).0, status, "{path}");
    }
    assert_eq!(ask(&face, "GET / HTTP/1.1\r\nAuthorization: abc-1").0, 401);
}

#[test]
fn an_id_is_not_logged_however_it_is_spelled() {
    for (target, shown) in [
        ("/v2/credentials/abc", "/v2/credentials/***"),
        ("//v2//%63redentials//abc?x", "/v2/credentials/***"),
        ("/v1/credentials?id=abc", "/v2/credentials/***"),
        ("/v1/credentials#abc", "/v2/credentials/***"),
        ("/v1/credentials", "/v1/credentials"),
        ("http://127.0.0.1/v2/credentials/abc", "/v2/credentials/***"),
        ("/v2/credentials/a/b/c/d/e/f/abc", "***"),
        ("/role/x?y=z", "/role/x?y=z"),
        ("/", "/"),
    ] {
        assert_eq!(loggable(target), shown, "{target}");
    }
}

#[test]
fn a_token_shows_nothing_that_the_policy_does_not_grant() {
    let (face, tokens) = face();
    let token = tokens.issue(&id("first"), Duration::from_mins(1), now().boot).expect("room");
    let head = format!("GET / HTTP/1.1\r\nAuthorization: {}", token.expose());
    assert_eq!(ask_as(&face, &head, &Grant::Roles([id("first")].into())).0, 200);
    assert_eq!(ask_as(&face, &head, &Grant::Roles([id("open")].into())).0, 404);
    assert_eq!(ask_as(&face, &head, &Grant::Denied).0, 404);
    assert_eq!(ask_as(&face, &head, &Grant::Pending).0, 0);
    assert_eq!(ask_as(&face, "GET /role/open HTTP/1.1", &Grant::Denied).0, 404);
}

#[test]
fn proxied_cross_site_and_rebound_requests_are_refused_as_are_other_methods() {
    let (face, tokens) = face();
    let token = tokens.issue(&id("first"), Duration::from_mins(1), now().boot).expect("room");
    for header in
        ["X-Forwarded-For: 1.2.3.4", "Origin: http://evil.example", "Sec-Fetch-Site: cross-site", "Host: evil.example"]
    {
        let head = format!("GET / HTTP/1.1\r\nAuthorization: {}\r\n{header}", token.expose());
        let (status, body) = ask(&face, &head);
        assert!(status == 403 && body.contains("AccessDenied"), "{header}: {body}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(ask(&face, &format!("{method} / HTTP/1.1\r\nAuthorization: {}", token.expose())).0, 405);
    }
}
