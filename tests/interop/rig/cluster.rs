//! A Kubernetes cluster, as far as it signs the tokens of service accounts.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Value, json};

pub const ISSUER: &str = "https://kubernetes.default.svc";

pub struct Cluster {
    key: EcdsaKeyPair,
}

impl Cluster {
    pub fn new() -> Self {
        Self { key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key") }
    }

    /// The issuer's JWKS.
    pub fn keys(&self) -> String {
        let point = self.key.public_key().as_ref();
        let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
        let key = json!({"kty": "EC", "kid": "1", "use": "sig", "alg": "ES256", "crv": "P-256", "x": x, "y": y});
        json!({ "keys": [key] }).to_string()
    }

    /// The token of the account `web` in `prod`, for an hour.
    pub fn token(&self) -> String {
        let now = Timestamp::now().as_second();
        let claims = json!({
            "iss": ISSUER, "aud": ["pods.eks.amazonaws.com"], "sub": "system:serviceaccount:prod:web",
            "exp": now + 3600, "nbf": now, "iat": now,
            "kubernetes.io": {"namespace": "prod", "serviceaccount": {"name": "web", "uid": "u"}},
        });
        self.sign(&claims)
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let part = |value: &Value| encode(value.to_string().as_bytes());
        let message = format!("{}.{}", part(&json!({"alg": "ES256", "kid": "1"})), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
        format!("{message}.{}", encode(signature.as_ref()))
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
