//! URLs of the AWS console for clients: who may have one, and where it may lead.

mod callback;
mod options;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

pub use callback::Callback;
pub use options::{Options, SETTINGS, read};

use crate::{
    credentials::Secret,
    federation::{Hosts, Session, SignIn},
    fetch::{self, Client, parse_url},
    rules::Grant,
    sts::Minted,
};

/// Why there is no URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsoleError {
    /// The client wants the console to send the browser somewhere that is not in the list.
    #[error("the callback URL is not one of those that this server allows (`callback_urls`)")]
    Callback,
    /// No console is known for it.
    #[error("no console is known for the partition {0}")]
    Partition(String),
    /// AWS's sign-in gives no token, or cannot be reached.
    #[error("{0}")]
    Unavailable(String),
}

impl ConsoleError {
    /// Whether it is a decision about this client: 403 and not 503.
    pub fn is_decision(&self) -> bool {
        matches!(self, Self::Callback)
    }
}

/// What makes URLs.
pub struct Console {
    options: Options,
    http: fetch::Options,
    /// One for each endpoint.
    clients: Mutex<HashMap<String, Arc<Client>>>,
}

impl Console {
    /// A URL that opens the console with these credentials. `callback`: where the console sends the browser when the
    /// session is over.
    pub async fn url(&self, minted: &Minted, grant: &Grant, callback: Option<&str>) -> Result<Secret, ConsoleError> {
        let callback = callback.filter(|url| !url.is_empty());
        if callback.is_some_and(|url| !self.options.callbacks.iter().any(|allowed| allowed.covers(url))) {
            return Err(ConsoleError::Callback);
        }
        let partition = grant.arn.partition();
        let hosts = Hosts::of(partition).ok_or_else(|| ConsoleError::Partition(partition.to_owned()))?;
        let endpoint = self.options.endpoint.clone().unwrap_or_else(|| hosts.federation(None));
        let session = Session {
            access_key_id: &minted.credentials.access_key_id,
            secret_access_key: &minted.credentials.secret_access_key,
            session_token: &minted.credentials.session_token,
        };
        // AWS refuses a duration for what was made with a role's credentials: role chaining. Without one, the session ends
        // with its credentials, as one on approval has to.
        let duration = Some(self.options.session_duration).filter(|_| minted.by_user && grant.approval.is_none());
        let sign_in = SignIn::get(&*self.client(&endpoint)?, &endpoint, session, duration).await;
        let sign_in = sign_in.map_err(|error| ConsoleError::Unavailable(error.to_string()))?;
        let destination = self.options.destination.clone().unwrap_or_else(|| format!("https://{}/", hosts.console));
        let issuer = callback.or(self.options.issuer.as_deref()).unwrap_or_default();
        Ok(sign_in.url(&endpoint, issuer, &destination))
    }

    fn client(&self, endpoint: &str) -> Result<Arc<Client>, ConsoleError> {
        // Nothing that could panic is done while it is locked.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(endpoint) {
            return Ok(Arc::clone(client));
        }
        let client = parse_url("sign-in of AWS", endpoint).and_then(|url| Client::new(&url, &self.http));
        let client = Arc::new(client.map_err(|error| ConsoleError::Unavailable(error.to_string()))?);
        clients.insert(endpoint.to_owned(), Arc::clone(&client));
        Ok(client)
    }
}

#[cfg(test)]
mod tests;
