//! The face by itself. The same over sockets is in `tests/conformance`.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::{
    credentials::{Credentials, Pattern, RoleArn, RoleId, RoleName, render_refusal},
    faces::tests::{credentials, held, name, now, peer, read, respond},
    jwt::{
        KeyOptions, KeySource,
        fake::{Issuer, encode, unsigned},
        parse_key_set,
    },
    policy::Grant,
    store::Store,
};

const ISSUER: &str = "https://kubernetes.default.svc";

fn seconds() -> i64 {
    now().wall.as_second()
}

/// A token of a pod, changed.
fn token(issuer: &Issuer, change: impl FnOnce(&mut Value, &mut Value)) -> String {
    let mut header = json!({"alg": "RS256", "kid": "r"});
    let mut claims = json!({
        "iss": ISSUER, "aud": ["pods.eks.amazonaws.com"], "sub": "system:serviceaccount:prod:web-1",
        "exp": seconds() + 3600, "nbf": seconds(), "iat": seconds(),
    });
    change(&mut header, &mut claims);
    issuer.sign(&header, &claims)
}

fn face(issuer: &Issuer) -> PodIdentity {
    let store = Store::shared();
    let [web, rest] = ["web", "rest"].map(name);
    store.publish_roles(&[web.clone(), rest.clone()]);
    let set = held(&Credentials { account_id: "111122223333".parse().ok(), ..credentials() });
    store.publish(&RoleId::named(&web), set);
    let association = |namespace: &str, service_account: &str, role: &RoleName| Association {
        namespace: Pattern::new(namespace),
        service_account: Pattern::new(service_account),
        role: role.clone(),
        session_tags: true,
    };
    let options = Options {
        issuer: ISSUER.into(),
        audience: "pods.eks.amazonaws.com".into(),
        leeway: Duration::from_mins(1),
        associations: vec![association("prod", "web-*", &web), association("stage", "*", &rest)],
        service_accounts: None,
        session_tags: None,
        keys: KeyOptions { source: KeySource::File("/keys".into()), refresh: Duration::from_mins(5) },
    };
    let (face, ring) = PodIdentity::new(options, vec![[127, 0, 0, 1].into()], Shared::of(store));
    ring.replace(parse_key_set(issuer.keys().to_string().as_bytes()).expect("a set"));
    face
}

fn ask_at(face: &PodIdentity, head: &str, now: Moment) -> (u16, String) {
    read(respond((FACE, face), head, (&peer(), &Grant::Everything), now))
}

fn with(face: &PodIdentity, token: &str) -> (u16, String) {
    ask_at(face, &format!("GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}"), now())
}

#[test]
fn a_service_account_gets_the_role_that_is_associated_with_it() {
    let issuer = Issuer::new();
    let face = face(&issuer);
    for (algorithm, kid) in [("RS256", "r"), ("ES256", "e")] {
        let token = token(&issuer, |header, _| *header = json!({"alg": algorithm, "kid": kid}));
        let expected = r#"{"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"secret","Token":"token","AccountId":"111122223333","Expiration":"2026-11-23T11:00:00Z"}"#;
        assert_eq!(with(&face, &token), (200, expected.to_owned()), "{algorithm}");
    }
    // The first fetch of the other role is still under way.
    assert_eq!(with(&face, &token(&issuer, |_, claims| claims["sub"] = "system:serviceaccount:stage:x".into())).0, 0);
    let (status, body) =
        with(&face, &token(&issuer, |_, claims| claims["sub"] = "system:serviceaccount:prod:db".into()));
    assert!(status == 404 && body.contains("prod/db") && body.ends_with('\n'), "{body}");
}

#[test]
fn a_token_that_waits_is_not_verified_again_but_never_believed_for_longer() {
    let issuer = Issuer::new();
    let face = face(&issuer);
    let keys = || parse_key_set(issuer.keys().to_string().as_bytes()).expect("a set");
    let waits = token(&issuer, |_, claims| {
        claims["sub"] = "system:serviceaccount:stage:x".into();
        claims["exp"] = json!(seconds() + 1);
    });
    let is_known = |token: &str| {
        let keys = face.keys.in_force();
        face.recent.find(token, &keys, &face.demands, now()).is_some()
    };
    assert!(with(&face, &waits).0 == 0 && is_known(&waits));
    assert_eq!(with(&face, &waits).0, 0);
    let gets = token(&issuer, |_, _| {});
    assert!(with(&face, &gets).0 == 200 && !is_known(&gets), "what does not wait is not remembered");
    face.keys.replace(keys());
    assert!(!is_known(&waits) && with(&face, &waits).0 == 0 && is_known(&waits));
    face.keys.replace(Vec::new());
    face.keys.fetched();
    assert!(!is_known(&waits));
    face.keys.request_refresh(now());
    face.keys.fetched();
    assert_eq!(with(&face, &waits).0, 400, "there is no such key any more");
}

