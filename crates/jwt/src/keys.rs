//! The public keys of an issuer: a JSON Web Key Set, RFC 7517.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use tokio::sync::Notify;

use crate::{
    clock::Moment,
    refresh_request::RefreshRequest,
    token::{Demands, TokenError, Verified, verify},
};

/// The most keys of a set.
const MAX_KEYS: usize = 64;

/// RSA keys of fewer bits are not believed.
const MIN_RSA_BYTES: usize = 256;

/// One key.
pub struct PublicKey {
    /// Its id.
    pub(crate) id: Option<String>,
    /// What it may be used for. Never anything but signatures with a key pair.
    pub(crate) algorithms: &'static [Algorithm],
    pub(crate) key: DecodingKey,
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

/// A set is asked for again for the sake of an unknown key no more often than that.
const PAUSE: Duration = Duration::from_secs(10);

/// The keys of an issuer that are in force, shared by the requests and the side that fetches them.
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<ArcSwap<Vec<PublicKey>>>,
    refresh_request: Arc<RefreshRequest>,
    arrived: Arc<Notify>,
}

impl KeyRing {
    /// No keys yet. `arrived` is notified when they came.
    pub fn new(arrived: Arc<Notify>) -> Self {
        Self { keys: Arc::default(), refresh_request: Arc::new(RefreshRequest::new(PAUSE)), arrived }
    }

    /// The keys that are in force now. Each change makes others, even if they are the same.
    pub fn in_force(&self) -> Arc<Vec<PublicKey>> {
        self.keys.load_full()
    }

    /// Verifies a token.
    pub fn verify(&self, token: &str, demands: &Demands, now: Moment) -> Result<Verified, TokenError> {
        verify(token, &self.keys.load(), demands, now)
    }

    /// Asks for the keys to be fetched again, since one is unknown. Whether that is worth waiting for.
    pub fn request_refresh(&self, now: Moment) -> bool {
        self.refresh_request.request(now.boot)
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
        self.refresh_request.requested().await;
    }

    /// Lets the requests go on that wait for keys: there will be no others for now.
    pub fn fetched(&self) {
        self.refresh_request.done();
        self.arrived.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Issuer;

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
}
