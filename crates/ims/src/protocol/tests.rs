//! AFP's routes and answers, row by row, and where this server differs on purpose.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc, time::SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER as RETRY_AFTER_HEADER, SERVER, WWW_AUTHENTICATE},
};
use proptest::prelude::*;

use super::{
    Answer, Body, Families, Issued, Mount, Next, RETRY_AFTER, Route, Routed, check_method, check_site, decide, deliver,
    route,
};
use crate::{
    approvals::{Action, Id},
    credentials::{Credentials, Secret, parse_document},
    identity::{Identity, Peer},
    rules::{self, Decision},
    settings::{Fields, Value, problem::Source, yaml},
};

const CONSOLE: &str = "https://signin.aws.amazon.com/federation?Action=login&SigninToken=t";
const JSON: &str = "application/json; charset=utf-8";
const RULES: &str = "
accounts: {shop: 123456789012, bank: 210987654321}
rules:
- {name: one, match: {name: alice|web1}, account: shop, role: admin, console: yes}
- {name: two, match: {name: alice|web1}, account: shop, role: read}
- {name: three, match: {name: alice}, account: bank, role: audit}
";

fn username() -> HeaderName {
    HeaderName::from_static("x-username")
}

fn decision(user: &str) -> Decision {
    let source = Arc::new(Source { name: PathBuf::from("test.yaml"), text: RULES.to_owned() });
    let Value::Map(entries) = yaml::read(&source).expect("YAML").expect("a document").value else {
        panic!("no mapping")
    };
    let rules = rules::read(&mut Fields::new(entries, rules::SETTINGS)).expect("rules");
    rules.decide(&Identity::new(user, "mtls", "hosts"), &Peer::Tcp(Ipv4Addr::LOCALHOST.into()), SystemTime::UNIX_EPOCH)
}

fn mounts() -> Vec<Mount> {
    let mount = |prefix: &str, hosts, people| Mount { prefix: prefix.to_owned(), families: Families { hosts, people } };
    vec![mount("", true, true), mount("/human", false, true), mount("/human/machine", true, false)]
}

fn issued() -> Issued {
    Issued {
        credentials: Credentials {
            access_key_id: "ASIAX".to_owned(),
            secret_access_key: Secret::new("secret/+"),
            session_token: Secret::new("token=="),
            expiration: "2026-11-25T23:49:53.987654Z".parse().expect("a time"),
            life: None,
            last_updated: None,
            account_id: None,
            role_arn: None,
        },
        at: "2026-11-25T22:49:53.1Z".parse().expect("a time"),
    }
}

/// What `user` gets, with an STS that works.
fn ask(method: &Method, user: &str, target: &str) -> Answer {
    let mounts = mounts();
    let routed = match route(&mounts, target) {
        Routed::To(_, route) => Some(route),
        Routed::Nowhere(_) => None,
    };
    if let Some(answer) = check_method(method, routed.as_ref()) {
        return answer;
    }
    let Some(route) = routed else { return Answer::nowhere(target) };
    match decide(&route, &decision(user), user, method == Method::HEAD) {
        Next::Answer(answer) => answer,
        Next::Fetch { grant, form } => deliver(form, &issued(), &grant, grant.console.then_some(CONSOLE), user),
        Next::Emergency { .. } | Next::Unapproved { .. } | Next::Approvals => panic!("the rules have none"),
    }
}

fn get(user: &str, target: &str) -> Answer {
    ask(&Method::GET, user, target)
}

#[track_caller]
fn expect(answer: &Answer, status: u16, body: &str, kind: &str, user: Option<&str>) {
    assert_eq!(answer.status.as_u16(), status);
    assert_eq!(String::from_utf8_lossy(answer.body.bytes()), body);
    assert_eq!(answer.header(&CONTENT_TYPE), Some(kind));
    assert_eq!(answer.header(&username()), user);
    assert!(answer.header(&SERVER).is_some_and(|server| server.starts_with("alppaca-ims/")));
}

fn is_decided(answer: &Answer) -> bool {
    answer.header(&HeaderName::from_static("alppaca-ims")) == Some("1")
}