#[test]
fn whoever_has_proved_who_it_is_is_named_where_it_is_refused() {
    let issuer = Issuer::new();
    let face = face(&issuer);
    let pod = |token: &str, grant: &Grant| {
        let head = format!("GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}");
        let Outcome::Answer(answer) = respond((FACE, &face), &head, (&peer(), grant), now()) else { panic!() };
        assert!(answer.issued.is_none());
        (answer.denied, answer.pod.map(|pod| pod.to_string()))
    };
    let token = bound(&issuer, "web-0", "7");
    let named = Some("pod prod/web-0, service account web-1".to_owned());
    assert_eq!(pod(&token, &Grant::Denied), (Some(Denial::Policy), named));
    let mut changed = token;
    changed.replace_range(changed.len() - 5.., "AAAAA");
    assert_eq!(pod(&changed, &Grant::Everything), (Some(Denial::BadToken), None));
}

/// A token that is bound to a pod.
fn bound(issuer: &Issuer, pod: &str, uid: &str) -> String {
    token(issuer, |_, claims| {
        claims["kubernetes.io"] = json!({
            "namespace": "prod", "serviceaccount": {"name": "web-1", "uid": "s"}, "pod": {"name": pod, "uid": uid},
        });
    })
}

/// The roles that are assumed.
fn assumed() -> Arc<[(RoleArn, RoleName)]> {
    ["web", "alone"]
        .map(|role| (format!("arn:aws:iam::111122223333:role/{role}").parse().expect("an ARN"), name(role)))
        .into()
}

/// Has sessions in the store, as the refresher does.
struct Stored(Arc<Store>);

impl SessionFetcher for Stored {
    fn ensure(&self, session: &PodSession) -> RoleId {
        let id = RoleId::from_inputs("tagged", &[("name", &session.name), ("uid", &session.tags[3].1)]);
        self.0.add_unlisted(&id, &session.role);
        id
    }

    fn release(&self, id: &RoleId) {
        self.0.remove_unlisted(id);
    }
}

#[test]
fn each_pod_gets_its_own_session_and_never_what_others_have() {
    let issuer = Issuer::new();
    let (mut face, tags) = (face(&issuer), SessionTags::of_no_cluster());
    face.options.session_tags = Some(tags);
    let store = Arc::clone(&face.shared.store);
    let face = face.with_sessions(&Sessions::new(Stored(Arc::clone(&store))), &assumed());
    let [one, two] = [("web-a", "1"), ("web-b", "2")].map(|(pod, uid)| bound(&issuer, pod, uid));
    assert_eq!((with(&face, &one).0, with(&face, &two).0), (0, 0), "what all share is there, and is not given");
    let snapshot = store.snapshot();
    let [first, second] = snapshot.unlisted() else { panic!("{:?}", snapshot.unlisted()) };
    let set = |key: &str| held(&Credentials { access_key_id: key.to_owned(), ..credentials() });
    store.publish(&first.id(), set("ASIAFIRST"));
    assert!(with(&face, &one).1.contains("ASIAFIRST") && with(&face, &two).0 == 0);
    store.publish(&second.id(), Slot::Denied(render_refusal("AccessDenied", "sts:TagSession", now().wall).into()));
    let (status, body) = with(&face, &two);
    assert!(status == 403 && body.contains("sts:TagSession"), "{status} {body}");
    store.publish(&second.id(), set("ASIASECOND"));
    assert!(with(&face, &one).1.contains("ASIAFIRST") && with(&face, &two).1.contains("ASIASECOND"));
    assert_eq!(store.snapshot().unlisted().len(), 2);
    // Whom it is for is recorded.
    let head = format!("GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {two}");
    let Outcome::Answer(answer) = respond((FACE, &face), &head, (&peer(), &Grant::Everything), now()) else { panic!() };
    let (issued, pod) = (answer.issued.expect("credentials"), answer.pod.expect("a pod"));
    assert_eq!((issued.role.as_str(), pod.session_name.as_deref()), ("web", Some("prod+web-1+web-b")));
    assert_eq!((pod.name.as_deref(), pod.uid.as_deref()), (Some("web-b"), Some("2")));
    // A token of no pod, or of a pod of another account.
    let unbound = token(&issuer, |_, _| {});
    let other = token(&issuer, |_, claims| {
        claims["kubernetes.io"] = json!({
            "namespace": "stage", "serviceaccount": {"name": "web-1"}, "pod": {"name": "web-a", "uid": "1"},
        });
    });
    for token in [unbound, other] {
        let (status, body) = with(&face, &token);
        assert!(status == 400 && body.contains("not bound to a pod"), "{status} {body}");
    }
    // A caller that may not have the role gets no session of it either.
    let web = RoleId::named(&name("web"));
    for (grant, status) in [
        (Grant::Denied, 404),
        (Grant::Roles([RoleId::named(&name("rest"))].into()), 404),
        (Grant::Roles([web].into()), 200),
        (Grant::Pending, 0),
    ] {
        assert_eq!(read(respond((FACE, &face), &head, (&peer(), &grant), now())).0, status, "{grant:?}");
    }
}

