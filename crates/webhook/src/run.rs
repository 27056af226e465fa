//! Everything that runs, until the webhook stops.

use std::{
    io,
    net::TcpListener,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::{net, sync::watch, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::{
    budget::{Bounds, Rank, Shares},
    clock,
    connection::Shared,
    https::{self, stopped},
    respond::Webhook,
};

/// By address. An API server has a connection for each pod that is being made at a time, of which it admits some hundreds; while
/// connections are scarce it gets along with fewer. Each of three gets them, whatever another address holds.
const CONNECTIONS: Bounds = Bounds { total: 1024, reserved: 0, each: 128, scarce: 512 };
/// How often the certificate is read again.
const EVERY: Duration = Duration::from_mins(1);

/// What is to run.
pub struct Running {
    /// Answers the requests.
    pub webhook: Arc<Webhook>,
    /// Where the API server connects.
    pub listener: TcpListener,
    /// Where metrics and health are shown.
    pub metrics: Option<TcpListener>,
    /// How long it goes on after it was told to stop.
    pub stop_delay: Duration,
}

impl Running {
    /// Runs until `stop` says so and the requests at hand are answered.
    pub async fn run(self, mut stop: watch::Receiver<bool>) -> io::Result<()> {
        let Self { webhook, listener, metrics, stop_delay } = self;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(webhook.certificate()) as Arc<_>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (last, closing) = watch::channel(false);
        let shared = Shared::new(Arc::clone(&webhook), TlsAcceptor::from(Arc::new(config)), closing);
        let mut aside = JoinSet::new();
        aside.spawn(watch_certificate(Arc::clone(&webhook)));
        if let Some(listener) = metrics {
            let webhook = Arc::clone(&webhook);
            aside.spawn(async move {
                if let Err(error) = https::show(listener, webhook).await {
                    tracing::error!("no metrics: {error}");
                }
            });
        }
        let webhook = Arc::clone(&webhook);
        aside.spawn(async move {
            stopped(&mut stop).await;
            webhook.stops();
            clock::sleep(stop_delay).await;
            // Nothing listens any more if this fails.
            let _all_gone = last.send(true);
        });
        accept(shared, listener).await
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = net::TcpListener::from_std(listener)?;
    let shares = Shares::new(CONNECTIONS);
    https::accept(listener, shared.stop.clone(), |(stream, address)| {
        let (shared, share) = (Arc::clone(&shared), shares.take(&address, Rank::Ordinary));
        async move {
            match share {
                Some(_share) => shared.serve(stream, address).await,
                None => {
                    shared.webhook.counters.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    })
    .await;
    Ok(())
}

/// Reads the certificate again for ever. A problem is reported once, until it is another one.
async fn watch_certificate(webhook: Arc<Webhook>) {
    let mut told = None;
    loop {
        clock::sleep(EVERY).await;
        match webhook.certificate().reload() {
            Ok(is_new) => {
                if is_new {
                    notice!("webhook: there is a new certificate");
                }
                told = None;
            }
            Err(error) => {
                let problem = error.to_string();
                if told.as_ref() != Some(&problem) {
                    tracing::error!("webhook: {problem}; the certificate that was read before stays in force");
                }
                told = Some(problem);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        budget::{Bounds, Rank, Shares},
        connection::BODIES,
    };

    use super::CONNECTIONS;

    #[test]
    fn whatever_one_address_holds_three_api_servers_have_their_share() {
        for (bounds, least) in [(CONNECTIONS, 128), (BODIES, 192)] {
            let shares = Shares::new(bounds);
            let Bounds { total, each, .. } = bounds;
            let all = |owner| std::iter::from_fn(|| shares.take(&owner, Rank::Ordinary)).collect::<Vec<_>>();
            let mut held = vec![all(0)];
            assert_eq!(held[0].len(), total / 2, "while it is alone");
            for server in 1..=3 {
                held.push(all(server));
                assert!(held[server].len() == each && each >= least);
            }
        }
    }
}
