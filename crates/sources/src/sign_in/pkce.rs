//! One request for an authorization: its random values, its URL, and what the browser may bring back. Pure, but for the
//! randomness. RFC 7636 (PKCE), RFC 9207 (`iss`), `OpenID` Connect Core.

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::Failure;
use crate::{credentials::Secret, text::printable};

/// All but the characters that need no escape anywhere in a URL or a form (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The parameters that a configuration cannot set.
pub(super) const RESERVED: [&str; 10] = [
    "client_id",
    "client_secret",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_type",
    "state",
];

/// A request for an authorization. Its values are used once.
#[derive(Debug)]
pub(super) struct Request {
    /// Proves at the end that the code belongs to the one who asked for it.
    pub(super) verifier: Secret,
    /// Ties what the browser brings back to this request.
    pub(super) state: Secret,
    /// Ties the ID token to this request.
    pub(super) nonce: Secret,
    /// Where the browser comes back to, with its port.
    pub(super) redirect_uri: String,
}

/// What the browser brings back: the parameters of the redirection.
#[derive(Debug, Clone, Default)]
pub struct Callback {
    /// The code.
    pub code: Option<Secret>,
    /// Has to be that of the request.
    pub state: Option<Secret>,
    /// The issuer, of providers that say it.
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
    /// The same for people.
    pub error_description: Option<String>,
}

impl Request {
    pub(super) fn new(redirect_uri: String) -> Result<Self, Failure> {
        Ok(Self { verifier: random()?, state: random()?, nonce: random()?, redirect_uri })
    }

    /// Where the browser goes. `method` is the provider's word for SHA-256, `more` what only this provider is asked.
    pub(super) fn url(&self, endpoint: &str, client_id: &str, method: &str, more: &[(&str, &str)]) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, self.verifier.expose().as_bytes()));
        let own = [
            ("response_type", "code"),
            ("client_id", client_id),
            ("redirect_uri", &self.redirect_uri),
            ("state", self.state.expose()),
            ("code_challenge", &challenge),
            ("code_challenge_method", method),
        ];
        let query = form(own.iter().chain(more).copied());
        // An endpoint may have a query of its own (RFC 6749, section 3.1).
        let separator = if endpoint.contains('?') { '&' } else { '?' };
        format!("{endpoint}{separator}{}", *query)
    }

    /// The code that came back, if it is for this request.
    pub(super) fn code(&self, callback: &Callback) -> Result<Secret, Failure> {
        let same = |state: &Secret| {
            aws_lc_rs::constant_time::verify_slices_are_equal(state.expose().as_bytes(), self.state.expose().as_bytes())
                .is_ok()
        };
        if !callback.state.as_ref().is_some_and(same) {
            return Err(Failure::Wrong("what the browser brought back belongs to another sign-in".to_owned()));
        }
        if let Some(error) = &callback.error {
            let description = callback.error_description.as_deref().unwrap_or_default();
            return Err(Failure::refused(error, description));
        }
        callback.code.clone().ok_or_else(|| Failure::Wrong("the browser came back without a code".to_owned()))
    }
}

impl Callback {
    /// Whether it is from that issuer, which may always say so (RFC 9207).
    pub(super) fn is_of(&self, issuer: &str, says_issuer: bool) -> Result<(), Failure> {
        match &self.iss {
            Some(iss) if iss != issuer => {
                let iss = printable(iss, 100);
                Err(Failure::Wrong(format!("the browser came back from another provider, {iss:?}")))
            }
            None if says_issuer => Err(Failure::Wrong(
                "the browser came back without the issuer, which the provider always names".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

/// 256 random bits as text.
pub(super) fn random() -> Result<Secret, Failure> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(&mut *bytes).map_err(|_| Failure::Wrong("the system provides no random numbers".to_owned()))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(*bytes)))
}

/// `application/x-www-form-urlencoded`. Its capacity is enough: a buffer that grows leaves copies behind.
pub(super) fn form<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Zeroizing<String> {
    let pairs: Vec<_> = pairs.collect();
    let longest = pairs.iter().map(|(key, value)| 3 * (key.len() + value.len()) + 2).sum();
    let mut text = Zeroizing::new(String::with_capacity(longest));
    for (key, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        text.extend(utf8_percent_encode(key, ESCAPED));
        text.push('=');
        text.extend(utf8_percent_encode(value, ESCAPED));
    }
    text
}

/// The redirection URL of the options with the port at which the browser is awaited.
pub(super) fn with_port(redirect_url: &str, port: u16) -> Result<String, Failure> {
    let url: Uri = redirect_url.parse().map_err(|_| Failure::Wrong("the redirect_url is not a URL".to_owned()))?;
    Ok(format!("http://{}:{port}{}", url.host().unwrap_or("127.0.0.1"), url.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    #[test]
    fn the_url_has_the_challenge_of_the_verifier() {
        let request = Request {
            verifier: Secret::new("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            state: Secret::new("s"),
            nonce: Secret::new("n"),
            redirect_uri: with_port("http://127.0.0.1/callback", 4711).expect("a URL"),
        };
        let more = [("scope", "openid groups"), ("nonce", "n"), ("prompt", "consent")];
        assert_eq!(
            request.url("https://login/auth", "a b", "S256", &more),
            "https://login/auth?response_type=code&client_id=a%20b&redirect_uri=http%3A%2F%2F127.0.0.1%3A4711%2Fcallback\
             &state=s&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256\
             &scope=openid%20groups&nonce=n&prompt=consent"
        );
        let url = request.url("https://login/auth?x=1", "a", "S256", &[]);
        assert!(url.starts_with("https://login/auth?x=1&resp"), "{url}");
        assert!(!format!("{request:?}").contains("dBjft"));
    }

    #[test]
    fn only_what_belongs_to_the_request_is_taken_from_a_browser() {
        let request = Request::new("http://127.0.0.1:1/callback".into()).expect("randomness");
        let good = Callback {
            code: Some(Secret::new("code")),
            state: Some(request.state.clone()),
            iss: Some("https://login".into()),
            ..Callback::default()
        };
        let code = |callback: &Callback, says_issuer| {
            callback.is_of("https://login", says_issuer)?;
            request.code(callback).map(|code| code.expose().to_owned())
        };
        assert_eq!(code(&good, true).as_deref(), Ok("code"));
        assert_eq!(code(&Callback { iss: None, ..good.clone() }, false).as_deref(), Ok("code"));
        for (callback, part) in [
            (Callback { state: None, ..good.clone() }, "another sign-in"),
            (Callback { state: Some(Secret::new("x")), ..good.clone() }, "another sign-in"),
            (Callback { iss: Some("https://evil".into()), ..good.clone() }, "another provider"),
            (Callback { iss: None, ..good.clone() }, "without the issuer"),
            (Callback { code: None, ..good.clone() }, "without a code"),
            (Callback { error: Some("access_denied".into()), ..good.clone() }, "access_denied"),
        ] {
            let error = code(&callback, true).expect_err(part).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
