//! The face by itself. The same over sockets is in `tests/conformance`.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::{
    caller::Peer,
    credentials::{Credentials, Pattern, RoleId, RoleName, Secret},
    http::request::{Parsed, parse},
    policy::Grant,
    store::{Phase, Published, State, Store},
};

const ISSUER: &str = "https://kubernetes.default.svc";

fn now() -> Moment {
    Moment { wall: "2026-11-23T10:00:00Z".parse().expect("a timestamp"), boot: Duration::from_hours(1) }
}

fn seconds() -> i64 {
    now().wall.as_second()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signs by hand, so that the library does not judge itself.
struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
}

impl Issuer {
    fn new() -> Self {
        let rsa = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
        Self { rsa, ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key") }
    }

    fn keys(&self) -> Value {
        let public = self.rsa.public_key();
        let point = self.ec.public_key().as_ref();
        json!({"keys": [
            {"kty": "RSA", "kid": "r", "use": "sig", "alg": "RS256",
             "n": encode(public.modulus().big_endian_without_leading_zero()),
             "e": encode(public.exponent().big_endian_without_leading_zero())},
            {"kty": "EC", "kid": "e", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..])},
            {"kty": "oct", "kid": "o", "k": encode("secret"), "alg": "HS256"},
            {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
            {"kty": "XYZ", "kid": "odd"},
        ]})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let random = SystemRandom::new();
        let signature = if header["kid"] == "e" {
            self.ec.sign(&random, message.as_bytes()).expect("a signature").as_ref().to_vec()
        } else {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).expect("a signature");
            signature
        };
        format!("{message}.{}", encode(signature))
    }

    fn token(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"alg": "RS256", "kid": "r"});
        let mut claims = json!({
            "iss": ISSUER, "aud": ["pods.eks.amazonaws.com"], "sub": "system:serviceaccount:prod:web-1",
            "exp": seconds() + 3600, "nbf": seconds(), "iat": seconds(),
        });
        change(&mut header, &mut claims);
        self.sign(&header, &claims)
    }
}

fn face(issuer: &Issuer) -> PodIdentity {
    let store = Store::shared();
    let [web, rest] = ["web", "rest"].map(|name| name.parse::<RoleName>().expect("a role name"));
    store.publish_roles(&[web.clone(), rest.clone()]);
    let credentials = Credentials {
        access_key_id: "ASIAEXAMPLE".into(),
        secret_access_key: Secret::new("secret"),
        session_token: Secret::new("token"),
        expiration: "2026-11-23T11:00:00Z".parse().expect("a timestamp"),
        last_updated: None,
        account_id: "111122223333".parse().ok(),
        role_arn: None,
    };
    let set = Arc::new(Published::new(&credentials, now()));
    store.publish(&RoleId::named(&web), State::Held { set, phase: Phase::Fresh });
    let association = |namespace: &str, service_account: &str, role: &RoleName| Association {
        namespace: Pattern::new(namespace),
        service_account: Pattern::new(service_account),
        role: role.clone(),
    };
    let options = Options {
        issuer: ISSUER.into(),
        audience: "pods.eks.amazonaws.com".into(),
        leeway: Duration::from_mins(1),
        associations: vec![association("prod", "web-*", &web), association("stage", "*", &rest)],
        keys: KeySource::File("/keys".into()),
        refresh: Duration::from_mins(5),
    };
    let (face, _ring) = PodIdentity::new(options, vec![[127, 0, 0, 1].into()], Shared::of(store));
    face.set_keys(parse_key_set(issuer.keys().to_string().as_bytes()).expect("a set"));
    face
}

fn ask_at(face: &PodIdentity, head: &str, now: Moment) -> (u16, String) {
    let text = format!("{head}\r\n\r\n");
    let Parsed::Whole(request, _) = parse(text.as_bytes()) else { panic!("{head}: not a request") };
    let peer = Peer::unasked(([127, 0, 0, 1], 1).into());
    match face.respond(
        &request,
        Visitor { listener: 0, peer: &peer, grant: &Grant::Everything, in_container: false },
        now,
    ) {
        Outcome::Answer(answer) | Outcome::Expired(answer) => {
            (answer.status.code(), String::from_utf8_lossy(answer.body.bytes()).into_owned())
        }
        Outcome::Warming | Outcome::Elsewhere => (0, String::new()),
    }
}

