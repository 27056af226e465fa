//! A server's own certificate, which can be replaced while connections are open.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
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

/// Why a server has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read, has nothing of the kind, or does not fit the other.
    #[error("{key}: {error}")]
    File {
        /// The key of the configuration.
        key: &'static str,
        /// The file, and what is wrong with it.
        error: SetupError,
    },
    /// The TLS library refuses.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
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
    fetch::certified_key(&files.certificate, &files.key).map_err(|error| {
        let of_key = matches!(&error, SetupError::File { path, .. } if *path == files.key);
        CertificateError::File { key: if of_key { "tls_key" } else { "tls_certificate" }, error }
    })
}
