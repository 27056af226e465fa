//! Everything that runs, until the server stops.

use std::{net::TcpListener, path::PathBuf, sync::Arc, time::Duration};

use alppaca::host;
use ipnet::IpNet;
use tokio::{sync::watch, task::JoinSet};

use super::{
    listener::{Bound, Door},
    respond::Server,
    tls::Tls,
    watch::Watched,
};
use crate::{
    clock,
    https::{self, stopped},
    page::{self, PageServer},
    site::Limits,
};

/// Work that never ends, to be done apart from the requests.
pub type Background = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// How long the first clients wait, without an error, until the server has credentials of its own.
const FIRST: Duration = Duration::from_secs(5);
/// How often to look whether it has.
const LOOK: Duration = Duration::from_millis(20);

/// What is shown beside the answers to clients.
#[derive(Debug, Default)]
pub struct Aside {
    /// Where metrics and health are.
    pub metrics: Option<TcpListener>,
    /// Where the status page is.
    pub page: Vec<Bound>,
    /// Host names under which it is shown.
    pub hosts: Vec<String>,
}

/// What is to run.
pub struct Running {
    /// Answers the requests.
    pub server: Arc<Server>,
    /// Where clients connect.
    pub bound: Vec<Bound>,
    /// How TLS is spoken over TCP; without it, plain HTTP is.
    pub tls: Option<Arc<Tls>>,
    /// How many connections there may be.
    pub limits: Limits,
    /// Where balancers are, whose connections begin with a PROXY header.
    pub balancers: Vec<IpNet>,
    /// What is shown apart from that.
    pub shown: Aside,
    /// What works for the sources and the identity methods.
    pub background: Vec<Background>,
}

impl Running {
    /// Runs until `stop` says so and the requests at hand are answered.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> std::io::Result<()> {
        let door = Door::new(Arc::clone(&self.server), self.tls.clone(), self.limits, self.balancers, stop.clone());
        let mut aside = JoinSet::new();
        for work in self.background {
            aside.spawn(work);
        }
        let watched = Watched {
            server: Arc::clone(&self.server),
            certificate: self.tls.map(|tls| Arc::clone(tls.certificate())),
        };
        aside.spawn(watched.run());
        show_page(&self.server, self.shown.page, self.shown.hosts, &mut aside);
        if let Some(listener) = self.shown.metrics {
            let server = Arc::clone(&self.server);
            aside.spawn(async move {
                if let Err(error) = https::show(listener, server).await {
                    tracing::error!("no metrics: {error}");
                }
            });
        }
        // The sockets listen already: who connects meanwhile is answered then.
        tokio::select! {
            () = ready(&self.server) => {}
            () = clock::sleep(FIRST) => {}
            () = stopped(&mut stop) => {}
        }
        let mut listeners = JoinSet::new();
        for bound in self.bound {
            listeners.spawn(Arc::clone(&door).open(bound));
        }
        while let Some(ended) = listeners.join_next().await {
            match ended {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        Ok(())
    }
}

/// The file of a Unix socket, which is removed with this.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        // It may be gone already.
        let _gone = std::fs::remove_file(&self.0);
    }
}

fn show_page(server: &Arc<Server>, places: Vec<Bound>, hosts: Vec<String>, aside: &mut JoinSet<()>) {
    let (of, host) = (Arc::clone(server), host::hostname().unwrap_or_else(|| "this host".to_owned()));
    let pages = PageServer::new(hosts, server.clock(), move |now| of.overview(&host, now));
    for bound in places {
        let (door, file) = match bound {
            Bound::Tcp(listener) => (page::Door::Tcp(listener), None),
            Bound::Unix(listener, path) => (page::Door::Unix(listener), Some(File(path))),
        };
        let pages = Arc::clone(&pages);
        aside.spawn(async move {
            if let Err(error) = pages.serve(door).await {
                tracing::error!("no status page: {error}");
            }
            drop(file);
        });
    }
}

async fn ready(server: &Server) {
    while server.unready().is_some() {
        clock::sleep(LOOK).await;
    }
}
