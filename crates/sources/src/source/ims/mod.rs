//! The IMS: an HTTP upstream that speaks the two paths of EC2's IMDS. `docs/ims.md` is its contract.

mod answer;
mod client;
mod flat;
mod identity;
mod options;
mod role_list;
mod signature;

use std::{fmt, sync::Arc};

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub(super) use answer::{Accepted, NO_SUCH_ROLE, accept, bad_document, date, dated, empty, http_date, message_of};
pub use client::Settings;
pub use flat::FLAT;
use identity::Shown;
pub use identity::{Identity, IdentityKind};
pub use options::Options;
pub use role_list::{RoleListError, parse_role_list};
pub use signature::{Key, Subjects};

use super::{RoleList, Source, SourceError, SourceFuture};
use crate::{
    credentials::{Credentials, RoleName},
    fetch::{Answer, Call, Renewed, SetupError},
    text::snippet,
};

/// All but the characters that need no escape anywhere in a URL (RFC 3986, section 2.3).
pub(super) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The list of 1,000 roles takes 65 KB, so a small limit for documents must not cut it off.
const LEAST_LIST_LIMIT: usize = 1024 * 1024;

/// An IMS. `Debug` shows its URL and nothing else.
pub struct ImsSource {
    list_url: String,
    client: Arc<Renewed>,
    max_response_bytes: usize,
    concurrency: usize,
    identity: Option<Shown>,
}

impl ImsSource {
    /// Prepares the connections to an IMS and reads the files of certificates and keys; nothing is sent yet. Keys
    /// of SSH are read once; a certificate of TLS is read again when its files change.
    pub fn new(settings: Settings) -> Result<Self, SetupError> {
        Ok(Self {
            client: Arc::new(settings.client()?),
            max_response_bytes: settings.max_response_bytes,
            concurrency: settings.concurrency,
            identity: settings.identity.map(Identity::open).transpose()?,
            list_url: settings.list_url,
        })
    }

    /// The connections, with the certificate that is shown.
    pub(super) fn connections(&self) -> Arc<Renewed> {
        Arc::clone(&self.client)
    }

    async fn get(&self, url: &str, limit: usize) -> Result<Answer, SourceError> {
        let client = self.client.current();
        match &self.identity {
            Some(identity) => identity.get(&client, url, limit).await,
            None => Ok(client.send(Call::new(Method::GET, url), limit).await?),
        }
    }

    async fn list(&self) -> Result<RoleList, SourceError> {
        let url = &self.list_url;
        let answer = self.get(url, self.max_response_bytes.max(LEAST_LIST_LIMIT)).await?;
        let Accepted { body, decided, max_age, date } = accept(answer, url)?;
        let list = parse_role_list(&body)
            .map_err(|error| SourceError::transient(format!("GET {url}: {error}{}", snippet(&body))))?;
        if list.names.is_empty() && !decided { Err(empty(url)) } else { Ok(RoleList { max_age, date, ..list }) }
    }

    async fn document(&self, role: &RoleName) -> Result<Credentials, SourceError> {
        let url = format!("{}{}", self.list_url, utf8_percent_encode(role.as_str(), ESCAPED));
        let answer = self.get(&url, self.max_response_bytes).await?;
        accept(answer, &url)?.set(&url)
    }
}

impl Source for ImsSource {
    fn roles(&self) -> SourceFuture<'_, RoleList> {
        Box::pin(self.list())
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
        Box::pin(self.document(role))
    }
}

impl fmt::Debug for ImsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImsSource").field("list_url", &self.list_url).finish_non_exhaustive()
    }
}
