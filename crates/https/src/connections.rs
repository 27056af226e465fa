//! Connections: accepted until the server stops, and given their TLS.

use std::{future::Future, io, net::IpAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::clock;

/// How long a TLS handshake may take.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long to wait before accepting again where the process has no room for a connection.
const NO_ROOM: Duration = Duration::from_millis(50);

/// A listening socket.
pub trait Listener {
    /// A connection, with what is known of its client.
    type Accepted;

    /// Waits for a connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Accepted>> + Send;
}

impl Listener for TcpListener {
    type Accepted = (TcpStream, IpAddr);

    async fn accept(&self) -> io::Result<Self::Accepted> {
        Self::accept(self).await.map(|(stream, peer)| (stream, peer.ip().to_canonical()))
    }
}

/// Accepts connections and runs what `serve` makes of each, until the server stops and all of that has ended.
pub async fn accept<L: Listener, Served: Future<Output = ()> + Send + 'static>(
    listener: L,
    mut stop: watch::Receiver<bool>,
    mut serve: impl FnMut(L::Accepted) -> Served,
) {
    let (mut failing, mut connections) = (false, JoinSet::new());
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        match accepted {
            Ok(connection) => {
                failing = false;
                connections.spawn(serve(connection));
            }
            // The client went away before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!("cannot accept connections: {error}");
                }
                clock::sleep(NO_ROOM).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// TLS over a new connection. None for a probe, which connects and says nothing: that is no handshake that has failed.
pub async fn handshake(stream: TcpStream, tls: &TlsAcceptor) -> io::Result<Option<TlsStream<TcpStream>>> {
    let shaken = async {
        match stream.peek(&mut [0]).await? {
            0 => Ok(None),
            _ => tls.accept(stream).await.map(Some),
        }
    };
    tokio::select! {
        done = shaken => done,
        () = clock::sleep(HANDSHAKE) => Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake takes too long")),
    }
}

/// Waits until the server stops.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the server is gone, which is the same.
    let _gone = stop.wait_for(|stop| *stop).await;
}
