//! Fetches for the faces, which make no calls themselves: documents of a real IMDS, keys of an issuer of tokens.

mod imds;

use std::time::Duration;

use imds::Relay;

use crate::{
    faces::{OpenError, Remote, Work, imds::Wanted},
    fetch::SetupError,
    jwt::{KeyOptions, KeyRing},
    key_sets::PublicKeys,
};

/// Calls other servers by HTTP.
pub(crate) struct Relays;

impl Remote for Relays {
    fn documents(&self, base: &str, timeout: Duration, wanted: Wanted) -> Result<Work, OpenError> {
        Ok(Box::pin(Relay::new(base, timeout, wanted).map_err(open_error)?.run()))
    }

    fn keys(&self, options: &KeyOptions, ring: KeyRing) -> Result<Work, OpenError> {
        Ok(Box::pin(PublicKeys::new(options, ring).map_err(open_error)?.run()))
    }
}

fn open_error(error: SetupError) -> OpenError {
    OpenError(error.into())
}
