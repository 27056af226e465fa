//! STS in each of the configured regions.

use std::{sync::Arc, time::Duration};

use super::signer::Identify;
use crate::{
    credentials::Credentials,
    open_metrics::Histogram,
    refresh::{SourceError, SourceFuture},
    source::sts::{Answered, Failed, Sts},
};

/// From a call within the region to one that is given up.
const BUCKETS: &[Duration] = &[
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// All regions, in the order of preference. Never empty.
pub(super) struct Regions(pub(super) Vec<Region>);

/// STS in a region.
pub(super) struct Region {
    pub(super) name: String,
    pub(super) sts: Arc<Sts>,
    /// How long calls of `AssumeRole` took.
    pub(super) took: Histogram,
}

impl Region {
    pub(super) fn new(name: String, sts: Arc<Sts>) -> Self {
        Self { name, sts, took: Histogram::new(BUCKETS) }
    }
}

impl Regions {
    /// The call of the first region that answers it, for the server's own calls. What AWS refuses in one region it
    /// refuses in all.
    pub(super) async fn first<'a, T, F>(&'a self, call: impl Fn(&'a Sts) -> F) -> Result<Answered<T>, SourceError>
    where
        F: Future<Output = Result<Answered<T>, Failed>>,
    {
        let mut failed = Vec::new();
        for Region { sts, .. } in &self.0 {
            match call(sts).await {
                Ok(answered) => return Ok(answered),
                Err(Failed { error, .. }) => failed.push(error),
            }
        }
        Err(SourceError::together(failed))
    }

    /// The name of a region.
    pub(super) fn name(&self, index: usize) -> &str {
        self.0.get(index).map_or("", |region| &region.name)
    }

    /// How long calls in a region took.
    pub(super) fn took(&self, index: usize) -> Option<&Histogram> {
        self.0.get(index).map(|region| &region.took)
    }
}

impl Identify for Regions {
    fn identify<'a>(&'a self, credentials: &'a Credentials) -> SourceFuture<'a, String> {
        Box::pin(async { Ok(self.first(|sts| sts.caller_identity(credentials)).await?.value) })
    }
}
