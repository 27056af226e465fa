//! Where the keys of an issuer are, as it says itself: OpenID Connect Discovery 1.0, section 4. Pure.

use crate::{settings::url::is_confidential_url, text::printable};

/// Why an issuer does not say where its keys are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// It is not the document.
    #[error("this is not a discovery document (JSON with `issuer` and `jwks_uri`)")]
    Malformed,
    /// It is the document of another issuer.
    #[error("the document is of the issuer {found:?}, not {wanted:?}; `issuer` has to be exactly the same")]
    OtherIssuer {
        /// What the document says.
        found: String,
        /// What is configured.
        wanted: String,
    },
    /// Anybody on the way could change the keys.
    #[error("`jwks_uri` of the document is not a URL with https: {0:?}")]
    NotConfidential(String),
}

/// The URL of the document of an issuer.
pub fn discovery_url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

/// The URL of the keys in the document of an issuer.
pub fn keys_url(document: &[u8], issuer: &str) -> Result<String, DiscoveryError> {
    let document: serde_json::Value = serde_json::from_slice(document).map_err(|_| DiscoveryError::Malformed)?;
    let text = |key: &str| document.get(key).and_then(|value| value.as_str()).ok_or(DiscoveryError::Malformed);
    let (found, url) = (text("issuer")?, text("jwks_uri")?);
    let shown = |text: &str| printable(text, 200);
    if found != issuer {
        return Err(DiscoveryError::OtherIssuer { found: shown(found), wanted: issuer.to_owned() });
    }
    if is_confidential_url(url) { Ok(url.to_owned()) } else { Err(DiscoveryError::NotConfidential(shown(url))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_below_the_issuer() {
        for issuer in ["https://login.example.com/tenant", "https://login.example.com/tenant/"] {
            assert_eq!(discovery_url(issuer), "https://login.example.com/tenant/.well-known/openid-configuration");
        }
    }

    #[test]
    fn the_issuer_is_exact_and_the_keys_come_by_https() {
        let judge = |issuer: &str, url: &str| {
            let document = serde_json::json!({"issuer": issuer, "jwks_uri": url, "other": [1]}).to_string();
            keys_url(document.as_bytes(), "https://login.example.com")
        };
        for url in ["https://keys.example.com/x?p=1", "http://127.0.0.1:1/jwks", "http://localhost/jwks"] {
            assert_eq!(judge("https://login.example.com", url).as_deref(), Ok(url));
        }
        for url in ["http://keys.example.com/", "file:///etc/passwd", "https://u:p@keys.example.com/", "/jwks", ""] {
            assert!(
                matches!(judge("https://login.example.com", url), Err(DiscoveryError::NotConfidential(_))),
                "{url}"
            );
        }
        for issuer in ["https://login.example.com/", "https://LOGIN.example.com", "https://evil.example.com", ""] {
            let found = judge(issuer, "https://k/");
            assert!(matches!(found, Err(DiscoveryError::OtherIssuer { .. })), "{issuer}: {found:?}");
        }
        for document in ["", "[]", "{}", r#"{"issuer": 1, "jwks_uri": "https://k/"}"#, r#"{"issuer": "i"}"#] {
            assert_eq!(keys_url(document.as_bytes(), "i"), Err(DiscoveryError::Malformed), "{document}");
        }
    }
}
