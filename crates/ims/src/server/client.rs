//! The other end of a connection.

use std::sync::Arc;

use rustls_pki_types::CertificateDer;

use crate::identity::Peer;

/// A client, as far as its connection shows it.
#[derive(Debug, Clone)]
pub struct Client {
    /// Where it is.
    pub peer: Peer,
    /// Its certificate with the chain, leaf first; empty without one.
    pub certificates: Arc<[CertificateDer<'static>]>,
}
