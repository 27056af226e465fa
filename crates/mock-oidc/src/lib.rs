//! An `OpenID` provider for demonstrations: a page with a button for each person, and no password. Anyone who reaches it is
//! whoever they choose to be, so it is made to be of no other use: it listens on 127.0.0.1 at a port of the kernel's choice,
//! knows one client, which has to be on this host, too, and has a new key and no memory each time that it starts.
//!
//! It speaks what `alppaca login` needs: the authorization code flow with PKCE (S256), refresh tokens and their revocation.

mod form;
mod key;
mod provider;
mod server;

use alppaca_core::{clock, text};

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{net::TcpListener, task::AbortHandle};

use clock::SharedClock;
use provider::Provider;

/// The one client that it knows.
pub const CLIENT: &str = "alppaca-demo";

/// Somebody who can sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name (`sub`).
    pub name: String,
    /// The claim `groups`.
    pub groups: Vec<String>,
}

/// A running provider, which stops when this is dropped.
pub struct Handle {
    issuer: String,
    task: AbortHandle,
}

impl Handle {
    /// Its URL.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers at a free port of 127.0.0.1 until the handle is dropped. Call it on a tokio runtime.
pub async fn serve(people: Vec<Person>, clock: SharedClock) -> io::Result<Handle> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    let authority = listener.local_addr()?.to_string();
    let issuer = format!("http://{authority}");
    let provider = Provider::new(issuer.clone(), people).map_err(|_| io::Error::other("no key can be made"))?;
    let shared = Arc::new(server::Shared { provider: Mutex::new(provider), authority, clock });
    Ok(Handle { issuer, task: tokio::spawn(server::accept(listener, shared)).abort_handle() })
}
