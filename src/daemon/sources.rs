//! From the configuration to the graph of what is fetched.

use std::sync::Arc;

use crate::{
    config::{self, Config},
    refresh::{Cadence, Graph},
    source::ims::{self, ImsSource, SetupError},
};

/// Makes the sources that `config` names. Files are read; nothing is sent yet.
pub fn graph(config: &Config) -> Result<Graph, SetupError> {
    let source = ImsSource::new(ims_settings(&config.ims))?;
    Ok(Graph::listing(Arc::new(source), Cadence::Poll { interval: config.refresh.interval }))
}

/// The settings of the IMS source.
fn ims_settings(config: &config::Ims) -> ims::Settings {
    ims::Settings {
        list_url: config.list_url.clone(),
        connect_timeout: config.connect_timeout,
        timeout: config.timeout,
        max_response_bytes: config.max_response_bytes,
        concurrency: config.concurrency,
        ca_file: config.ca_file.clone(),
        client_certificate: config.client_certificate.clone(),
        proxy: config
            .proxy
            .as_ref()
            .map(|proxy| ims::Proxy { url: proxy.url.clone(), credentials: proxy.credentials.clone() }),
    }
}
