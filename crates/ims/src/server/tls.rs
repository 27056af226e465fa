//! TLS of the listeners: the server's certificate, and the authorities of client certificates.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::{self, Ticketer},
    server::{NoClientAuth, danger::ClientCertVerifier},
};

use crate::{
    https::{Certificate, CertificateError},
    identity::mtls::{Authority, ListenerVerifier},
};

/// How TLS is spoken.
pub struct Tls {
    certificate: Arc<Certificate>,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Asks clients for certificates of `authorities`, if there are any.
    pub fn new(certificate: Arc<Certificate>, authorities: Vec<Arc<Authority>>) -> Result<Self, CertificateError> {
        let current = ArcSwap::from_pointee(config(&certificate, authorities)?);
        Ok(Self { certificate, current })
    }

    /// The same with other authorities, for connections that are made from now on.
    pub fn replace(&self, authorities: Vec<Arc<Authority>>) -> Result<(), CertificateError> {
        self.current.store(Arc::new(config(&self.certificate, authorities)?));
        Ok(())
    }

    /// The server's certificate.
    pub fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

fn config(certificate: &Arc<Certificate>, authorities: Vec<Arc<Authority>>) -> Result<ServerConfig, CertificateError> {
    let verifier: Arc<dyn ClientCertVerifier> = if authorities.is_empty() {
        Arc::new(NoClientAuth)
    } else {
        // People without a certificate have another proof.
        Arc::new(ListenerVerifier::new(authorities, false))
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::clone(certificate) as Arc<_>);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A client resumes without a place in the memory of the server.
    config.ticketer = Ticketer::new()?;
    Ok(config)
}
