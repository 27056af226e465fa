//! What an `OpenID` provider answers: its discovery document, tokens, device codes and errors (pure).

use std::{fmt::Display, time::Duration};

use serde::Deserialize;
use zeroize::Zeroizing;

use super::Failure;
use crate::{
    credentials::Secret,
    fetch::{is_clear_text, required_secret, secret},
    jwt::{self, DiscoveryError},
    settings::url::is_web_url,
    text::printable,
};

/// What a provider says of itself (`OpenID` Connect Discovery, section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Discovery {
    pub(super) authorization_endpoint: String,
    pub(super) token_endpoint: String,
    pub(super) jwks_uri: String,
    pub(super) device_authorization_endpoint: Option<String>,
    pub(super) revocation_endpoint: Option<String>,
    scopes_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    /// RFC 9207.
    pub(super) says_issuer: bool,
}

impl Discovery {
    /// Reads the document of `issuer`. One of another issuer, or with an endpoint that can be overheard, is not believed.
    pub(super) fn parse(body: &[u8], issuer: &str) -> Result<Self, Failure> {
        let wrong = |what: &dyn Display| Failure::Wrong(format!("the discovery document of {issuer}: {what}"));
        let document = jwt::Discovery::parse(body, issuer).map_err(|error| match error {
            // Anything may come from a portal on the way.
            DiscoveryError::Malformed => Failure::Temporary(format!("the discovery document of {issuer}: {error}")),
            error => wrong(&error),
        })?;
        let optional = |key| {
            let url = document.url(key).map_err(|error| wrong(&error))?;
            // The client speaks TLS, or not, with all of them.
            let scheme = |url: &str| url.starts_with("https:");
            match url {
                Some(url) if scheme(&url) != scheme(issuer) => {
                    Err(wrong(&format_args!("`{key}` is not a URL with https: {:?}", printable(&url, 100))))
                }
                url => Ok(url),
            }
        };
        let required = |key| optional(key)?.ok_or_else(|| wrong(&format_args!("it has no `{key}`")));
        let words = |key| {
            let list = document.get(key)?.as_array()?;
            Some(list.iter().filter_map(|word| word.as_str()).map(str::to_owned).collect())
        };
        Ok(Self {
            authorization_endpoint: required("authorization_endpoint")?,
            token_endpoint: required("token_endpoint")?,
            jwks_uri: required("jwks_uri")?,
            device_authorization_endpoint: optional("device_authorization_endpoint")?,
            revocation_endpoint: optional("revocation_endpoint")?,
            scopes_supported: words("scopes_supported"),
            code_challenge_methods_supported: words("code_challenge_methods_supported"),
            says_issuer: document.get("authorization_response_iss_parameter_supported") == Some(&true.into()),
        })
    }

    /// Whether codes are of use only to the one who has asked for them. Providers that say nothing of it may well do it.
    pub(super) fn has_pkce(&self) -> bool {
        self.code_challenge_methods_supported.as_ref().is_none_or(|methods| methods.iter().any(|one| one == "S256"))
    }

    /// The scopes to ask for.
    pub(super) fn scope(&self, wanted: &[String]) -> String {
        let is_known = |scope: &&String| {
            *scope != "offline_access"
                || self.scopes_supported.as_ref().is_none_or(|known| known.iter().any(|one| one == *scope))
        };
        wanted.iter().filter(is_known).map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// The tokens that are used.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) id_token: Option<Secret>,
    pub(super) refresh_token: Option<Secret>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default, deserialize_with = "secret")]
    id_token: Option<Zeroizing<String>>,
    #[serde(default, deserialize_with = "secret")]
    refresh_token: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// What a person enters at another device (RFC 8628, section 3.2), also in the spelling of IAM Identity Center.
#[derive(Deserialize)]
pub(super) struct DeviceCode {
    #[serde(rename = "device_code", alias = "deviceCode", deserialize_with = "required_secret")]
    pub(super) secret: Zeroizing<String>,
    #[serde(alias = "userCode")]
    pub(super) user_code: String,
    #[serde(alias = "verificationUri")]
    pub(super) verification_uri: String,
    #[serde(alias = "verificationUriComplete")]
    pub(super) verification_uri_complete: Option<String>,
    #[serde(alias = "expiresIn")]
    expires_in: u64,
    interval: Option<u64>,
}

