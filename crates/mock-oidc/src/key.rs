//! The key that signs tokens, and other random values.

use aws_lc_rs::{
    error::Unspecified,
    rand::{self, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A key on the curve P-256.
pub(super) struct Key {
    pair: EcdsaKeyPair,
    id: String,
}

impl Key {
    pub(super) fn new() -> Result<Self, Unspecified> {
        Ok(Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?, id: random()? })
    }

    /// The public half, as the only key of a set (RFC 7517).
    pub(super) fn set(&self) -> Value {
        // A byte for the form of the point, then both coordinates.
        let (x, y) = self.pair.public_key().as_ref().get(1..).unwrap_or_default().split_at(32);
        let (x, y) = (encode(x), encode(y));
        json!({"keys": [
            {"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": self.id, "use": "sig", "alg": "ES256"}
        ]})
    }

    /// A token with these claims (RFC 7515).
    pub(super) fn sign(&self, claims: &Value) -> Result<String, Unspecified> {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.id});
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), message.as_bytes())?;
        Ok(format!("{message}.{}", encode(signature)))
    }
}

/// 128 random bits as text.
pub(super) fn random() -> Result<String, Unspecified> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes)?;
    Ok(encode(bytes))
}

/// Base64 as in tokens.
pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
