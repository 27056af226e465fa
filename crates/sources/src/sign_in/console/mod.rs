//! `aws login`: a person signs in at the AWS console, and gets sets of 15 minutes that a refresh token renews.
//! <https://docs.aws.amazon.com/signin/latest/userguide/command-line-sign-in.html>

mod proof;
mod service;
mod token;

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub(crate) use service::{ServiceError, ask, base};
pub(crate) use token::{Renewal, Token};

use super::{
    Failure, LOOPBACK,
    held::Tokens,
    person::Person,
    pkce::{Callback, Request, with_port},
    provider::Granted,
};
use crate::{
    clock::SharedClock,
    credentials::{AccountId, Secret},
    fetch::Options,
    text::printable,
};

/// A set with less left is renewed before it is given out. Sets live 15 minutes and are renewed after a third of that;
/// botocore takes less than 10 minutes for urgent.
pub(crate) const WANTED_LIFE: Duration = Duration::from_mins(11);

/// The client of all tools of developers whose browser is on the same host, and elsewhere. AWS knows no others.
const HERE: &str = "arn:aws:signin:::devtools/same-device";
const ELSEWHERE: &str = "arn:aws:signin:::devtools/cross-device";

/// AWS's sign-in service of a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsoleSettings {
    /// Whose it is: a person may have a login of its own for each source.
    pub source: String,
    /// Where it is: `https://REGION.signin.aws.amazon.com`.
    pub base: String,
    /// Whether a sign-in outlives the daemon.
    pub keep_sign_in: bool,
    /// How it is called.
    pub http: Options,
}

impl ConsoleSettings {
    /// For a source that calls the service of a region, or at another endpoint.
    pub fn new(
        source: &str,
        (region, endpoint, fips): (&str, Option<&str>, bool),
        keep_sign_in: bool,
        http: Options,
    ) -> Self {
        Self { source: source.to_owned(), base: base(region, endpoint, fips), keep_sign_in, http }
    }
}

