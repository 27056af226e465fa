//! `kind: ims`.

use std::{sync::Arc, time::Duration};

use super::{Surroundings, kinds::proxies};
use crate::{
    config,
    fetch::Proxies,
    refresh::Source,
    source::{
        ims::{ImsSource, Settings},
        standby::StandBy,
    },
};

/// The IMS of `config`, on one host or several; a host that was left is tried again after `return_wait`. Its files are
/// read; nothing is sent yet.
pub(super) fn source(
    config: &config::Ims,
    surroundings: &Surroundings,
    return_wait: Duration,
) -> Result<Arc<dyn Source>, String> {
    let proxies = proxies(&config.proxying, surroundings)?;
    let hosts = std::iter::once(&config.list_url).chain(&config.stand_ins);
    let mut hosts =
        hosts.map(|url| Ok((url.clone(), on_one_host(config, url, &proxies)?))).collect::<Result<Vec<_>, String>>()?;
    match hosts.pop() {
        Some((_, only)) if hosts.is_empty() => Ok(only),
        last => {
            let hosts = hosts.into_iter().chain(last).collect();
            Ok(Arc::new(StandBy::new(hosts, Arc::clone(&surroundings.clock), return_wait)))
        }
    }
}

fn on_one_host(config: &config::Ims, list_url: &str, proxies: &Proxies) -> Result<Arc<dyn Source>, String> {
    let source = ImsSource::new(Settings {
        list_url: list_url.to_owned(),
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
        max_response_bytes: config.max_response_bytes,
        concurrency: config.concurrency,
        ca_file: config.ca_file.clone(),
        client_certificate: config.client_certificate.clone(),
        proxies: proxies.clone(),
    });
    Ok(Arc::new(source.map_err(|error| error.to_string())?))
}
