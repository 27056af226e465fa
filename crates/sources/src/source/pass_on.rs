//! Serves the credentials of another role under a name of its own.

use super::{Fetch, SourceError, SourceFuture};
use crate::credentials::Credentials;

/// Passes on the credentials of the parent.
#[derive(Debug, Clone, Copy)]
pub struct PassOn;

impl Fetch for PassOn {
    fn fetch<'a>(&'a self, parent: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(
            async move { parent.cloned().ok_or_else(|| SourceError::transient("there are no credentials to pass on")) },
        )
    }
}
