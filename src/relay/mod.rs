//! Fetches for the faces, which make no calls themselves: documents of a real IMDS, keys of an issuer of tokens.

mod imds;
mod keys;

use std::time::Duration;

use imds::Relay;
use keys::PublicKeys;

use crate::{
    faces::{OpenError, Remote, Work, imds::Wanted, pod_identity::KeySource},
    fetch::SetupError,
    jwt::KeyRing,
};

/// Calls other servers by HTTP.
pub(crate) struct Relays;

impl Remote for Relays {
    fn documents(&self, base: &str, timeout: Duration, wanted: Wanted) -> Result<Work, OpenError> {
        Ok(Box::pin(Relay::new(base, timeout, wanted).map_err(open_error)?.run()))
    }

    fn keys(&self, source: &KeySource, interval: Duration, ring: KeyRing) -> Result<Work, OpenError> {
        Ok(Box::pin(PublicKeys::new(source.clone(), interval, ring).map_err(open_error)?.run()))
    }
}

fn open_error(error: SetupError) -> OpenError {
    OpenError(error.into())
}
