//! Fetches for the faces, which make no calls themselves: documents of a real IMDS, keys of an issuer of tokens, the
//! service accounts of a cluster.

mod imds;

use std::{sync::Arc, time::Duration};

use imds::Relay;

use crate::{
    api_server::AccountWatch,
    clock::SharedClock,
    faces::{OpenError, Remote, Work, imds::Wanted},
    fetch::SetupError,
    jwt::{KeyOptions, KeyRing},
    key_sets::PublicKeys,
    kubernetes::{ApiOptions, Index},
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

    fn accounts(&self, options: &ApiOptions, index: Arc<Index>, clock: SharedClock) -> Work {
        Box::pin(AccountWatch::new(options, index, clock).run())
    }
}

fn open_error(error: SetupError) -> OpenError {
    OpenError(error.into())
}
