//! Whatever comes as a token is judged without a panic, and claims that an issuer has signed become texts.
#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use alppaca::clock::SystemClock;
use alppaca_identity::jwt::{Jwt, Settings};
use alppaca_identity::{Evidence, Identity, Peer, Prove as _};
use alppaca_jwt::fake::Issuer;
use alppaca_jwt::{Demands, KeyRing, parse_key_set};
use http::{HeaderMap, HeaderValue, Method, header};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

const NOW: u64 = 1_800_000_000;

fn site() -> &'static (Issuer, Jwt) {
    static SITE: OnceLock<(Issuer, Jwt)> = OnceLock::new();
    SITE.get_or_init(|| {
        let issuer = Issuer::new();
        let ring = KeyRing::new(Arc::default());
        ring.replace(parse_key_set(issuer.keys().to_string().as_bytes()).expect("a set"));
        let settings = Settings {
            name: "x".into(),
            demands: Demands {
                issuer: Some("i".into()),
                audiences: vec!["a".into()],
                algorithms: None,
                leeway: Duration::ZERO,
            },
            trust_domain: None,
            name_claim: "sub".into(),
            groups_claim: Some("groups".into()),
        };
        (issuer, Jwt::new(settings, ring, SystemClock::shared()))
    })
}

fn prove(jwt: &Jwt, token: &[u8]) -> Option<Identity> {
    let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
    let headers: HeaderMap = [(header::AUTHORIZATION, value)].into_iter().collect();
    let peer = Peer::Unix { uid: 0 };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    jwt.prove(&Evidence { peer: &peer, certificates: &[], method: &Method::GET, path: "/", headers: &headers, now })
        .ok()?
}

fuzz_target!(|input: &[u8]| {
    let (issuer, jwt) = site();
    assert!(prove(jwt, input).is_none(), "nobody has signed this");
    let Ok(Value::Object(mut claims)) = serde_json::from_slice(input) else { return };
    for (name, value) in [("iss", json!("i")), ("aud", json!("a")), ("exp", json!(NOW + 60))] {
        claims.entry(name).or_insert(value);
    }
    let token = issuer.sign(&json!({"alg": "ES256", "kid": "e"}), &Value::Object(claims));
    if let Some(identity) = prove(jwt, token.as_bytes()) {
        assert!(!identity.name.is_empty() && !identity.name.chars().any(char::is_control));
        assert!(identity.groups.iter().all(|group| !group.is_empty()));
    }
});
