//! With an issuer of the tests' own, and tokens of the shape of real ones.

use std::sync::Arc;

use alppaca_jwt::{
    fake::{Issuer, encode, unsigned},
    parse_key_set,
};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use super::*;
use crate::{Peer, clock::SystemClock};

const ISSUER: &str = "https://token.example.com";
const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn settings() -> Settings {
    Settings {
        name: "ci".to_owned(),
        demands: Demands {
            issuer: Some(ISSUER.to_owned()),
            audiences: vec!["ims".to_owned()],
            algorithms: None,
            leeway: Duration::from_mins(1),
        },
        trust_domain: None,
        name_claim: "sub".to_owned(),
        groups_claim: Some("groups".to_owned()),
    }
}

fn method(issuer: &Issuer, settings: Settings) -> Jwt {
    let ring = KeyRing::new(Arc::default());
    ring.replace(parse_key_set(issuer.keys().to_string().as_bytes()).expect("a set"));
    Jwt::new(settings, ring, SystemClock::shared())
}

fn prove(method: &Jwt, headers: &[&str]) -> Result<Option<Identity>, Refusal> {
    let mut map = HeaderMap::new();
    for value in headers {
        map.append(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
    }
    let peer = Peer::Tcp([192, 0, 2, 1].into());
    let evidence =
        Evidence { peer: &peer, certificates: &[], method: &Method::GET, path: "/", headers: &map, now: now() };
    method.prove(&evidence)
}

/// A token with claims in addition to those that all have.
fn token(issuer: &Issuer, more: &Value) -> String {
    let mut claims = json!({"iss": ISSUER, "sub": "web", "aud": "ims", "exp": NOW + 600, "iat": NOW - 30});
    claims.as_object_mut().expect("a mapping").extend(more.as_object().expect("a mapping").clone());
    issuer.sign(&json!({"alg": "RS256", "kid": "r", "typ": "JWT"}), &claims)
}

fn accepted(issuer: &Issuer, settings: Settings, more: &Value) -> Identity {
    let bearer = format!("Bearer {}", token(issuer, more));
    prove(&method(issuer, settings), &[&bearer]).expect("accepted").expect("a proof")
}

fn refused(issuer: &Issuer, settings: Settings, token: &str) -> String {
    match prove(&method(issuer, settings), &[&format!("Bearer {token}")]) {
        Err(Refusal::Refused(text)) => text,
        other => panic!("{token}: {other:?}"),
    }
}

#[test]
fn a_person_is_known_by_an_id_token() {
    let issuer = Issuer::new();
    let claims = json!({"groups": ["dev", "ops"], "auth_time": NOW - 90, "jti": "t-1", "amr": ["pwd", "otp"], "admin": true,
                        "level": 3, "nothing": null});
    let alice = accepted(&issuer, settings(), &claims);
    assert_eq!((&*alice.name, &*alice.names, alice.method), ("web", &["web".to_owned()][..], "jwt"));
    assert_eq!(alice.groups, ["dev", "ops"]);
    assert_eq!(alice.authenticated_at, Some(now() - Duration::from_secs(90)));
    assert_eq!(alice.age, Some(Duration::from_secs(30)));
    assert_eq!(alice.proof, "jti \"t-1\", kid \"r\"");
    let claim = |name: &str| alice.claims[name].join("|");
    assert_eq!([claim("amr"), claim("admin"), claim("level"), claim("nothing")], ["pwd|otp", "true", "3", ""]);
}

#[test]
fn claims_inside_of_claims_have_a_dot() {
    let issuer = Issuer::new();
    let pod = json!({
        "sub": "system:serviceaccount:prod:web",
        "kubernetes.io": {"namespace": "prod", "pod": {"name": "web-1"}, "serviceaccount": {"name": "web"}},
    });
    let by_pod = Settings { name_claim: "kubernetes.io.pod.name".to_owned(), ..settings() };
    let pod = accepted(&issuer, by_pod, &pod);
    assert_eq!((&*pod.name, &*pod.claims["kubernetes.io.namespace"]), ("web-1", &["prod".to_owned()][..]));
    let twice = token(&issuer, &json!({"a.b": "x", "a": {"b": "y"}}));
    assert!(refused(&issuer, settings(), &twice).contains("have the same name"));
    let mut deep = json!("x");
    for _ in 0..9 {
        deep = json!({"a": deep});
    }
    assert!(refused(&issuer, settings(), &token(&issuer, &json!({"deep": deep}))).contains("too deep"));
}

#[test]
fn a_workload_of_spiffe_needs_no_issuer() {
    let issuer = Issuer::new();
    let mut of_domain = Settings { trust_domain: Some("example.org".to_owned()), ..settings() };
    of_domain.demands.issuer = None;
    let svid = json!({"iss": null, "sub": "spiffe://example.org/web"});
    assert_eq!(accepted(&issuer, of_domain.clone(), &svid).name, "spiffe://example.org/web");
    for subject in ["spiffe://other.org/web", "spiffe://example.org", "web", "spiffe://example.org.evil/web"] {
        let bearer = format!("Bearer {}", token(&issuer, &json!({"sub": subject})));
        assert_eq!(prove(&method(&issuer, of_domain.clone()), &[&bearer]), Ok(None), "{subject}");
    }
    // With an issuer, too, both have to be right.
    let both = Settings { trust_domain: Some("example.org".to_owned()), ..settings() };
    assert!(refused(&issuer, both, &token(&issuer, &json!({}))).contains("is not the SPIFFE ID"));
}

#[test]
fn what_is_for_other_methods_is_passed_over() {
    let issuer = Issuer::new();
    let ci = method(&issuer, settings());
    let other = format!("Bearer {}", token(&issuer, &json!({"iss": "https://other"})));
    for headers in [&[][..], &["Basic YTpi"], &["Bearer"], &["Alppaca-Token x"], &[&other]] {
        assert_eq!(prove(&ci, headers), Ok(None), "{headers:?}");
    }
    assert_eq!(ci.challenge().as_deref(), Some("Bearer"));
    let right = token(&issuer, &json!({}));
    assert!(matches!(prove(&ci, &[&format!("bEARER  {right} ")]), Ok(Some(_))));
}

#[test]
fn wrong_tokens_are_refused_and_never_passed_over() {
    let issuer = Issuer::new();
    let with = |more: Value, part: &str| {
        let text = refused(&issuer, settings(), &token(&issuer, &more));
        assert!(text.contains(part), "{more}: {text}");
    };
    with(json!({"aud": "other"}), "for another audience");
    with(json!({"aud": ["a", "b"]}), "for another audience");
    with(json!({"aud": null}), "for another audience");
    with(json!({"exp": NOW - 61}), "has expired");
    with(json!({"exp": null}), "malformed");
    with(json!({"nbf": NOW + 61}), "not valid yet");
    with(json!({"iat": NOW + 61}), "iat of the token is in the future");
    with(json!({"auth_time": NOW + 61}), "auth_time of the token is in the future");
    with(json!({"auth_time": "yesterday"}), "auth_time of the token is not a time");
    with(json!({"auth_time": -1}), "auth_time of the token is not a time");
    with(json!({"sub": "a\nb"}), "is not a name");
    with(json!({"sub": "a".repeat(257)}), "is not a name");
    with(json!({"sub": ""}), "has no subject");
    with(json!({"groups": ["a", ""]}), "a group that is empty");
    let text = refused(&issuer, settings(), &format!("{}.e30.e30", "a".repeat(20_000)));
    assert!(text.contains("malformed") && text.len() < 200, "{text}");
    assert!(refused(&Issuer::new(), settings(), &token(&issuer, &json!({}))).contains("signature is wrong"));
    assert!(accepted(&issuer, settings(), &json!({"aud": ["other", "ims"]})).groups.is_empty());
    let right = format!("Bearer {}", token(&issuer, &json!({})));
    for headers in [&[&*right, &right][..], &[&right, "Basic YTpi"], &["Basic YTpi", &right]] {
        let text = prove(&method(&issuer, settings()), headers).expect_err("two headers").to_string();
        assert!(text.contains("comes more than once"), "{text}");
    }
}

#[test]
fn a_header_cannot_choose_how_it_is_judged() {
    let issuer = Issuer::new();
    let claims = json!({"iss": ISSUER, "sub": "root", "aud": "ims", "exp": NOW + 600});
    for (header, part) in [
        (json!({"alg": "none"}), "malformed"),
        (json!({"alg": "HS256", "kid": "r"}), "algorithm is not one of its key"),
        (json!({"alg": "ES256", "kid": "r"}), "algorithm is not one of its key"),
        (json!({"alg": "RS256", "kid": "r", "crit": ["exp"]}), "malformed"),
        (json!({"alg": "RS256", "kid": "r", "typ": "logout+jwt"}), "the type \"logout+jwt\""),
    ] {
        let text = refused(&issuer, settings(), &issuer.sign(&header, &claims));
        assert!(text.contains(part), "{header}: {text}");
    }
    // The public key as the secret of a MAC.
    let message = unsigned(&json!({"alg": "HS256", "kid": "r"}), &claims);
    let public = issuer.keys().to_string();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, public.as_bytes());
    let forged = format!("{message}.{}", encode(aws_lc_rs::hmac::sign(&key, message.as_bytes())));
    assert!(refused(&issuer, settings(), &forged).contains("algorithm"));
    let mut only = settings();
    only.demands.algorithms = Some(vec![alppaca_jwt::Algorithm::ES256]);
    assert!(refused(&issuer, only, &token(&issuer, &json!({}))).contains("is not accepted"));
    for kind in ["JWT", "application/at+jwt", "jose"] {
        let signed = issuer.sign(&json!({"alg": "RS256", "kid": "r", "typ": kind}), &claims);
        assert!(prove(&method(&issuer, settings()), &[&format!("Bearer {signed}")]).is_ok(), "{kind}");
    }
}

