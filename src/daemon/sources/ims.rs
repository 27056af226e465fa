//! `kind: ims`.

use std::sync::Arc;

use crate::{
    config,
    source::{
        Source,
        ims::{ImsSource, Proxy, Settings, SetupError},
    },
};

/// The IMS of `config`. Its files are read; nothing is sent yet.
pub(super) fn source(config: &config::Ims) -> Result<Arc<dyn Source>, SetupError> {
    let proxy = config.proxy.as_ref();
    Ok(Arc::new(ImsSource::new(Settings {
        list_url: config.list_url.clone(),
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
        max_response_bytes: config.max_response_bytes,
        concurrency: config.concurrency,
        ca_file: config.ca_file.clone(),
        client_certificate: config.client_certificate.clone(),
        proxy: proxy.map(|proxy| Proxy { url: proxy.url.clone(), credentials: proxy.credentials.clone() }),
    })?))
}
