//! From the configuration to the settings of each room, which know nothing of the configuration.

use crate::{config, serve, source::ims};

/// The settings of the IMS source.
pub fn ims_settings(config: &config::Ims) -> ims::Settings {
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

pub(super) fn imds_settings(config: &config::Imds) -> serve::Settings {
    serve::Settings {
        v1: config.v1,
        list_all: config.list_roles == config::ListRoles::All,
        serve_expired: config.serve_expired,
        allowed_hosts: config.allowed_hosts.clone(),
    }
}

pub(super) fn limits(config: &config::Limits) -> serve::Limits {
    serve::Limits {
        connections: config.connections,
        header_timeout: config.header_timeout,
        idle_timeout: config.idle_timeout,
        write_timeout: config.write_timeout,
    }
}
