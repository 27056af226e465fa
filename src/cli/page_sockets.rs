//! The sockets of the status page.

use super::sockets::Sockets;
use crate::{
    admin::{Access, AdminSocket, SocketError, SocketPlace},
    config::Config,
    daemon::PageSockets,
    sandbox::Identity,
};
use nix::unistd::Gid;

/// Those in the file system, which are made before privileges are dropped.
pub(super) struct PageFiles(Vec<Result<AdminSocket, SocketError>>);

impl PageFiles {
    /// Makes them: for `group`, or else for the user who starts the daemon and root. If another daemon `runs`, they take the
    /// place of its own later.
    pub(super) fn bind(config: &Config, group: Option<Gid>, identity: Option<&Identity>, runs: bool) -> Self {
        let access = group.map_or(Access::Owner, Access::Group);
        let bind = |path| {
            if runs {
                AdminSocket::bind_beside(path, access, identity)
            } else {
                AdminSocket::bind(path, access, identity)
            }
        };
        let paths = config.status_page.iter().flat_map(|page| &page.listen).filter_map(|listen| listen.socket());
        Self(paths.map(bind).collect())
    }

    /// Where they are.
    pub(super) fn places(&self) -> Vec<SocketPlace> {
        self.0.iter().flatten().map(AdminSocket::place).collect()
    }

    /// All sockets of the page. Without one of these the credentials are served all the same.
    pub(super) fn with_others(self, config: &Config, sockets: &mut Sockets) -> Option<PageSockets> {
        let page = config.status_page.as_ref()?;
        let told = |error: &SocketError| tracing::error!("no status page there: {error}");
        let unix = self.0.into_iter().filter_map(|bound| bound.inspect_err(told).ok()).collect();
        let page = PageSockets { tcp: std::mem::take(&mut sockets.page), unix, hosts: page.hosts.clone() };
        for place in page.urls() {
            notice!("status page at {place}");
        }
        Some(page)
    }
}
