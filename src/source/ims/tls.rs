//! The TLS settings: the system's roots, further ones, a certificate of our own.

use std::{path::Path, sync::Arc};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{Settings, SetupError};

/// What a connection to an `https` IMS is set up with.
pub(super) fn config(settings: &Settings) -> Result<ClientConfig, SetupError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!("some of the system's certificate authorities cannot be read: {error}");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = &settings.ca_file {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|error| pem_error(path, format!("not usable as authority: {error}")))?;
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match &settings.client_certificate {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            let key = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| pem_error(key, format!("no private key can be read from it: {error}")))?;
            Ok(builder.with_client_auth_cert(certificates(chain)?, key)?)
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let certificates = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| pem_error(path, format!("no certificate can be read from it: {error}")))?;
    if certificates.is_empty() {
        return Err(pem_error(path, "it has no certificate".to_owned()));
    }
    Ok(certificates)
}

fn pem_error(path: &Path, reason: String) -> SetupError {
    SetupError::Pem { path: path.to_owned(), reason }
}
