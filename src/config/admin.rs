//! `admin_socket` and what belongs to it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use alppaca_settings::{fields::Fields, read};

/// The name of the socket in the run directory.
const SOCKET: &str = "alppaca.sock";
/// What stands for "no socket".
pub(super) const OFF: &str = "off";

/// The socket through which `status`, `credentials` and `exec` talk to the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Its path (`admin_socket`); none if it is switched off.
    pub socket: Option<PathBuf>,
    /// The group that alone may connect, and sees all roles (`admin_group`).
    pub group: Option<String>,
    /// Where the metrics are served by TCP (`metrics_listen`).
    pub metrics: Option<SocketAddr>,
}

/// Reads it; by default the socket is in `run_dir`.
pub(super) fn admin(fields: &mut Fields, run_dir: Option<&Path>) -> Option<Admin> {
    let given = fields.optional("admin_socket", |node| match read::text(node)? {
        text if text.eq_ignore_ascii_case(OFF) => Ok(None),
        text => Ok(Some(PathBuf::from(text))),
    });
    let group = fields.optional("admin_group", read::text);
    let metrics = fields.optional("metrics_listen", read::socket_address);
    let socket = match given? {
        Some(socket) => socket,
        None => Some(run_dir?.join(SOCKET)),
    };
    Some(Admin { socket, group: group?, metrics: metrics? })
}
