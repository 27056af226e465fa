//! The kinds of sources over real sockets and with real programs.

mod daemon;
mod hologram;
mod imds;
mod login;
mod process;
mod profile;
mod proxies;
mod tls;
mod vault;
mod web_identity;

#[path = "../support/hologram.rs"]
mod hologram_server;
#[path = "../support/openssh.rs"]
mod openssh;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tinyproxy.rs"]
mod tinyproxy;

use std::{path::Path, time::Duration};

use alppaca::{
    fetch::{Options, Proxies},
    refresh::{ErrorKind, SourceError},
};

/// Patient, direct, with the system's authorities.
fn options() -> Options {
    Options {
        connect_timeout: Duration::from_secs(10),
        timeout: Duration::from_secs(20),
        limit_name: None,
        ca_file: None,
        client_certificate: None,
        proxies: Proxies::none(),
    }
}

fn is_transient(error: &SourceError) -> bool {
    error.kind == ErrorKind::Transient
}

fn is_refused(error: &SourceError) -> bool {
    matches!(error.kind, ErrorKind::Refused { withdraws: false, .. })
}

/// Writes a file, in place of the one that was there.
fn write(path: &Path, content: &str) {
    std::fs::write(path, content).expect("writable");
}