fn error(status: &str, message: &str) -> String {
    let code = &status[..3];
    format!(
        r#"{{"status": {code}, "error": "{status}", "exception": null, "message": "{message}", "traceback": null}}"#
    )
}

const DOCUMENT: &str = r#"{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAX", "SecretAccessKey": "secret/+", "Token": "token==", "Expiration": "2026-11-25T23:49:53Z", "LastUpdated": "2026-11-25T22:49:53Z""#;

#[test]
fn row_01_status() {
    for target in ["/status", "/human/status", "/human/machine/status"] {
        expect(&get("alice", target), 200, r#"{"status": "200", "message": "OK"}"#, JSON, Some("monitoring"));
    }
}

#[test]
fn row_02_accounts() {
    let all = r#"{"shop": ["admin", "read"], "bank": ["audit"]}"#;
    expect(&get("alice", "/account"), 200, all, JSON, Some("alice"));
    expect(&get("alice", "/human/account?x=withid"), 200, all, JSON, Some("alice"));
    expect(&get("bob", "/account"), 200, "{}", JSON, Some("bob"));
}

#[test]
fn row_03_accounts_with_ids() {
    let all = r#"{"shop": {"id": "123456789012", "roles": ["admin", "read"]}, "bank": {"id": "210987654321", "roles": ["audit"]}}"#;
    for query in ["withid", "withid=", "withid=no", "a=b&withid"] {
        expect(&get("alice", &format!("/account?{query}")), 200, all, JSON, Some("alice"));
    }
}

#[test]
fn row_04_document_and_console() {
    let both = format!(r#"{DOCUMENT}, "ConsoleUrl": "{CONSOLE}"}}"#);
    expect(&get("alice", "/account/shop/admin"), 200, &both, JSON, Some("alice"));
    expect(&get("alice", "/account/123456789012/admin?callbackurl=x"), 200, &both, JSON, Some("alice"));
    // A rule without `console` gives credentials alone.
    expect(&get("alice", "/account/bank/audit"), 200, &format!("{DOCUMENT}}}"), JSON, Some("alice"));
}

#[test]
fn row_05_credentials() {
    expect(&get("alice", "/account/shop/admin/credentials"), 200, &format!("{DOCUMENT}}}"), JSON, Some("alice"));
}

#[test]
fn row_06_console_url() {
    let answer = get("alice", "/account/shop/admin/consoleurl?callbackurl=https%3A%2F%2Fa%3Fb%3Dc+d");
    expect(&answer, 200, CONSOLE, "text/plain; charset=utf-8", None);
    let denied = error("403 Forbidden", "Permission Denied");
    expect(&get("alice", "/account/bank/audit/consoleurl"), 403, &denied, JSON, Some("alice"));
}

#[test]
fn row_07_role_list() {
    for target in ["/meta-data/iam/security-credentials/", "/latest/meta-data/iam/security-credentials/"] {
        expect(&get("web1", target), 200, "admin\nread", "text/plain", None);
    }
    let nothing = get("web2", "/human/machine/latest/meta-data/iam/security-credentials/");
    expect(&nothing, 200, "", "text/plain", None);
    assert!(is_decided(&nothing), "an empty list takes all roles away, so it has to be marked as a decision");
    assert_eq!(nothing.header(&CACHE_CONTROL), Some("private, max-age=300"));
}

#[test]
fn row_08_role_document() {
    let document = format!("{DOCUMENT}}}");
    expect(&get("web1", "/latest/meta-data/iam/security-credentials/admin"), 200, &document, JSON, Some("web1"));
    let answer = get("web1", "/meta-data/iam/security-credentials/admin");
    expect(&answer, 200, &document, JSON, Some("web1"));
    let read = parse_document(answer.body.bytes()).expect("a document that the daemon reads");
    assert_eq!((read.access_key_id.as_str(), read.session_token.expose()), ("ASIAX", "token=="));
}

#[test]
fn row_09_no_such_route() {
    let paths = [
        "/",
        "/account/",
        "/account/shop",
        "/account/shop/",
        "/account/shop/admin/",
        "/account/shop/admin/x",
        "/account/shop/te%2fst/credentials/",
        "/account//admin",
        "/accounts",
        "/status/",
        "/latest/account",
        "/meta-data/iam/security-credentials",
        "/meta-data/iam/security-credentials/a/b",
        "/meta-data/iam/security-credentials/a%2Fb",
        "/latest/latest/meta-data/iam/security-credentials/",
        "/human/meta-data/iam/security-credentials/",
        "/human/machine/account",
        "/%ff",
        "account",
    ];
    for path in paths {
        let answer = get("alice", path);
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!is_decided(&answer), "{path}: a wrong path may be a mistake of the configuration");
    }
    expect(&get("alice", "/x"), 404, &error("404 Not Found", "Not found: '/x'"), JSON, Some("Unknown User"));
}

#[test]
fn row_10_permission_denied() {
    let denied = error("403 Forbidden", "Permission Denied");
    let targets = [
        "/account/bank/admin",
        "/account/other/admin/credentials",
        "/account/shop/../credentials",
        "/meta-data/iam/security-credentials/other",
    ];
    for target in targets {
        let answer = get("alice", target);
        expect(&answer, 403, &denied, JSON, Some("alice"));
        assert!(is_decided(&answer), "{target}");
    }
}

#[test]
fn row_11_own_trouble_is_never_a_decision() {
    let answer = Answer::unavailable("Call to AWS failed", Some("alice"), RETRY_AFTER);
    expect(&answer, 503, &error("503 Service Unavailable", "Call to AWS failed"), JSON, Some("alice"));
    assert_eq!(answer.header(&RETRY_AFTER_HEADER), Some("30"));
    assert!(!is_decided(&answer));
}

#[test]
fn row_12_no_identity() {
    let challenges = ["Bearer realm=\"alppaca\"".to_owned(), "Negotiate".to_owned()];
    let answer = Answer::unauthorized("no proof", &challenges);
    expect(&answer, 401, &error("401 Unauthorized", "no proof"), JSON, Some("Unknown User"));
    assert_eq!(answer.headers.iter().filter(|(name, _)| *name == WWW_AUTHENTICATE).count(), 2);
    assert!(!is_decided(&answer));
}

#[test]
fn row_13_other_methods() {
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = ask(&method, "alice", "/account");
        assert_eq!((answer.status.as_u16(), answer.header(&ALLOW)), (405, Some("GET")));
        assert_eq!(answer.header(&CONTENT_TYPE), Some("text/html; charset=UTF-8"));
        assert_eq!(answer.header(&username()), None);
    }
}

