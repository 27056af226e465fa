//! Looking up the addresses of a name. It blocks a helper thread, for good if a name service hangs, and all sources share
//! those threads: each client may occupy only a few.

use std::{
    future::Future,
    io,
    net::{SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::{sync::Semaphore, task::spawn_blocking};
use tower_service::Service;

/// The number of look-ups of one client that may be under way, including abandoned ones.
const LOOK_UPS: usize = 4;

type Addresses = vec::IntoIter<SocketAddr>;

/// Looks up names for one client.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    free: Arc<Semaphore>,
    look_up: fn(&str) -> io::Result<Addresses>,
}

impl Resolver {
    /// Asks as the C library does.
    pub(crate) fn new() -> Self {
        Self::with(|name| (name, 0).to_socket_addrs())
    }

    /// The addresses of a name, with the port 0.
    pub(crate) async fn look_up(&self, name: &str) -> io::Result<Addresses> {
        self.clone().call(name.parse().map_err(io::Error::other)?).await
    }

    pub(super) fn with(look_up: fn(&str) -> io::Result<Addresses>) -> Self {
        Self { free: Arc::new(Semaphore::new(LOOK_UPS)), look_up }
    }
}

impl Service<Name> for Resolver {
    type Response = Addresses;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Addresses>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self { free, look_up } = self.clone();
        Box::pin(async move {
            let permit = free.acquire_owned().await.map_err(io::Error::other)?;
            let answer = spawn_blocking(move || {
                // Held until the thread is free again, however long the caller waits.
                let _permit = permit;
                look_up(name.as_str())
            });
            answer.await.map_err(io::Error::other)?
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Condvar, Mutex, PoisonError},
        time::Duration,
    };

    use super::*;

    static OVER: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

    fn hang(_name: &str) -> io::Result<Addresses> {
        let over = OVER.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(OVER.1.wait_while(over, |over| !*over).unwrap_or_else(PoisonError::into_inner));
        Err(io::ErrorKind::TimedOut.into())
    }

    #[test]
    fn a_client_whose_look_ups_hang_leaves_threads_to_the_others() {
        const THREADS: usize = 2 * LOOK_UPS;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(THREADS).build();
        runtime.expect("a runtime").block_on(async {
            let name = || "localhost".parse::<Name>().expect("a name");
            let mut stuck = Resolver::with(hang);
            // The callers give up, and the look-ups go on.
            let calls: Vec<_> = (0..3 * THREADS).map(|_| tokio::spawn(stuck.call(name()))).collect();
            tokio::task::yield_now().await;
            for call in &calls {
                call.abort();
            }
            let other = tokio::time::timeout(Duration::from_secs(20), Resolver::new().call(name())).await;
            *OVER.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
            OVER.1.notify_all();
            assert!(other.expect("a free thread").expect("an answer").any(|address| address.ip().is_loopback()));
        });
    }
}
