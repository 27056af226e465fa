//! The calls to an `OpenID` provider.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, StatusCode, header};

use super::{
    Failure, Settings,
    answer::{self, DeviceCode, Discovery, Granted},
    pkce::{Request, form},
};
use crate::{
    clock::Moment,
    credentials::Secret,
    fetch::{Answer, Call, Client, Options, parse_url},
    jwt::{Claims, Demands, PublicKey, parse_key_set, verify},
};

/// For one call.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The longest answer: key sets are the longest.
const MAX_BYTES: usize = 256 * 1024;
/// How far the clocks may differ.
const LEEWAY: Duration = Duration::from_mins(1);

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A provider that has said where its endpoints are.
pub(super) struct Provider {
    settings: Arc<Settings>,
    client: Client,
    discovery: Discovery,
}

impl Provider {
    /// Asks it where its endpoints are.
    pub(super) async fn discover(settings: &Arc<Settings>) -> Result<Self, Failure> {
        let issuer = &settings.oidc.issuer;
        let options =
            Options { proxies: settings.proxies.clone(), ..Options::direct(TIMEOUT, settings.oidc.ca_file.clone()) };
        let wrong = |error: crate::fetch::SetupError| Failure::Wrong(error.to_string());
        let client = Client::new(&parse_url("provider", issuer).map_err(wrong)?, &options).map_err(wrong)?;
        let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let answer = client.get(&url, MAX_BYTES).await?;
        if answer.status != StatusCode::OK {
            return Err(Failure::Temporary(format!("GET {url}: the answer is {}{}", answer.status, answer.detail())));
        }
        let discovery = Discovery::parse(&answer.body, issuer)?;
        Ok(Self { settings: Arc::clone(settings), client, discovery })
    }

    /// Where the browser goes.
    pub(super) fn authorization_url(&self, request: &Request) -> Result<String, Failure> {
        if !self.discovery.has_pkce() {
            return Err(Failure::Wrong(
                "the provider does not know PKCE with S256, without which codes can be stolen".to_owned(),
            ));
        }
        Ok(request.url(&self.discovery.authorization_endpoint, &self.settings.oidc, &self.scope()))
    }

    fn scope(&self) -> String {
        self.discovery.scope(&self.settings.oidc.scopes)
    }

    /// Whether the provider names itself in what the browser brings back.
    pub(super) fn says_issuer(&self) -> bool {
        self.discovery.authorization_response_iss_parameter_supported
    }

    /// Exchanges the code that the browser brought back.
    pub(super) async fn redeem(&self, request: &Request, code: &Secret) -> Result<Granted, Failure> {
        let pairs = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", &request.redirect_uri),
            ("code_verifier", request.verifier.expose()),
        ];
        answer::granted(&self.post(&self.discovery.token_endpoint, &pairs).await?.body)
    }

    /// Asks for a code that a person enters at another device.
    pub(super) async fn device(&self) -> Result<DeviceCode, Failure> {
        let Some(endpoint) = &self.discovery.device_authorization_endpoint else {
            return Err(Failure::Wrong("the provider has no device flow; sign in with a browser".to_owned()));
        };
        DeviceCode::parse(&self.post(endpoint, &[("scope", &self.scope())]).await?.body)
    }

    /// Asks whether the person has entered it.
    pub(super) async fn poll(&self, code: &DeviceCode) -> Result<Granted, Failure> {
        let pairs = [("grant_type", DEVICE_GRANT), ("device_code", &code.secret)];
        answer::granted(&self.post(&self.discovery.token_endpoint, &pairs).await?.body)
    }

    /// New tokens for a refresh token.
    pub(super) async fn refresh(&self, token: &Secret) -> Result<Granted, Failure> {
        let pairs = [("grant_type", "refresh_token"), ("refresh_token", token.expose())];
        answer::granted(&self.post(&self.discovery.token_endpoint, &pairs).await?.body)
    }

    /// Ends a refresh token (RFC 7009), if the provider can.
    pub(super) async fn revoke(&self, token: &Secret) -> Result<bool, Failure> {
        let Some(endpoint) = &self.discovery.revocation_endpoint else { return Ok(false) };
        self.post(endpoint, &[("token", token.expose()), ("token_type_hint", "refresh_token")]).await?;
        Ok(true)
    }

    /// What an ID token claims, if it is the provider's, for us, and of this request (`OpenID` Connect Core, 3.1.3.7).
    pub(super) async fn claims(
        &self,
        id_token: &Secret,
        nonce: Option<&Secret>,
        now: Moment,
    ) -> Result<Claims, Failure> {
        let claims = checked(id_token, &self.keys().await?, &self.settings, now)?;
        let said = |name: &str| claims.get(name).and_then(serde_json::Value::as_str);
        if let Some(nonce) = nonce
            && said("nonce") != Some(nonce.expose())
        {
            return Err(Failure::Wrong("the ID token belongs to another sign-in (nonce)".to_owned()));
        }
        if said("azp").is_some_and(|azp| azp != self.settings.oidc.client_id) {
            return Err(Failure::Wrong("the ID token was issued to another client (azp)".to_owned()));
        }
        Ok(claims)
    }

    async fn keys(&self) -> Result<Vec<PublicKey>, Failure> {
        let url = &self.discovery.jwks_uri;
        let answer = self.client.get(url, MAX_BYTES).await?;
        if answer.status != StatusCode::OK {
            return Err(Failure::Temporary(format!("GET {url}: the answer is {}", answer.status)));
        }
        parse_key_set(&answer.body).map_err(|error| Failure::Temporary(format!("GET {url}: not a key set: {error}")))
    }

    async fn post(&self, url: &str, pairs: &[(&str, &str)]) -> Result<Answer, Failure> {
        let oidc = &self.settings.oidc;
        let secret = match &oidc.client_secret_file {
            Some(path) => Some(super::kept::read_secret(path).map_err(Failure::Wrong)?),
            None => None,
        };
        let secret = secret.as_ref().map(|secret| ("client_secret", secret.expose()));
        let client = [("client_id", oidc.client_id.as_str())];
        let body = form(pairs.iter().copied().chain(client).chain(secret));
        let call = Call::new(Method::POST, url)
            .header(header::CONTENT_TYPE, const { HeaderValue::from_static("application/x-www-form-urlencoded") })
            .header(header::ACCEPT, const { HeaderValue::from_static("application/json") })
            .bytes(body.as_bytes())
            .with_whole_errors();
        let answer = self.client.send(call, MAX_BYTES).await?;
        if answer.status.is_success() { Ok(answer) } else { Err(answer::failure(answer.status.as_u16(), &answer.body)) }
    }
}

fn checked(id_token: &Secret, keys: &[PublicKey], settings: &Settings, now: Moment) -> Result<Claims, Failure> {
    let demands = Demands {
        issuer: Some(settings.oidc.issuer.clone()),
        audiences: vec![settings.oidc.client_id.clone()],
        algorithms: None,
        leeway: LEEWAY,
    };
    let verified = verify(id_token.expose(), keys, &demands, now);
    verified
        .map(|verified| verified.claims)
        .map_err(|error| Failure::Wrong(format!("the provider's ID token: {error}")))
}