#[test]
fn row_14_head_is_like_get_but_makes_no_credentials() {
    let list = ask(&Method::HEAD, "alice", "/account");
    assert_eq!(list.body.bytes(), get("alice", "/account").body.bytes());
    for target in ["/account/shop/admin", "/account/shop/admin/consoleurl", "/meta-data/iam/security-credentials/admin"]
    {
        let (head, whole) = (ask(&Method::HEAD, "alice", target), get("alice", target));
        assert!(matches!(head.body, Body::Unknown), "{target}");
        assert_eq!((head.status, head.headers), (whole.status, whole.headers), "{target}");
    }
    assert_eq!(ask(&Method::HEAD, "alice", "/account/bank/admin").status, StatusCode::FORBIDDEN);
}

#[test]
fn secrets_are_neither_cached_nor_shown() {
    for target in ["/account/shop/admin", "/account/shop/admin/consoleurl", "/meta-data/iam/security-credentials/admin"]
    {
        let answer = get("alice", target);
        assert_eq!(answer.header(&CACHE_CONTROL), Some("no-store"), "{target}");
        let shown = format!("{answer:?} {:?}", issued());
        assert!(!shown.contains("secret/+") && !shown.contains("token==") && !shown.contains("SigninToken"), "{shown}");
    }
}

