//! IAM Identity Center: an authorization server at which the client registers itself for each sign-in.
//! <https://docs.aws.amazon.com/singlesignon/latest/OIDCAPIReference/Welcome.html>

use std::time::Duration;

use http::{HeaderName, Method};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    DEVICE_GRANT, Failure, LOOPBACK,
    answer::{self, DeviceCode},
    held::Tokens,
    person::Person,
    pkce::{Callback, Request, with_port},
    provider::Granted,
};
use crate::{
    clock::SharedClock,
    credentials::Secret,
    fetch::{Answer, Call, Client, Options, parse_url, required_secret, secret},
};

/// The longest answer: a token has some KiB.
const MAX_BYTES: usize = 64 * 1024;
/// A session lives 90 days at most.
const LONGEST_LIFE: Duration = Duration::from_hours(90 * 24);

/// The name that the person sees on the page of consent.
const CLIENT_NAME: &str = "alppaca";
const BEARER: HeaderName = HeaderName::from_static("x-amz-sso_bearer_token");

/// An instance of IAM Identity Center, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityCenterSettings {
    /// The URL of the access portal.
    pub start_url: String,
    /// Where tokens are.
    pub oidc: String,
    /// Where sessions end.
    pub portal: String,
    /// What the client is for.
    pub scopes: Vec<String>,
    /// Whether a sign-in outlives the daemon.
    pub keep_sign_in: bool,
    /// How both are called.
    pub http: Options,
}

/// An instance, and the client of one sign-in.
pub(super) struct IdentityCenter {
    settings: IdentityCenterSettings,
    clock: SharedClock,
    client: Client,
    registered: Option<Registered>,
}

/// A client that has registered itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    client_id: String,
    #[serde(deserialize_with = "required_secret")]
    client_secret: Zeroizing<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Registration<'a> {
    client_name: &'a str,
    client_type: &'a str,
    scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_types: Option<&'a [&'a str]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_uris: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer_url: Option<&'a str>,
}

/// What both calls with a client ask.
#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    client_id: &'a str,
    client_secret: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code_verifier: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_uri: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenAnswer {
    #[serde(deserialize_with = "required_secret")]
    access_token: Zeroizing<String>,
    #[serde(default, deserialize_with = "secret")]
    refresh_token: Option<Zeroizing<String>>,
    expires_in: u64,
}

impl Registered {
    fn of_text(text: &Secret) -> Option<Self> {
        let (id, secret) = text.expose().split_once('\n')?;
        Some(Self { client_id: id.to_owned(), client_secret: Zeroizing::new(secret.to_owned()) })
    }

    fn to_text(&self) -> Secret {
        Secret::new(&**Zeroizing::new([&self.client_id, "\n", &self.client_secret].concat()))
    }

    fn question(&self) -> Question<'_> {
        Question { client_id: &self.client_id, client_secret: &self.client_secret, ..Question::default() }
    }
}

impl IdentityCenter {
    pub(super) fn new(settings: &IdentityCenterSettings, clock: &SharedClock) -> Result<Self, Failure> {
        let client = Client::new(&parse_url("IAM Identity Center", &settings.oidc)?, &settings.http)?;
        Ok(Self { settings: settings.clone(), clock: clock.clone(), client, registered: None })
    }

    /// A request of a new client, and where the browser goes with it.
    pub(super) async fn begin(&mut self, port: u16) -> Result<(Request, String), Failure> {
        let request = Request::new(with_port(LOOPBACK, port)?)?;
        let registration = Registration {
            grant_types: Some(&["authorization_code", "refresh_token"]),
            // Without the port: any will do.
            redirect_uris: Some([LOOPBACK]),
            issuer_url: Some(&self.settings.start_url),
            ..self.registration()
        };
        let registered = self.register(&registration).await?;
        let scopes = self.settings.scopes.join(" ");
        let endpoint = format!("{}/authorize", self.settings.oidc);
        // This one is called `scopes`, unlike in RFC 6749.
        let url = request.url(&endpoint, &registered.client_id, "S256", &[("scopes", &scopes)]);
        self.registered = Some(registered);
        Ok((request, url))
    }

    /// Exchanges the code that the browser brought back.
    pub(super) async fn redeem(&self, request: &Request, callback: &Callback) -> Result<Granted, Failure> {
        let code = request.code(callback)?;
        let registered = self.registered()?;
        let question = Question {
            grant_type: Some("authorization_code"),
            code: Some(code.expose()),
            code_verifier: Some(request.verifier.expose()),
            redirect_uri: Some(&request.redirect_uri),
            ..registered.question()
        };
        self.token(&question, registered, None).await
    }