/// The sign-in service, and the key to which a login is bound.
pub(super) struct Console {
    settings: ConsoleSettings,
    clock: SharedClock,
    /// The client that signs in, and the key that it has made.
    client: Option<(&'static str, EcdsaKeyPair)>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Question<'a> {
    client_id: &'a str,
    grant_type: &'a str,
    code: &'a str,
    code_verifier: &'a str,
    redirect_uri: &'a str,
}

/// What is needed of the ID token.
#[derive(Deserialize)]
struct Subject {
    sub: String,
}

impl Console {
    pub(super) fn new(settings: &ConsoleSettings, clock: &SharedClock) -> Self {
        Self { settings: settings.clone(), clock: clock.clone(), client: None }
    }

    /// A request, and where the browser of this host goes with it.
    pub(super) fn begin(&mut self, port: u16) -> Result<(Request, String), Failure> {
        self.request(HERE, with_port(LOOPBACK, port)?)
    }

    /// The same for a browser elsewhere, which ends at a page that shows what is to be brought back.
    pub(super) fn begin_elsewhere(&mut self) -> Result<(Request, String), Failure> {
        self.request(ELSEWHERE, format!("{}/v1/sessions/confirmation", self.settings.base))
    }

    /// The login will be bound to a new key.
    fn request(&mut self, client: &'static str, redirect_uri: String) -> Result<(Request, String), Failure> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let key = key.map_err(|_| Failure::Wrong("no key can be made".to_owned()))?;
        let request = Request::new(redirect_uri)?;
        let url =
            request.url(&format!("{}/v1/authorize", self.settings.base), client, "SHA-256", &[("scope", "openid")]);
        self.client = Some((client, key));
        Ok((request, url))
    }

    /// Exchanges the code that the browser brought back.
    pub(super) async fn redeem(&self, request: &Request, callback: &Callback) -> Result<Granted, Failure> {
        let code = request.code(callback)?;
        let client = self.client.as_ref();
        let (client, key) = client.ok_or_else(|| Failure::Wrong("the sign-in has not begun".to_owned()))?;
        let question = token::written(&Question {
            client_id: client,
            grant_type: "authorization_code",
            code: code.expose(),
            code_verifier: request.verifier.expose(),
            redirect_uri: &request.redirect_uri,
        });
        let renewal = self.ask(question, key).await?;
        let name = renewal.id_token.as_deref().and_then(|token| subject(token));
        let name = name.ok_or_else(|| Failure::Wrong("AWS does not say who has signed in (ID token)".to_owned()))?;
        // arn:aws:iam::123456789012:user/alice
        let account = name.split(':').nth(4).and_then(|id| id.parse::<AccountId>().ok());
        self.granted(Token::new(client, account), renewal, &name, to_text(key)?)
    }

    /// The next set.
    pub(super) async fn renew(&self, tokens: &Tokens, person: &Person) -> Result<Granted, Failure> {
        let wrong = Failure::Wrong;
        let token = Token::parse(tokens.bearer.expose().as_bytes()).map_err(wrong)?;
        let (text, key) =
            tokens.client.as_ref().and_then(|text| Some((text, of_text(text)?))).ok_or_else(|| {
                Failure::Wrong("the key to which the login is bound is not there any more".to_owned())
            })?;
        let renewal = self.ask(token.question().map_err(wrong)?, &key).await?;
        self.granted(token, renewal, &person.subject, text.clone())
    }

    async fn ask(&self, question: Zeroizing<Vec<u8>>, key: &EcdsaKeyPair) -> Result<Renewal, Failure> {
        let ConsoleSettings { base, http, .. } = &self.settings;
        service::ask(base, question, key, http, self.clock.now().wall).await.map_err(|error| match error {
            ServiceError::Refused { code: code @ "INSUFFICIENT_PERMISSIONS", .. } => {
                Failure::refused(code, "the policy SignInLocalDevelopmentAccess (signin:CreateOAuth2Token) is missing")
            }
            ServiceError::Refused { code, message } => Failure::refused(code, &message),
            ServiceError::Wrong(problem) => Failure::Wrong(problem),
            ServiceError::Other(problem) => Failure::Temporary(problem),
        })
    }

    fn granted(&self, mut token: Token, renewal: Renewal, name: &str, key: Secret) -> Result<Granted, Failure> {
        let wrong = Failure::Wrong;
        token.renew(renewal, self.clock.now().wall).map_err(wrong)?;
        let name = printable(name, 200);
        let person =
            Person { name: name.clone(), subject: name, groups: Vec::new(), until: token.end().map_err(wrong)? };
        let refresh = token.refresh().map_err(wrong)?;
        let bytes = token.bytes();
        let bearer = str::from_utf8(&bytes).map_err(|error| Failure::Wrong(error.to_string()))?;
        Ok((Tokens { bearer: Secret::new(bearer), refresh: Some(refresh), client: Some(key) }, person))
    }
}

/// Whom an ID token names. It came by TLS from the service itself, so that its signature shows nothing more (`OpenID`
/// Connect Core, 3.1.3.7).
fn subject(token: &str) -> Option<String> {
    let claims = Zeroizing::new(URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?);
    serde_json::from_slice::<Subject>(&claims).ok().map(|subject| subject.sub)
}

fn to_text(key: &EcdsaKeyPair) -> Result<Secret, Failure> {
    let der = key.to_pkcs8v1().map_err(|_| Failure::Wrong("the key of the login cannot be kept".to_owned()))?;
    Ok(Secret::new(&**Zeroizing::new(STANDARD.encode(der))))
}

fn of_text(text: &Secret) -> Option<EcdsaKeyPair> {
    let der = Zeroizing::new(STANDARD.decode(text.expose()).ok()?);
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_login_stays_the_same() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let text = to_text(&key).expect("a text");
        let public = |key: &EcdsaKeyPair| aws_lc_rs::signature::KeyPair::public_key(key).as_ref().to_vec();
        assert_eq!(of_text(&text).map(|key| public(&key)), Some(public(&key)));
        assert!(of_text(&Secret::new("AAAA")).is_none());
    }

    #[test]
    fn an_id_token_names_its_subject_with_and_without_padding() {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let claims = part(r#"{"sub": "arn:aws:iam::123456789012:user/a"}"#);
        for padding in ["", "="] {
            let token = format!("{}.{claims}{padding}.s", part("{}"));
            assert_eq!(subject(&token).as_deref(), Some("arn:aws:iam::123456789012:user/a"));
        }
        assert_eq!(subject("x"), None);
        assert_eq!(subject(&format!("a.{}.b", part("{}"))), None);
    }
}
