//! The faces as the configuration wants them, and what works for them in the background.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::Notify;

use super::{DaemonError, wiring::imds_settings};
use crate::{
    clock::SharedClock,
    config::{self, Config},
    host,
    serve::{Entry, Faces, HostFacts, Imds, Metadata, TokenKey, passthrough},
    store::Store,
};

/// Beyond its time-out, for the answer to get from the relay to the request.
const MARGIN: Duration = Duration::from_millis(50);

/// Work that never ends, to be done apart from the requests.
pub(super) type Background = Vec<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// Builds the faces that show `store`.
pub(super) fn build(
    config: &Config,
    store: Arc<Store>,
    clock: &SharedClock,
) -> Result<(Faces, Background), DaemonError> {
    let key = TokenKey::random().map_err(|_unspecified| DaemonError::Randomness)?;
    let arrived = Arc::new(Notify::new());
    let mut background: Background = Vec::new();
    let timeout = config.metadata.passthrough_timeout;
    let relayed = match &config.metadata.passthrough {
        Some(base) => {
            let (near, relay) = passthrough(base, timeout, Arc::clone(&arrived), Arc::clone(clock))?;
            background.push(Box::pin(relay.run()));
            Some(near)
        }
        None => None,
    };
    let settings = imds_settings(&config.imds, &config.metadata, metadata(config));
    let imds = Imds::new(settings, store, key, relayed, clock.now().wall);
    Ok((Faces { imds, arrived, patience: timeout + MARGIN }, background))
}

fn metadata(config: &Config) -> Metadata {
    let of_role = config.assume_role.as_ref().map(|role| role.region.clone());
    Metadata {
        region: config.metadata.region.clone().or(of_role),
        account_id: config.metadata.account_id.clone(),
        overlay: entries(&config.metadata.tree),
        host: HostFacts {
            instance_id: host::instance_id(),
            hostname: host::hostname(),
            local_ipv4: host::local_ipv4(),
            mac: host::mac(),
            architecture: host::architecture(),
            started: host::started(),
        },
        passthrough: config.metadata.passthrough.is_some(),
    }
}

fn entries(tree: &[(String, config::Tree)]) -> Vec<(String, Entry)> {
    let entry = |tree: &config::Tree| match tree {
        config::Tree::Removed => Entry::Removed,
        config::Tree::File(text) => Entry::File(text.clone()),
        config::Tree::Directory(below) => Entry::Directory(entries(below)),
    };
    tree.iter().map(|(name, tree)| (name.clone(), entry(tree))).collect()
}