    /// Asks for a code that a person enters at another device.
    pub(super) async fn device(&mut self) -> Result<DeviceCode, Failure> {
        let registered = self.register(&self.registration()).await?;
        let question = Question { start_url: Some(&self.settings.start_url), ..registered.question() };
        let answer = self.post("/device_authorization", &question).await?;
        self.registered = Some(registered);
        DeviceCode::parse(&answer.body)
    }

    /// Asks whether the person has entered it.
    pub(super) async fn poll(&self, code: &DeviceCode) -> Result<Granted, Failure> {
        let registered = self.registered()?;
        let question =
            Question { grant_type: Some(DEVICE_GRANT), device_code: Some(&code.secret), ..registered.question() };
        self.token(&question, registered, None).await
    }

    /// New tokens for a refresh token, which is only the client's that signed in.
    pub(super) async fn renew(&self, tokens: &Tokens) -> Result<Granted, Failure> {
        let registered = tokens.client.as_ref().and_then(Registered::of_text);
        let registered = registered.ok_or_else(|| Failure::refused("invalid_client", "the client is not known"))?;
        let refresh = tokens.refresh.as_ref();
        let question = Question {
            grant_type: Some("refresh_token"),
            refresh_token: refresh.map(Secret::expose),
            ..registered.question()
        };
        match self.token(&question, &registered, refresh).await {
            // That it gets too many calls is no answer.
            Err(Failure::Refused { code, .. }) if code == "slow_down" => {
                Err(Failure::Temporary("IAM Identity Center asks for fewer calls".to_owned()))
            }
            outcome => outcome,
        }
    }

    /// Ends the session, with all that it may have.
    pub(super) async fn revoke(&self, tokens: &Tokens) -> Result<bool, Failure> {
        let IdentityCenterSettings { portal, http, .. } = &self.settings;
        let url = format!("{portal}/logout");
        let client = Client::new(&parse_url("access portal", &url)?, http)?;
        let call = Call::new(Method::POST, &url).secret_header(BEARER, &tokens.bearer)?;
        let answer = client.send(call, MAX_BYTES).await?;
        if answer.status.is_success() {
            Ok(true)
        } else {
            Err(Failure::Temporary(format!("POST {url}: the answer is {}{}", answer.status, answer.detail())))
        }
    }

    fn registration(&self) -> Registration<'_> {
        Registration {
            client_name: CLIENT_NAME,
            client_type: "public",
            scopes: &self.settings.scopes,
            grant_types: None,
            redirect_uris: None,
            issuer_url: None,
        }
    }

    async fn register(&self, registration: &Registration<'_>) -> Result<Registered, Failure> {
        let answer = self.post("/client/register", registration).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|_| Failure::Temporary("the answer is not the registration of a client".to_owned()))
    }

    fn registered(&self) -> Result<&Registered, Failure> {
        self.registered.as_ref().ok_or_else(|| Failure::Wrong("the sign-in has not begun".to_owned()))
    }

    async fn token(
        &self,
        question: &Question<'_>,
        registered: &Registered,
        before: Option<&Secret>,
    ) -> Result<Granted, Failure> {
        let answer = self.post("/token", question).await?;
        let TokenAnswer { access_token, refresh_token, expires_in } = serde_json::from_slice(&answer.body)
            .map_err(|_| Failure::Temporary("the answer is not a token".to_owned()))?;
        let refresh = refresh_token.filter(|token| !token.is_empty()).map(|token| Secret::new(&**token));
        let tokens = Tokens {
            bearer: Secret::new(&**access_token),
            refresh: refresh.or_else(|| before.cloned()),
            client: Some(registered.to_text()),
        };
        let until = self.clock.now().wall + Duration::from_secs(expires_in).min(LONGEST_LIFE);
        // It does not say who has signed in.
        let subject = self.settings.start_url.clone();
        Ok((tokens, Person { name: String::new(), subject, groups: Vec::new(), until }))
    }

    async fn post(&self, path: &str, question: &impl Serialize) -> Result<Answer, Failure> {
        let url = format!("{}{path}", self.settings.oidc);
        // As large as it may become, since a buffer that grows leaves copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
        serde_json::to_writer(&mut *body, question).map_err(|error| Failure::Wrong(error.to_string()))?;
        let call = Call::new(Method::POST, &url).json(body).with_whole_errors();
        let answer = self.client.send(call, MAX_BYTES).await?;
        if answer.status.is_success() && !answer.is_the_proxys_own() {
            Ok(answer)
        } else {
            Err(answer::failure(answer.status.as_u16(), &answer.body))
        }
    }
}
