//! A server's own certificate, which can be replaced while connections are open.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::fetch::{self, SetupError};

/// The files of a server's own certificate, PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate, with its chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read, or has nothing of the kind.
    #[error("{key}: {error}")]
    File {
        /// The key of the configuration.
        key: &'static str,
        /// The file, and what is wrong with it.
        error: SetupError,
    },
    /// The key cannot be used.
    #[error("tls_certificate and tls_key: {0}")]
    Pair(#[from] rustls::Error),
}

/// The certificate in force.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    current: ArcSwap<CertifiedKey>,
}

impl Certificate {
    /// Reads the files.
    pub fn load(files: Files) -> Result<Self, CertificateError> {
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again. If one is wrong, the certificate stays. Answers whether there is a new one. Open
    /// connections stay open.
    pub fn reload(&self) -> Result<bool, CertificateError> {
        let new = read(&self.files)?;
        let is_new = new.cert != self.current.load().cert;
        self.current.store(Arc::new(new));
        Ok(is_new)
    }

    /// When the one in force expires, if that can be determined.
    pub fn end(&self) -> Option<Timestamp> {
        fetch::end_of(self.current.load().cert.first()?)
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

fn read(files: &Files) -> Result<CertifiedKey, CertificateError> {
    let of_key = |error| CertificateError::File { key: "tls_key", error };
    let chain = fetch::certificates(&files.certificate);
    let chain = chain.map_err(|error| CertificateError::File { key: "tls_certificate", error })?;
    let key = fetch::private_key(&files.key).map_err(of_key)?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            let problem = format!("is not the key of the first certificate in {}", files.certificate.display());
            of_key(SetupError::File { path: files.key.clone(), problem })
        }
        other => other.into(),
    })
}
