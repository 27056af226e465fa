//! `kind: ims`.

use std::{sync::Arc, time::Duration};

use crate::{
    clock::SharedClock,
    config,
    source::{
        Source,
        ims::{ImsSource, Proxy, Settings, SetupError},
        standby::StandBy,
    },
};

/// The IMS of `config`, on one host or several; a host that was left is tried again after `return_wait`. Its files are
/// read; nothing is sent yet.
pub(super) fn source(
    config: &config::Ims,
    clock: &SharedClock,
    return_wait: Duration,
) -> Result<Arc<dyn Source>, SetupError> {
    let hosts = std::iter::once(&config.list_url).chain(&config.stand_ins);
    let mut hosts =
        hosts.map(|url| Ok((url.clone(), on_one_host(config, url)?))).collect::<Result<Vec<_>, SetupError>>()?;
    match hosts.pop() {
        Some((_, only)) if hosts.is_empty() => Ok(only),
        last => Ok(Arc::new(StandBy::new(hosts.into_iter().chain(last).collect(), Arc::clone(clock), return_wait))),
    }
}

fn on_one_host(config: &config::Ims, list_url: &str) -> Result<Arc<dyn Source>, SetupError> {
    let proxy = config.proxy.as_ref();
    Ok(Arc::new(ImsSource::new(Settings {
        list_url: list_url.to_owned(),
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
        max_response_bytes: config.max_response_bytes,
        concurrency: config.concurrency,
        ca_file: config.ca_file.clone(),
        client_certificate: config.client_certificate.clone(),
        proxy: proxy.map(|proxy| Proxy { url: proxy.url.clone(), credentials: proxy.credentials.clone() }),
    })?))
}