impl DeviceCode {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Failure> {
        let code: Self = serde_json::from_slice(body)
            .map_err(|_| Failure::Temporary("the answer is not a device authorization".to_owned()))?;
        let urls = std::iter::once(&code.verification_uri).chain(&code.verification_uri_complete);
        let urls = urls.into_iter().all(|url| is_web_url(url) && !is_clear_text(url));
        let shown = code.user_code.chars().all(|c| c.is_ascii_graphic() || c == ' ') && code.user_code.len() <= 64;
        if urls && shown {
            Ok(code)
        } else {
            Err(Failure::Wrong("the device authorization has a code or a URL that cannot be shown".to_owned()))
        }
    }

    /// How long the code is valid.
    pub(super) fn life(&self) -> Duration {
        Duration::from_secs(self.expires_in.min(3600))
    }

    /// How often it may be asked whether the person is done.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_secs(self.interval.unwrap_or(5).clamp(1, 60))
    }
}

pub(super) fn tokens(body: &[u8]) -> Result<Answered, Failure> {
    let answer: TokenAnswer = serde_json::from_slice(body)
        .map_err(|_| Failure::Temporary("the answer is not a token response".to_owned()))?;
    let take =
        |token: Option<Zeroizing<String>>| token.filter(|token| !token.is_empty()).map(|token| Secret::new(&**token));
    Ok(Answered { id_token: take(answer.id_token), refresh_token: take(answer.refresh_token) })
}

/// What an error of the token endpoint means (RFC 6749, section 5.2).
pub(super) fn failure(status: u16, body: &[u8]) -> Failure {
    match serde_json::from_slice::<ErrorAnswer>(body) {
        Ok(ErrorAnswer { error, error_description })
            if (400..500).contains(&status) && error != "temporarily_unavailable" && status != 429 =>
        {
            Failure::refused(&error, &error_description)
        }
        _ => Failure::Temporary(format!("the answer is {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(changes: &[(&str, serde_json::Value)]) -> Result<Discovery, Failure> {
        let mut document = serde_json::json!({
            "issuer": "https://login",
            "authorization_endpoint": "https://login/auth",
            "token_endpoint": "https://api.login/token",
            "jwks_uri": "https://login/keys",
        });
        for (key, value) in changes {
            document[*key] = value.clone();
        }
        Discovery::parse(document.to_string().as_bytes(), "https://login")
    }

    #[test]
    fn a_discovery_document_is_of_its_issuer_and_overheard_by_nobody() {
        let good = document(&[]).expect("good");
        assert!(good.has_pkce());
        assert_eq!(good.scope(&["openid".into(), "offline_access".into()]), "openid offline_access");
        let some = document(&[("scopes_supported", serde_json::json!(["openid"]))]).expect("good");
        assert_eq!(some.scope(&["openid".into(), "groups".into(), "offline_access".into()]), "openid groups");
        let plain = document(&[("code_challenge_methods_supported", serde_json::json!(["plain"]))]).expect("good");
        assert!(!plain.has_pkce());
        for (key, value) in [
            ("issuer", "https://login/"),
            ("token_endpoint", "http://login/token"),
            ("token_endpoint", "http://127.0.0.1/token"),
            ("jwks_uri", "file:///keys"),
            ("revocation_endpoint", "http://login/revoke"),
        ] {
            assert!(matches!(document(&[(key, value.into())]), Err(Failure::Wrong(_))), "{key}: {value}");
        }
    }

    #[test]
    fn errors_are_decisions_only_where_the_provider_says_so() {
        let code = |status, body: &str| match failure(status, body.as_bytes()) {
            Failure::Refused { code, .. } => Some(code),
            _ => None,
        };
        let denied = r#"{"error": "invalid_grant", "error_description": "expired"}"#;
        assert_eq!(code(400, denied).as_deref(), Some("invalid_grant"));
        assert_eq!(code(503, denied), None);
        assert_eq!(code(429, denied), None);
        assert_eq!(code(400, "<html>"), None);
        assert_eq!(code(400, r#"{"error": "temporarily_unavailable"}"#), None);
    }

    #[test]
    fn a_device_code_that_could_play_with_the_terminal_is_refused() {
        let parse = |code: &str, url: &str| {
            let body = serde_json::json!({
                "device_code": "d", "user_code": code, "verification_uri": url, "expires_in": 600
            });
            DeviceCode::parse(body.to_string().as_bytes()).map(|code| code.interval().as_secs()).ok()
        };
        assert_eq!(parse("ABCD-EFGH", "https://login/device"), Some(5));
        assert_eq!(parse("A\u{1b}[2J", "https://login/device"), None);
        assert_eq!(parse("ABCD", "http://login/device"), None);
    }
}