fn with(face: &PodIdentity, token: &str) -> (u16, String) {
    ask_at(face, &format!("GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}"), now())
}

#[test]
fn a_service_account_gets_the_role_that_is_associated_with_it() {
    let issuer = Issuer::new();
    let face = face(&issuer);
    for (algorithm, kid) in [("RS256", "r"), ("ES256", "e")] {
        let token = issuer.token(|header, _| *header = json!({"alg": algorithm, "kid": kid}));
        let expected = r#"{"AccessKeyId":"ASIAEXAMPLE","SecretAccessKey":"secret","Token":"token","AccountId":"111122223333","Expiration":"2026-11-23T11:00:00Z"}"#;
        assert_eq!(with(&face, &token), (200, expected.to_owned()), "{algorithm}");
    }
    // The first fetch of the other role is still under way.
    assert_eq!(with(&face, &issuer.token(|_, claims| claims["sub"] = "system:serviceaccount:stage:x".into())).0, 0);
    let (status, body) = with(&face, &issuer.token(|_, claims| claims["sub"] = "system:serviceaccount:prod:db".into()));
    assert!(status == 404 && body.contains("prod/db") && body.ends_with('\n'), "{body}");
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
    let claim = |key: &'static str, value: Value| issuer.token(move |_, claims| claims[key] = value);
    refused(&claim("exp", json!(seconds() - 61)), "token is expired");
    assert_eq!(with(&face, &claim("exp", json!(seconds() - 59))).0, 200);
    refused(&claim("nbf", json!(seconds() + 61)), "not valid yet");
    assert_eq!(with(&face, &claim("nbf", json!(seconds() + 59))).0, 200);
    refused(&claim("aud", json!("sts.amazonaws.com")), "invalid audience");
    refused(&claim("aud", Value::Null), "invalid audience");
    refused(&claim("iss", json!("https://evil.example")), "invalid issuer");
    refused(&claim("iss", json!([ISSUER])), "invalid issuer");
    for critical in [json!([]), json!(["exp"]), Value::Null] {
        refused(&issuer.token(|header, _| header["crit"] = critical), "cannot be parsed");
    }
    refused(&claim("sub", json!("system:node:x")), "invalid subject");
    refused(&claim("exp", Value::Null), "cannot be parsed");
    refused(&claim("exp", json!("soon")), "cannot be parsed");
    let other = Issuer::new();
    refused(&other.token(|_, _| {}), "signature is invalid");
    refused(&other.token(|header, _| *header = json!({"alg": "ES256", "kid": "e"})), "signature is invalid");
    let mut changed = issuer.token(|_, _| {});
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
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
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
    face.wish.granted();
    let token = issuer.sign(&json!({"alg": "RS256", "kid": "new"}), &claims);
    assert_eq!(with(&face, &token).0, 400);
    let without = issuer.sign(&json!({"alg": "RS256"}), &claims);
    assert_eq!(with(&face, &without).0, 400, "two keys, and none is named");
}

#[test]
fn only_the_agents_addresses_are_answered() {
    let issuer = Issuer::new();
    let face = face(&issuer);
    let token = issuer.token(|_, _| {});
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

#[test]
fn a_set_of_keys_is_read_as_far_as_it_is_of_use() {
    let keys = |text: &str| parse_key_set(text.as_bytes()).map(|keys| keys.len()).ok();
    assert_eq!(keys(&Issuer::new().keys().to_string()), Some(2));
    for (text, found) in [
        ("{\"keys\": []}", Some(0)),
        ("{}", None),
        ("[]", None),
        ("", None),
        ("<html>", None),
        (r#"{"keys": [1, null, {}]}"#, Some(0)),
        (r#"{"keys": [{"kty": "RSA", "kid": "short", "n": "AQAB", "e": "AQAB"}]}"#, Some(0)),
    ] {
        assert_eq!(keys(text), found, "{text}");
    }
}
