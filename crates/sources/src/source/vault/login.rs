//! How we authenticate to Vault: a token that another program renews, or a login of our own.
//! <https://developer.hashicorp.com/vault/api-docs/auth/approle#login-with-approle>
//! <https://developer.hashicorp.com/vault/api-docs/auth/kubernetes#login>

use std::path::PathBuf;

use http::Method;
use serde_json::json;
use zeroize::Zeroizing;

use super::{MAX_BYTES, Vault, accept, parse_login, path};
use crate::{clock::BootTime, credentials::Secret, refresh::SourceError, source::file::read_secret};

/// How we authenticate. Files are read at each use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Auth {
    /// A file with a token, such as the sink of a Vault agent.
    TokenFile(PathBuf),
    /// `AppRole`.
    AppRole {
        /// Where the method is mounted, below `auth/`: `approle`.
        mount: String,
        /// The role's id, which is no secret.
        role_id: String,
        /// The file of the secret id; a role may do without (`bind_secret_id=false`).
        secret_id_file: Option<PathBuf>,
    },
    /// Kubernetes, and every other method that logs in with a role and a JWT (`jwt`).
    Kubernetes {
        /// Where the method is mounted, below `auth/`: `kubernetes`.
        mount: String,
        /// The role of that method.
        role: String,
        /// The service account's token.
        token_file: PathBuf,
    },
}

impl Auth {
    pub(super) fn is_login(&self) -> bool {
        !matches!(self, Self::TokenFile(_))
    }
}

/// A login that is still good.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) token: Secret,
    /// Afterwards we log in again.
    until: Option<BootTime>,
}

impl Vault {
    /// The token for requests. Concurrent callers share one login.
    pub(super) async fn session(&self) -> Result<Session, SourceError> {
        if let Auth::TokenFile(path) = &self.settings.auth {
            let token = read_secret("Vault token", path).await?;
            return Ok(Session { token, until: None });
        }
        let mut held = self.session.lock().await;
        let now = self.clock.now().boot;
        if let Some(session) = held.as_ref().filter(|session| session.until.is_none_or(|until| now < until)) {
            return Ok(session.clone());
        }
        let session = self.log_in().await?;
        *held = Some(session.clone());
        Ok(session)
    }

    /// Another session than `old`, with which Vault was not content.
    pub(super) async fn renew(&self, old: &Session) -> Result<Session, SourceError> {
        {
            let mut held = self.session.lock().await;
            if held.as_ref().is_some_and(|session| session.token == old.token) {
                *held = None;
            }
        }
        self.session().await
    }

    async fn log_in(&self) -> Result<Session, SourceError> {
        let (mount, body) = match &self.settings.auth {
            Auth::TokenFile(_) => return Err(SourceError::transient("a token needs no login")),
            Auth::AppRole { mount, role_id, secret_id_file } => {
                let secret_id = match secret_id_file {
                    Some(path) => Some(read_secret("AppRole secret id", path).await?),
                    None => None,
                };
                let body = match &secret_id {
                    Some(secret_id) => json_body(&[("role_id", role_id), ("secret_id", secret_id.expose())]),
                    None => json_body(&[("role_id", role_id)]),
                };
                (mount, body)
            }
            Auth::Kubernetes { mount, role, token_file } => {
                let jwt = read_secret("service account's token", token_file).await?;
                (mount, json_body(&[("role", role), ("jwt", jwt.expose())]))
            }
        };
        let url = format!("{}/auth/{}/login", self.base, path(mount));
        let asked = self.clock.now().boot;
        let answer = self.client.send(self.call(Method::POST, &url).json(body), MAX_BYTES).await?;
        let answer = accept("POST", &url, answer)?;
        let login =
            parse_login(&answer.body).map_err(|error| SourceError::transient(format!("POST {url}: {error}")))?;
        // A tenth early, so that no token ends on its way.
        let until = login.lifetime.map(|lifetime| asked + lifetime.mul_f64(0.9));
        Ok(Session { token: login.token, until })
    }
}

/// An object of texts, exactly sized: a buffer that grows would leave copies of the secrets behind.
fn json_body(fields: &[(&str, &str)]) -> Zeroizing<Vec<u8>> {
    let quoted: Vec<Zeroizing<String>> =
        fields.iter().map(|(key, value)| Zeroizing::new(format!("{}:{}", json!(key), json!(value)))).collect();
    let length = 2 + quoted.iter().map(|field| field.len() + 1).sum::<usize>();
    let mut body = Zeroizing::new(Vec::with_capacity(length));
    for (index, field) in quoted.iter().enumerate() {
        body.push(if index == 0 { b'{' } else { b',' });
        body.extend_from_slice(field.as_bytes());
    }
    body.push(b'}');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_whatever_is_in_it() {
        let body = json_body(&[("role_id", "a\"b\\"), ("secret_id", "ü\n")]);
        let value: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(value, json!({"role_id": "a\"b\\", "secret_id": "ü\n"}));
    }
}