#[test]
fn a_role_that_is_not_shared_has_sessions_of_pods_and_nothing_else() {
    let issuer = Issuer::new();
    let mut face = face(&issuer);
    face.options.session_tags = Some(SessionTags::of_no_cluster());
    let store = Arc::clone(&face.shared.store);
    let (one, other) = (bound(&issuer, "web-a", "1"), bound(&issuer, "web-b", "2"));
    face.options.associations[0].role = name("alone");
    let face = face.with_sessions(&Sessions::new(Stored(Arc::clone(&store))), &assumed());
    assert_eq!(with(&face, &one).0, 0);
    let set = held(&Credentials { access_key_id: "ASIAALONE".to_owned(), ..credentials() });
    store.publish(&store.snapshot().unlisted()[0].id(), set);
    assert!(with(&face, &one).1.contains("ASIAALONE") && with(&face, &other).0 == 0);
    assert!(store.snapshot().role("alone").is_none());
}

#[test]
fn an_association_without_session_tags_shares_the_session_of_the_role() {
    let issuer = Issuer::new();
    let mut face = face(&issuer);
    face.options.session_tags = Some(SessionTags::of_no_cluster());
    face.options.associations[0].session_tags = false;
    let store = Arc::clone(&face.shared.store);
    let face = face.with_sessions(&Sessions::new(Stored(Arc::clone(&store))), &assumed());
    for token in [bound(&issuer, "web-a", "1"), token(&issuer, |_, _| {})] {
        assert!(with(&face, &token).1.contains("ASIAEXAMPLE"));
    }
    assert!(store.snapshot().unlisted().is_empty());
}

#[test]
fn tokens_that_are_not_to_be_believed_are_refused_with_a_text() {
    let issuer = Issuer::new();
    let face = face(&issuer);
    let refused = |token: &str, part: &str| {
        let (status, body) = with(&face, token);
        assert!(status == 400 && body.contains(part), "{part}: {status} {body}");
    };
    refused("", "Service account token cannot be empty\n");
    for token in ["x", "a.b.c", "e30.e30.e30", &"a".repeat(9000)] {
        refused(token, "cannot be parsed");
    }
    let claim = |key: &'static str, value: Value| token(&issuer, move |_, claims| claims[key] = value);
    refused(&claim("exp", json!(seconds() - 61)), "token is expired");
    assert_eq!(with(&face, &claim("exp", json!(seconds() - 59))).0, 200);
    refused(&claim("nbf", json!(seconds() + 61)), "not valid yet");
    assert_eq!(with(&face, &claim("nbf", json!(seconds() + 59))).0, 200);
    refused(&claim("aud", json!("sts.amazonaws.com")), "invalid audience");
    refused(&claim("aud", Value::Null), "invalid audience");
    refused(&claim("iss", json!("https://evil.example")), "invalid issuer");
    refused(&claim("iss", json!([ISSUER])), "invalid issuer");
    for critical in [json!([]), json!(["exp"]), Value::Null] {
        refused(&token(&issuer, |header, _| header["crit"] = critical), "cannot be parsed");
    }
    refused(&claim("sub", json!("system:node:x")), "invalid subject");
    refused(&claim("exp", Value::Null), "cannot be parsed");
    refused(&claim("exp", json!("soon")), "cannot be parsed");
    let other = Issuer::new();
    refused(&token(&other, |_, _| {}), "signature is invalid");
    refused(&token(&other, |header, _| *header = json!({"alg": "ES256", "kid": "e"})), "signature is invalid");
    let mut changed = token(&issuer, |_, _| {});
    changed.replace_range(changed.len() - 5.., "AAAAA");
    refused(&changed, "signature is invalid");
}