#[test]
fn an_unknown_key_is_asked_for_but_not_again_and_again() {
    let issuer = Issuer::new();
    let ring = KeyRing::new(Arc::default());
    let ci = Jwt::new(settings(), ring.clone(), SystemClock::shared());
    let right = format!("Bearer {}", token(&issuer, &json!({})));
    for _ in 0..2 {
        assert!(matches!(prove(&ci, &[&right]), Err(Refusal::Unavailable(_))), "there are no keys yet");
        ring.fetched();
    }
    ring.replace(parse_key_set(issuer.keys().to_string().as_bytes()).expect("a set"));
    assert!(matches!(prove(&ci, &[&right]), Ok(Some(_))));
    let claims = json!({"iss": ISSUER, "sub": "web", "aud": "ims", "exp": NOW + 600});
    let other = format!("Bearer {}", issuer.sign(&json!({"alg": "RS256", "kid": "new"}), &claims));
    let text = prove(&ci, &[&other]).expect_err("unknown").to_string();
    assert!(text.contains("no key of the issuer"), "the pause is not over: {text}");
}

#[test]
fn an_address_has_to_be_verified_by_the_issuer() {
    let issuer = Issuer::new();
    let by_address = Settings { name_claim: "email".to_owned(), ..settings() };
    let accepted = |more: Value| accepted(&issuer, by_address.clone(), &more).name;
    assert_eq!(accepted(json!({"email": "alice@example.com", "email_verified": true})), "alice@example.com");
    assert_eq!(accepted(json!({"email": "alice@example.com"})), "alice@example.com");
    for (more, part) in [
        (json!({"email": "alice@example.com", "email_verified": false}), "has not verified"),
        (json!({"email": ["a@example.com", "b@example.com"]}), "has 2 values of the claim email"),
        (json!({}), "has 0 values of the claim email"),
    ] {
        let text = refused(&issuer, by_address.clone(), &token(&issuer, &more));
        assert!(text.contains(part), "{text}");
    }
}
