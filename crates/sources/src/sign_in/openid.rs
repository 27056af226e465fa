//! The calls to an `OpenID` provider.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};

use super::{
    DEVICE_GRANT, Failure, Oidc,
    answer::{self, Answered, DeviceCode, Discovery},
    held::Tokens,
    person::Person,
    pkce::{Callback, Request, form, with_port},
    provider::Granted,
};
use crate::{
    clock::{Moment, SharedClock},
    credentials::Secret,
    fetch::{Answer, Call, Client, Options, Proxies, parse_url},
    jwt::{Claims, Demands, PublicKey, discovery_url, parse_key_set, verify},
};

/// For one call.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The longest answer: key sets are the longest.
const MAX_BYTES: usize = 256 * 1024;
/// How far the clocks may differ.
const LEEWAY: Duration = Duration::from_mins(1);

/// An `OpenID` provider, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIdSettings {
    /// The provider, and what is asked of it.
    pub oidc: Oidc,
    /// The proxies in front of it.
    pub proxies: Proxies,
}

/// A provider that has said where its endpoints are.
pub(super) struct OpenId {
    oidc: Oidc,
    client: Client,
    discovery: Discovery,
    clock: SharedClock,
}

impl OpenId {
    /// Asks it where its endpoints are.
    pub(super) async fn discover(settings: &OpenIdSettings, clock: &SharedClock) -> Result<Self, Failure> {
        let OpenIdSettings { oidc, proxies } = settings.clone();
        let options = Options { proxies, ..Options::direct(TIMEOUT, oidc.ca_file.clone()) };
        let client = Client::new(&parse_url("provider", &oidc.issuer)?, &options)?;
        let url = discovery_url(&oidc.issuer);
        let answer = client.get(&url, MAX_BYTES).await?;
        if answer.status != StatusCode::OK {
            return Err(Failure::Temporary(format!("GET {url}: the answer is {}{}", answer.status, answer.detail())));
        }
        let discovery = Discovery::parse(&answer.body, &oidc.issuer)?;
        Ok(Self { oidc, client, discovery, clock: clock.clone() })
    }

    /// A request, and where the browser goes with it.
    pub(super) fn begin(&self, port: u16) -> Result<(Request, String), Failure> {
        if !self.discovery.has_pkce() {
            return Err(Failure::Wrong(
                "the provider does not know PKCE with S256, without which codes can be stolen".to_owned(),
            ));
        }
        let request = Request::new(with_port(&self.oidc.redirect_url, port)?)?;
        let (scope, given) = (self.scope(), &self.oidc.parameters);
        let own = [("scope", scope.as_str()), ("nonce", request.nonce.expose())];
        // Only `scope` can be both set by us and given.
        let own = own.into_iter().filter(|(own, _)| !given.iter().any(|(key, _)| key == own));
        let all: Vec<_> = own.chain(given.iter().map(|(key, value)| (key.as_str(), value.as_str()))).collect();
        let url = request.url(&self.discovery.authorization_endpoint, &self.oidc.client_id, "S256", &all);
        Ok((request, url))
    }

    fn scope(&self) -> String {
        self.discovery.scope(&self.oidc.scopes)
    }

    /// Exchanges the code that the browser brought back.
    pub(super) async fn redeem(&self, request: &Request, callback: &Callback) -> Result<Granted, Failure> {
        callback.is_of(&self.oidc.issuer, self.discovery.says_issuer)?;
        let code = request.code(callback)?;
        let pairs = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", &request.redirect_uri),
            ("code_verifier", request.verifier.expose()),
        ];
        let answered = answer::tokens(&self.post(&self.discovery.token_endpoint, &pairs).await?.body)?;
        self.verified(answered, Some(&request.nonce), None).await
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
        let answered = answer::tokens(&self.post(&self.discovery.token_endpoint, &pairs).await?.body)?;
        self.verified(answered, None, None).await
    }

    /// New tokens for a refresh token.
    pub(super) async fn renew(&self, tokens: &Tokens) -> Result<Granted, Failure> {
        let token = tokens.refresh.as_ref().map_or("", Secret::expose);
        let pairs = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let answered = answer::tokens(&self.post(&self.discovery.token_endpoint, &pairs).await?.body)?;
        self.verified(answered, None, tokens.refresh.as_ref()).await
    }

    /// Ends a refresh token (RFC 7009), if the provider can.
    pub(super) async fn revoke(&self, tokens: &Tokens) -> Result<bool, Failure> {
        let (Some(endpoint), Some(token)) = (&self.discovery.revocation_endpoint, &tokens.refresh) else {
            return Ok(false);
        };
        self.post(endpoint, &[("token", token.expose()), ("token_type_hint", "refresh_token")]).await?;
        Ok(true)
    }

    /// The tokens that came, and whom the ID token names. A refresh token that is not replaced stays.
    async fn verified(
        &self,
        answered: Answered,
        nonce: Option<&Secret>,
        before: Option<&Secret>,
    ) -> Result<Granted, Failure> {
        let bearer = answered.id_token.ok_or_else(|| Failure::Wrong("the provider returned no ID token".to_owned()))?;
        let claims = self.claims(&bearer, nonce).await?;
        let refresh = answered.refresh_token.or_else(|| before.cloned());
        Ok((Tokens { bearer, refresh, client: None }, Person::of(&claims)?))
    }

    /// What an ID token claims, if it is the provider's, for us, and of this request (`OpenID` Connect Core, 3.1.3.7).
    async fn claims(&self, id_token: &Secret, nonce: Option<&Secret>) -> Result<Claims, Failure> {
        let keys = self.keys().await?;
        let claims = checked(id_token, &keys, &self.oidc, self.clock.now())?;
        let said = |name: &str| claims.get(name).and_then(serde_json::Value::as_str);
        if let Some(nonce) = nonce
            && said("nonce") != Some(nonce.expose())
        {
            return Err(Failure::Wrong("the ID token belongs to another sign-in (nonce)".to_owned()));
        }
        if said("azp").is_some_and(|azp| azp != self.oidc.client_id) {
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
        let oidc = &self.oidc;
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

fn checked(id_token: &Secret, keys: &[PublicKey], oidc: &Oidc, now: Moment) -> Result<Claims, Failure> {
    let demands = Demands {
        issuer: Some(oidc.issuer.clone()),
        audiences: vec![oidc.client_id.clone()],
        algorithms: None,
        leeway: LEEWAY,
    };
    let verified = verify(id_token.expose(), keys, &demands, now);
    verified
        .map(|verified| verified.claims)
        .map_err(|error| Failure::Wrong(format!("the provider's ID token: {error}")))
}