#[test]
fn the_key_says_which_algorithm_is_possible_and_never_the_token() {
    let issuer = Issuer::new();
    let face = face(&issuer);
    let claims = json!({"iss": ISSUER, "aud": "pods.eks.amazonaws.com", "sub": "system:serviceaccount:prod:web-1",
                        "exp": seconds() + 60});
    for (header, part) in [
        (json!({"alg": "RS512", "kid": "r"}), "the algorithm is not that of the key"),
        (json!({"alg": "ES256", "kid": "r"}), "the algorithm is not that of the key"),
        (json!({"alg": "HS256", "kid": "r"}), "the algorithm is not that of the key"),
        (json!({"alg": "RS256", "kid": "e"}), "the algorithm is not that of the key"),
        (json!({"alg": "none", "kid": "r"}), "cannot be parsed"),
        (json!({"alg": "None", "kid": "r"}), "cannot be parsed"),
        (json!({"kid": "r"}), "cannot be parsed"),
    ] {
        let (status, body) = with(&face, &issuer.sign(&header, &claims));
        assert!(status == 400 && body.contains(part), "{header}: {body}");
        // The same without a signature, and with one that a public key made as if it was a secret.
        let message = unsigned(&header, &claims);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, issuer.keys().to_string().as_bytes());
        let mac = encode(aws_lc_rs::hmac::sign(&key, message.as_bytes()));
        for token in [format!("{message}."), format!("{message}.{mac}")] {
            assert_eq!(with(&face, &token).0, 400, "{header}");
        }
    }
    // Secrets in the set are no keys, and one that is not known is asked for, but not again and again.
    for kid in ["o", "broken", "odd", "new"] {
        let token = issuer.sign(&json!({"alg": "RS256", "kid": kid}), &claims);
        assert_eq!(with(&face, &token).0, 0, "{kid}");
    }
    face.keys.fetched();
    let token = issuer.sign(&json!({"alg": "RS256", "kid": "new"}), &claims);
    assert_eq!(with(&face, &token).0, 400);
    let without = issuer.sign(&json!({"alg": "RS256"}), &claims);
    assert_eq!(with(&face, &without).0, 400, "two keys, and none is named");
}

#[test]
fn only_the_agents_addresses_are_answered() {
    let issuer = Issuer::new();
    let face = face(&issuer);
    let token = token(&issuer, |_, _| {});
    let ask = |path: &str, rest: &str| {
        ask_at(&face, &format!("GET {path} HTTP/1.1\r\nAuthorization: {token}\r\n{rest}"), now()).0
    };
    for host in ["169.254.170.23", "169.254.170.23:80", "[fd00:ec2::23]", "[fd00:ec2::23]:80", "127.0.0.1:1"] {
        assert_eq!(ask("/v1/credentials", &format!("Host: {host}")), 200, "{host}");
    }
    for host in ["evil.example", "169.254.170.2", "localhost", "", "169.254.170.23.evil.example", "[::1]"] {
        assert_eq!(ask("/v1/credentials", &format!("Host: {host}")), 403, "{host}");
    }
    let host = "Host: 169.254.170.23\r\n";
    assert_eq!(ask("/v1/credentials", "a: b"), 403, "no host");
    for header in ["X-Forwarded-For: 1.2.3.4", "Origin: http://169.254.170.23", "Referer: http://x/"] {
        assert_eq!(ask("/v1/credentials", &format!("{host}{header}")), 403, "{header}");
    }
    assert_eq!(ask("http://evil.example/v1/credentials", host), 403);
    for path in ["/", "/v1", "/v1/credentials/x", "/v2/credentials"] {
        assert_eq!(ask(path, host), 404, "{path}");
    }
    assert_eq!(ask("/v1/credentials/?x", host), 200);
}
