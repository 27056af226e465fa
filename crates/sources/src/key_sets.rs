//! Fetches the public keys that the tokens of other issuers are signed with.

use std::{fs, io::Read, time::Duration};

use http::{Method, StatusCode, header};
use zeroize::Zeroizing;

use crate::{
    clock,
    credentials::Secret,
    fetch::{Call, Client, Options, SetupError, parse_url},
    jwt::{KeyOptions, KeyRing, KeySource, parse_key_set},
};

/// The longest set.
const MAX_BYTES: usize = 256 * 1024;
/// For one answer of the server that has the set.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How soon a failure is tried again.
const RETRY: Duration = Duration::from_secs(10);
/// How often a set is asked for that is not there yet.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// Keeps the keys fresh, apart from the requests.
pub struct PublicKeys {
    options: KeyOptions,
    client: Option<Client>,
    ring: KeyRing,
    last: Vec<u8>,
}

impl PublicKeys {
    /// Onto `ring`, as `options` say.
    pub fn new(options: &KeyOptions, ring: KeyRing) -> Result<Self, SetupError> {
        let client = match &options.source {
            KeySource::File(_) => None,
            KeySource::Url { url, ca_file, .. } => {
                Some(Client::new(&parse_url("keys", url)?, &Options::direct(TIMEOUT, ca_file.clone()))?)
            }
        };
        Ok(Self { options: options.clone(), client, ring, last: Vec::new() })
    }

    /// Fetches them, without an end.
    pub async fn run(mut self) {
        loop {
            let wait = match self.load().await {
                Ok(()) => self.options.refresh,
                // What was held stays valid.
                Err(problem) => {
                    tracing::error!("cannot get public keys from {}: {problem}", self.name());
                    if self.ring.is_empty() { FIRST_RETRY } else { RETRY.min(self.options.refresh) }
                }
            };
            self.ring.fetched();
            tokio::select! {
                () = clock::sleep(wait) => {}
                () = self.ring.wanted() => {}
            }
        }
    }

    fn name(&self) -> String {
        match &self.options.source {
            KeySource::File(path) => path.display().to_string(),
            KeySource::Url { url, .. } => url.clone(),
        }
    }

    async fn load(&mut self) -> Result<(), String> {
        let text = match (&self.options.source, &self.client) {
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
            (KeySource::Url { .. }, None) => return Err("it cannot be reached".to_owned()),
        };
        if text == self.last {
            return Ok(());
        }
        let keys = parse_key_set(&text).map_err(|error| format!("this is not a key set: {error}"))?;
        if keys.is_empty() {
            return Err("it has no key that can verify signatures".to_owned());
        }
        tracing::info!("{} public keys from {}", keys.len(), self.name());
        self.ring.replace(keys);
        self.last = text;
        Ok(())
    }
}
