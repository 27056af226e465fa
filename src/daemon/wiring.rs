//! From the configuration to the settings of each room, which know nothing of the configuration.

use crate::{config, faces::imds, http};

pub(super) fn imds_settings(
    config: &config::Imds,
    beside: &config::Metadata,
    metadata: imds::Metadata,
) -> imds::Settings {
    imds::Settings {
        v1: config.v1,
        list_all: config.list_roles == config::ListRoles::All,
        serve_expired: config.serve_expired,
        allowed_hosts: config.allowed_hosts.clone(),
        extended: beside.extended,
        metadata,
    }
}

pub(super) fn limits(config: &config::Limits) -> http::Limits {
    http::Limits {
        connections: config.connections,
        header_timeout: config.header_timeout,
        idle_timeout: config.idle_timeout,
        write_timeout: config.write_timeout,
    }
}
