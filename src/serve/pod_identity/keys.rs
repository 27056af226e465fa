//! The public keys that the tokens of service accounts are signed with: a JSON Web Key Set, RFC 7517.

use std::{fs, io::Read, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::{Method, StatusCode, header};
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::{
    clock,
    credentials::Secret,
    fetch::{Call, Client, Options, SetupError, parse_url},
    serve::wish::Wish,
};

/// The longest set, and the most keys of it.
const MAX_BYTES: usize = 256 * 1024;
const MAX_KEYS: usize = 64;
/// For one answer of whoever has the set.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How soon a failure is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// A set that is not there yet is asked for that often.
const FIRST_RETRY: Duration = Duration::from_secs(1);

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

/// Where the keys come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A file.
    File(PathBuf),
    /// A URL, such as `/openid/v1/jwks` of a Kubernetes API server.
    Url {
        /// The URL.
        url: String,
        /// Further certificate authorities.
        ca_file: Option<PathBuf>,
        /// A file with a token that is sent along as `Bearer`.
        token_file: Option<PathBuf>,
    },
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

/// Keeps the keys fresh, apart from the requests.
pub struct PublicKeys {
    source: KeySource,
    client: Option<Client>,
    interval: Duration,
    keys: Arc<ArcSwap<Vec<PublicKey>>>,
    wish: Arc<Wish>,
    arrived: Arc<Notify>,
    last: Vec<u8>,
}

impl PublicKeys {
    /// From `source`, at least every `interval`. `arrived` is told when they came.
    pub(super) fn new(
        source: KeySource,
        interval: Duration,
        keys: Arc<ArcSwap<Vec<PublicKey>>>,
        (wish, arrived): (Arc<Wish>, Arc<Notify>),
    ) -> Result<Self, SetupError> {
        let client = match &source {
            KeySource::File(_) => None,
            KeySource::Url { url, ca_file, .. } => {
                Some(Client::new(&parse_url("keys", url)?, &Options::direct(TIMEOUT, ca_file.clone()))?)
            }
        };
        Ok(Self { source, client, interval, keys, wish, arrived, last: Vec::new() })
    }

    /// Fetches them for ever.
    pub async fn run(mut self) {
        loop {
            let wait = match self.load().await {
                Ok(()) => self.interval,
                // What was held stays valid.
                Err(problem) => {
                    tracing::error!("cannot get the keys of the service accounts from {}: {problem}", self.name());
                    if self.keys.load().is_empty() { FIRST_RETRY } else { RETRY.min(self.interval) }
                }
            };
            self.wish.granted();
            self.arrived.notify_waiters();
            tokio::select! {
                () = clock::sleep(wait) => {}
                () = self.wish.expressed() => {}
            }
        }
    }

    fn name(&self) -> String {
        match &self.source {
            KeySource::File(path) => path.display().to_string(),
            KeySource::Url { url, .. } => url.clone(),
        }
    }

    async fn load(&mut self) -> Result<(), String> {
        let text = match (&self.source, &self.client) {
            (KeySource::File(path), _) => {
                let mut text = Vec::new();
                let file = fs::File::open(path).map_err(|error| error.to_string())?;
                file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
                if text.len() > MAX_BYTES {
                    return Err(format!("it is longer than {MAX_BYTES} bytes"));
                }
                text
            }
            (KeySource::Url { url, token_file, .. }, Some(client)) => {
                let mut call = Call::new(Method::GET, url);
                if let Some(path) = token_file {
                    let token = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                    let token = Zeroizing::new(token);
                    let bearer = Secret::new(format!("Bearer {}", token.trim()));
                    call = call.secret_header(header::AUTHORIZATION, &bearer).map_err(|error| error.to_string())?;
                }
                let fetched = client.send(call, MAX_BYTES).await.map_err(|error| error.to_string())?;
                if fetched.status != StatusCode::OK {
                    return Err(format!("the answer is {}", fetched.status));
                }
                fetched.body.to_vec()
            }
            (KeySource::Url { .. }, None) => return Err("it cannot be asked".to_owned()),
        };
        if text == self.last {
            return Ok(());
        }
        let keys = parse_key_set(&text).map_err(|error| format!("this is no set of keys: {error}"))?;
        if keys.is_empty() {
            return Err("there is no key in it that signatures could be verified with".to_owned());
        }
        tracing::info!("{} keys of service accounts from {}", keys.len(), self.name());
        self.keys.store(Arc::new(keys));
        self.last = text;
        Ok(())
    }
}
