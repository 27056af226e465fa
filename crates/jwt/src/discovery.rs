//! What an issuer says of itself, such as where its keys are: OpenID Connect Discovery 1.0, section 4. Pure.

use serde_json::{Map, Value};

use crate::{settings::url::is_confidential_url, text::printable};

/// Why an issuer does not say where its keys are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// It is not the document.
    #[error("this is not a discovery document (JSON with `issuer`, `jwks_uri` and others)")]
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
    #[error("`{key}` of the document is not a URL with https: {found:?}")]
    NotConfidential {
        /// Which URL.
        key: &'static str,
        /// What the document says.
        found: String,
    },
}

/// The document of an issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discovery(Map<String, Value>);

impl Discovery {
    /// Reads the document of `issuer`. One of another issuer is not believed.
    pub fn parse(document: &[u8], issuer: &str) -> Result<Self, DiscoveryError> {
        let document: Map<String, Value> = serde_json::from_slice(document).map_err(|_| DiscoveryError::Malformed)?;
        let found = document.get("issuer").and_then(Value::as_str).ok_or(DiscoveryError::Malformed)?;
        if found == issuer {
            Ok(Self(document))
        } else {
            Err(DiscoveryError::OtherIssuer { found: printable(found, 200), wanted: issuer.to_owned() })
        }
    }

    /// A URL, if it is there. One that can be overheard is not believed.
    pub fn url(&self, key: &'static str) -> Result<Option<String>, DiscoveryError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(url)) if is_confidential_url(url) => Ok(Some(url.clone())),
            Some(Value::String(url)) => Err(DiscoveryError::NotConfidential { key, found: printable(url, 200) }),
            Some(_) => Err(DiscoveryError::Malformed),
        }
    }

    /// One that has to be there.
    pub fn required_url(&self, key: &'static str) -> Result<String, DiscoveryError> {
        self.url(key)?.ok_or(DiscoveryError::Malformed)
    }

    /// Anything else in it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key).filter(|value| !value.is_null())
    }
}

/// The URL of the document of an issuer.
pub fn discovery_url(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_url(document: &[u8], issuer: &str) -> Result<String, DiscoveryError> {
        Discovery::parse(document, issuer)?.required_url("jwks_uri")
    }

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
                matches!(
                    judge("https://login.example.com", url),
                    Err(DiscoveryError::NotConfidential { key: "jwks_uri", .. })
                ),
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