#[test]
fn another_site_cannot_send_a_browser_here() {
    let mounts = mounts();
    let refused = |target: &str, name: &'static str, value: &'static str| {
        let Routed::To(_, route) = route(&mounts, target) else { panic!("no route") };
        let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
        check_site(&route, &headers).map(|answer| (answer.status.as_u16(), is_decided(&answer)))
    };
    for (name, value) in [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "null")] {
        assert_eq!(refused("/account/shop/admin", name, value), Some((403, false)), "{name}: {value}");
        assert_eq!(refused("/status", name, value), None);
    }
    for (name, value) in [("sec-fetch-site", "same-origin"), ("sec-fetch-site", "none"), ("accept", "*/*")] {
        assert_eq!(refused("/account/shop/admin", name, value), None, "{name}: {value}");
    }
}

#[test]
fn the_longest_prefix_has_the_request() {
    let mounts = mounts();
    let prefix = |target: &str| match route(&mounts, target) {
        Routed::To(mount, _) => Some(mount.prefix.as_str()),
        Routed::Nowhere(_) => None,
    };
    assert_eq!(prefix("/account"), Some(""));
    assert_eq!(prefix("/human/account"), Some("/human"));
    assert_eq!(prefix("/hum%61n/account"), Some("/human"));
    assert_eq!(prefix("/human/machine/status"), Some("/human/machine"));
    // Not handed to a mount where a caller proves itself in another way.
    assert_eq!(prefix("/human/machine/account"), None);
    assert_eq!(prefix("/humans/account"), None);
}

proptest! {
    #[test]
    fn whatever_is_asked_for_is_answered(target in "/(account|meta-data|latest|%2e|[a-z?&=%/]|\\PC){0,12}", user in "\\PC{0,20}") {
        let answer = get(&user, &target);
        prop_assert!([200, 403, 404].contains(&answer.status.as_u16()));
    }
}

#[test]
fn requests_for_approval_are_made_and_answered_by_post_on_mounts_of_people() {
    let mounts = mounts();
    let to = |target: &str| match route(&mounts, target) {
        Routed::To(_, route) => Some(route),
        Routed::Nowhere(_) => None,
    };
    let judged = |action| Some(Route::Judge { id: Id::of([0xab; 8]), action });
    let asked = Route::Ask { account: "shop".to_owned(), role: "admin".to_owned() };
    assert_eq!(to("/human/account/shop/admin/request"), Some(asked));
    assert_eq!(to("/requests"), Some(Route::Requests));
    for (word, action) in [("approve", Action::Approve), ("refuse", Action::Refuse), ("revoke", Action::Revoke)] {
        let target = format!("/requests/abababababababab/{word}");
        assert_eq!(to(&target), judged(action));
        assert_eq!(to(&format!("/human/machine{target}")), None, "not for hosts");
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::OPTIONS] {
            let answer = ask(&method, "alice", &target);
            assert_eq!((answer.status.as_u16(), answer.header(&ALLOW)), (405, Some("POST")), "{method}");
        }
    }
    assert_eq!(ask(&Method::POST, "alice", "/requests").header(&ALLOW), Some("GET"));
    for nowhere in [
        "/requests/",
        "/requests/abababababababab",
        "/requests/ABABABABABABABAB/approve",
        "/requests/ab/approve",
        "/requests/..%2f..%2faccount/approve",
        "/requests/abababababababab/approve/x",
        "/account//admin/request",
    ] {
        assert_eq!(to(nowhere), None, "{nowhere}");
    }
    // A page of another site can make a browser send this, but not hide where it comes from.
    let site = |name: &'static str, value: &'static str| {
        let headers: HeaderMap =
            [(HeaderName::from_static(name), HeaderValue::from_static(value))].into_iter().collect();
        check_site(&Route::Judge { id: Id::of([0; 8]), action: Action::Approve }, &headers).is_some()
    };
    assert!(site("origin", "https://evil.example") && site("origin", "null"));
    assert!(["cross-site", "same-site", "none"].into_iter().all(|value| site("sec-fetch-site", value)));
    assert!(!site("sec-fetch-site", "same-origin") && !site("user-agent", "curl"));
}
