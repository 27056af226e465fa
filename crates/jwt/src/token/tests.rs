//! Tokens that are not to be believed. More of them are in the tests of those who use this.

use aws_lc_rs::hmac;
use serde_json::json;

use super::*;
use crate::{
    fake::{Issuer, encode, unsigned},
    parse_key_set,
};

const NOW: i64 = 1_800_000_000;

fn demands() -> Demands {
    Demands {
        issuer: Some("https://issuer".to_owned()),
        audiences: vec!["ims".to_owned(), "ims.example.com".to_owned()],
        algorithms: None,
        leeway: Duration::from_mins(1),
    }
}

fn judge(issuer: &Issuer, token: &str, demands: &Demands) -> Result<Verified, TokenError> {
    let keys = parse_key_set(issuer.keys().to_string().as_bytes()).expect("a set");
    let now = Moment { wall: jiff::Timestamp::from_second(NOW).expect("a time"), ..clock_at_boot() };
    verify(token, &keys, demands, now)
}

fn clock_at_boot() -> Moment {
    use crate::clock::{Clock as _, SystemClock};
    SystemClock.now()
}

/// A token that is right, but for one claim.
fn with(issuer: &Issuer, name: &str, value: Value) -> Result<Verified, TokenError> {
    let mut claims = json!({"iss": "https://issuer", "sub": "web", "aud": "ims", "exp": NOW + 600});
    claims[name] = value;
    judge(issuer, &issuer.sign(&json!({"alg": "ES256", "kid": "e", "typ": "JWT"}), &claims), &demands())
}

#[test]
fn a_token_is_believed_for_what_it_says() {
    let issuer = Issuer::new();
    let verified = with(&issuer, "team", json!(["a"])).expect("right");
    assert_eq!((verified.kind.as_deref(), verified.key_id.as_deref()), (Some("JWT"), Some("e")));
    assert_eq!(verified.claims["team"], json!(["a"]));
    for (name, value, error) in [
        ("iss", json!("https://other"), TokenError::Issuer),
        ("iss", json!(["https://issuer"]), TokenError::Issuer),
        ("iss", Value::Null, TokenError::Issuer),
        ("sub", Value::Null, TokenError::Subject),
        ("sub", json!(""), TokenError::Subject),
        ("sub", json!(["web"]), TokenError::Malformed),
        ("aud", json!("other"), TokenError::Audience),
        ("aud", json!(["other", "IMS"]), TokenError::Audience),
        ("aud", json!([]), TokenError::Audience),
        ("aud", Value::Null, TokenError::Audience),
        ("exp", json!(NOW - 60), TokenError::Expired),
        ("exp", Value::Null, TokenError::Malformed),
        ("exp", json!("tomorrow"), TokenError::Malformed),
        ("nbf", json!(NOW + 61), TokenError::TooEarly),
        ("nbf", json!("now"), TokenError::Malformed),
    ] {
        assert_eq!(with(&issuer, name, value.clone()).map(|_| ()), Err(error), "{name}: {value}");
    }
    for (name, value) in [
        ("aud", json!(["other", "ims.example.com"])),
        ("exp", json!(NOW - 59)),
        ("exp", json!(4_000_000_000.5)),
        ("nbf", json!(NOW + 59)),
        ("nbf", json!(NOW - 1)),
    ] {
        assert!(with(&issuer, name, value.clone()).is_ok(), "{name}: {value}");
    }
}

#[test]
fn the_key_says_which_algorithm_is_possible_and_never_the_token() {
    let issuer = Issuer::new();
    let claims = json!({"iss": "https://issuer", "sub": "web", "aud": "ims", "exp": NOW + 600});
    for header in [
        json!({"alg": "none", "kid": "r"}),
        json!({"alg": "None"}),
        json!({"kid": "r"}),
        json!({"alg": "HS256", "kid": "r"}),
        json!({"alg": "HS256", "kid": "o"}),
        json!({"alg": "ES256", "kid": "r"}),
        json!({"alg": "RS512", "kid": "r"}),
        json!({"alg": "RS256", "kid": "other"}),
        json!({"alg": "RS256"}),
        json!({"alg": "RS256", "kid": "r", "crit": []}),
        json!({"alg": "RS256", "kid": "r", "crit": ["b64"], "b64": false}),
        json!({"alg": "ES256", "kid": "e", "crit": null}),
    ] {
        let message = unsigned(&header, &claims);
        let mac = |secret: &[u8]| encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes()));
        let keys = issuer.keys();
        let modulus = keys["keys"][0]["n"].as_str().expect("a text");
        let signatures = [mac(keys.to_string().as_bytes()), mac(modulus.as_bytes()), mac(b"secret"), String::new()];
        let forged = signatures.iter().map(|signature| format!("{message}.{signature}"));
        for token in forged.chain([issuer.sign(&header, &claims)]) {
            assert!(judge(&issuer, &token, &demands()).is_err(), "{header}: {token}");
        }
    }
    let rsa = issuer.sign(&json!({"alg": "RS256", "kid": "r"}), &claims);
    assert!(judge(&issuer, &rsa, &demands()).is_ok());
    let only = Demands { algorithms: Some(vec![Algorithm::ES256]), ..demands() };
    assert_eq!(judge(&issuer, &rsa, &only).map(|_| ()), Err(TokenError::Algorithm));
    assert_eq!(judge(&Issuer::new(), &rsa, &demands()).map(|_| ()), Err(TokenError::Signature));
}

#[test]
fn what_is_no_token_is_refused() {
    let issuer = Issuer::new();
    let long = format!("{}.e30.e30", "a".repeat(MAX_BYTES));
    let five = "e30.e30.e30.e30.e30";
    for token in ["", ".", "..", "a.b.c", "e30.e30", "e30.e30.e30", five, &long, "é.é.é"] {
        assert_eq!(judge(&issuer, token, &demands()).map(|_| ()), Err(TokenError::Malformed), "{token}");
    }
    for token in ["", "a.b.c", "e30.e30", five, &long, "e30.W10.e30"] {
        assert_eq!(unverified_claims(token), None, "{token}");
    }
    assert_eq!(unverified_claims("e30.e30.x"), Some(Claims::new()));
}
