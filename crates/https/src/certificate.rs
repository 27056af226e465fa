//! A server's own certificate, which can be replaced while connections are open.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::{
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::fetch;

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
    #[error("{key}: {path}: {cause}")]
    File {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The certificate and the key do not fit, or the key cannot be used.
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
    let wrong =
        |key, path: &Path, cause: String| CertificateError::File { key, path: path.display().to_string(), cause };
    let certificate = |cause| wrong("tls_certificate", &files.certificate, cause);
    let chain = CertificateDer::pem_file_iter(&files.certificate).map_err(|error| certificate(error.to_string()))?;
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| certificate(error.to_string()))?;
    if chain.is_empty() {
        return Err(certificate("there is no certificate in it (PEM)".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key);
    let key = key.map_err(|error| wrong("tls_key", &files.key, error.to_string()))?;
    Ok(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?)
}
