//! The public keys that the tokens of service accounts are signed with: a JSON Web Key Set, RFC 7517.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use tokio::sync::Notify;

use crate::faces::wish::Wish;

/// The most keys of a set.
const MAX_KEYS: usize = 64;

/// RSA keys of fewer bits are not believed.
const MIN_RSA_BYTES: usize = 256;

/// One key.
pub struct PublicKey {
    /// Its id.
    pub(super) id: Option<String>,
    /// What it may be used for. Never anything but signatures with a key pair.
    pub(super) algorithms: &'static [Algorithm],
    pub(super) key: DecodingKey,
}

/// Reads a set. Keys that are no public keys for signatures are left out; that is no error.
pub fn parse_key_set(text: &[u8]) -> Result<Vec<PublicKey>, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(text)?;
    Ok(set.keys.into_iter().take(MAX_KEYS).filter_map(|value| read_key(serde_json::from_value(value).ok()?)).collect())
}

fn read_key(jwk: Jwk) -> Option<PublicKey> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let possible: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if rsa.n.len() * 3 / 4 >= MIN_RSA_BYTES => &RSA,
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[Algorithm::EdDSA],
        // Secrets, and what is not known.
        _ => return None,
    };
    let algorithms = match jwk.common.key_algorithm {
        None => possible,
        Some(named) => possible.iter().position(|known| name_of(*known) == Some(named)).map(|i| &possible[i..=i])?,
    };
    let key = DecodingKey::from_jwk(&jwk).ok()?;
    Some(PublicKey { id: jwk.common.key_id, algorithms, key })
}

static RSA: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

fn name_of(algorithm: Algorithm) -> Option<KeyAlgorithm> {
    Some(match algorithm {
        Algorithm::RS256 => KeyAlgorithm::RS256,
        Algorithm::RS384 => KeyAlgorithm::RS384,
        Algorithm::RS512 => KeyAlgorithm::RS512,
        Algorithm::PS256 => KeyAlgorithm::PS256,
        Algorithm::PS384 => KeyAlgorithm::PS384,
        Algorithm::PS512 => KeyAlgorithm::PS512,
        Algorithm::ES256 => KeyAlgorithm::ES256,
        Algorithm::ES384 => KeyAlgorithm::ES384,
        Algorithm::EdDSA => KeyAlgorithm::EdDSA,
        _ => return None,
    })
}

/// The keys that the face believes in, for the side that fetches them.
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<ArcSwap<Vec<PublicKey>>>,
    wish: Arc<Wish>,
    arrived: Arc<Notify>,
}

impl KeyRing {
    pub(super) fn new(keys: Arc<ArcSwap<Vec<PublicKey>>>, wish: Arc<Wish>, arrived: Arc<Notify>) -> Self {
        Self { keys, wish, arrived }
    }

    /// Whether there is no key yet.
    pub fn is_empty(&self) -> bool {
        self.keys.load().is_empty()
    }

    /// Believes in these keys from now on.
    pub fn replace(&self, keys: Vec<PublicKey>) {
        self.keys.store(Arc::new(keys));
    }

    /// Waits until a request needs the keys to be fetched again.
    pub async fn wanted(&self) {
        self.wish.expressed().await;
    }

    /// Lets the requests go on that wait for keys: there will be no others for now.
    pub fn fetched(&self) {
        self.wish.granted();
        self.arrived.notify_waiters();
    }
}
