//! STS in each of the configured regions.

use std::sync::Arc;

use crate::{
    refresh::SourceError,
    source::sts::{Answered, Failed, Sts},
};

/// All regions, in the order of preference. Never empty.
pub(super) struct Regions(pub(super) Vec<(String, Arc<Sts>)>);

impl Regions {
    /// The call of the first region that answers it, for the server's own calls. What AWS refuses in one region it
    /// refuses in all.
    pub(super) async fn first<'a, T, F>(&'a self, call: impl Fn(&'a Sts) -> F) -> Result<Answered<T>, SourceError>
    where
        F: Future<Output = Result<Answered<T>, Failed>>,
    {
        let mut failed = Vec::new();
        for (_, sts) in &self.0 {
            match call(sts).await {
                Ok(answered) => return Ok(answered),
                Err(Failed { error, .. }) => failed.push(error),
            }
        }
        Err(SourceError::together(failed))
    }

    /// The name of a region.
    pub(super) fn name(&self, index: usize) -> &str {
        self.0.get(index).map_or("", |(name, _)| name)
    }
}
