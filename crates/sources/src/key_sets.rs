//! Fetches the public keys that the tokens of other issuers are signed with.

use std::{fs, io::Read, time::Duration};

use http::{Method, StatusCode, Uri, header};

use crate::{
    clock,
    fetch::{Call, Client, Options, SetupError, bearer, parse_url},
    jwt::{Discovery, KeyOptions, KeyRing, KeySource, discovery_url, parse_key_set},
};

/// The longest set, and the longest document that says where it is.
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
    /// Where the issuer has its keys, by its own word.
    found: Option<(String, Client)>,
    ring: KeyRing,
    last: Vec<u8>,
}

impl PublicKeys {
    /// Onto `ring`, as `options` say.
    pub fn new(options: &KeyOptions, ring: KeyRing) -> Result<Self, SetupError> {
        let client = match &options.source {
            KeySource::File(_) => None,
            KeySource::Url { url, access } | KeySource::Issuer { issuer: url, access } => {
                Some(Client::new(&parse_url("keys", url)?, &Options::direct(TIMEOUT, access.ca_file.clone()))?)
            }
        };
        Ok(Self { options: options.clone(), client, found: None, ring, last: Vec::new() })
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
            KeySource::Url { url, .. } | KeySource::Issuer { issuer: url, .. } => url.clone(),
        }
    }

    async fn load(&mut self) -> Result<(), String> {
        let text = self.text().await?;
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

    async fn text(&mut self) -> Result<Vec<u8>, String> {
        let client = || self.client.as_ref().ok_or("it cannot be reached");
        match &self.options.source {
            KeySource::File(path) => {
                let mut text = Vec::new();
                let file = fs::File::open(path).map_err(|error| error.to_string())?;
                file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
                if text.len() > MAX_BYTES {
                    return Err(format!("it is longer than {MAX_BYTES} bytes"));
                }
                Ok(text)
            }
            KeySource::Url { url, access } => get(client()?, url, access.token_file.as_deref()).await,
            KeySource::Issuer { issuer, access } => {
                let token = access.token_file.as_deref();
                let document = get(client()?, &discovery_url(issuer), token).await?;
                let url = Discovery::parse(&document, issuer).and_then(|document| document.required_url("jwks_uri"));
                let url = url.map_err(|error| error.to_string())?;
                if self.found.as_ref().is_none_or(|(known, _)| *known != url) {
                    let uri: Uri = url.parse().map_err(|_| "`jwks_uri` is not a URL")?;
                    let options = Options::direct(TIMEOUT, access.ca_file.clone());
                    let client = Client::new(&uri, &options).map_err(|error| error.to_string())?;
                    self.found = Some((url.clone(), client));
                }
                let (_, keys) = self.found.as_ref().ok_or("it cannot be reached")?;
                // The token is for the issuer, and for nobody that it points to.
                let token = token.filter(|_| is_same_server(issuer, &url));
                get(keys, &url, token).await.map_err(|problem| format!("{url}: {problem}"))
            }
        }
    }
}

/// The body of an answer.
async fn get(client: &Client, url: &str, token_file: Option<&std::path::Path>) -> Result<Vec<u8>, String> {
    let mut call = Call::new(Method::GET, url);
    if let Some(path) = token_file {
        let token = bearer(path).map_err(|error| error.to_string())?;
        call = call.secret_header(header::AUTHORIZATION, &token).map_err(|error| error.to_string())?;
    }
    let fetched = client.send(call, MAX_BYTES).await.map_err(|error| error.to_string())?;
    if fetched.status != StatusCode::OK {
        return Err(format!("the answer is {}", fetched.status));
    }
    Ok(fetched.body.to_vec())
}

/// Whether two URLs have the same scheme, host and port.
fn is_same_server(one: &str, two: &str) -> bool {
    let server = |url: &str| {
        let url: Uri = url.parse().ok()?;
        let port = url.port_u16().or_else(|| (url.scheme_str() == Some("https")).then_some(443));
        Some((url.scheme_str()?.to_owned(), url.host()?.to_ascii_lowercase(), port))
    };
    server(one).is_some() && server(one) == server(two)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_the_server_of_the_issuer() {
        let issuer = "https://kubernetes.default.svc";
        for url in ["https://kubernetes.default.svc/openid/v1/jwks", "https://Kubernetes.default.svc:443/x"] {
            assert!(is_same_server(issuer, url), "{url}");
        }
        for url in [
            "https://10.0.0.1:6443/openid/v1/jwks",
            "http://kubernetes.default.svc/",
            "https://kubernetes.default.svc:8443/",
        ] {
            assert!(!is_same_server(issuer, url), "{url}");
        }
    }
}
