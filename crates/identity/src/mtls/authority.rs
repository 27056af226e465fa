//! Certificate authorities from files, which can be read again while connections are open.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject};

/// Why certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A file cannot be read, or is not PEM.
    #[error("{file}: {cause}", file = .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The files do not fit.
    #[error("{0}")]
    Unusable(String),
}

/// The certificate authorities of one identity method, with their revocation lists.
#[derive(Debug)]
pub struct Authority {
    ca_files: Vec<PathBuf>,
    crl_files: Vec<PathBuf>,
    current: ArcSwap<Verifiers>,
}

/// What the files held when they were last read.
#[derive(Debug)]
pub(super) struct Verifiers {
    /// For the handshake: an outdated revocation list refuses no client there, since an alert could not explain it.
    handshake: Arc<dyn ClientCertVerifier>,
    /// For each request: everything is checked.
    request: Arc<dyn ClientCertVerifier>,
}

impl Authority {
    /// Reads PEM files of certificate authorities, and of revocation lists (CRLs). With a list, each certificate of a
    /// chain needs one of its issuer.
    pub fn load(ca_files: Vec<PathBuf>, crl_files: Vec<PathBuf>) -> Result<Self, AuthorityError> {
        let current = ArcSwap::from_pointee(read(&ca_files, &crl_files)?);
        Ok(Self { ca_files, crl_files, current })
    }

    /// Reads the files again. If one is wrong, everything stays as it was. Open connections stay open; their
    /// certificates are judged by the new files from the next request on.
    pub fn reload(&self) -> Result<(), AuthorityError> {
        self.current.store(Arc::new(read(&self.ca_files, &self.crl_files)?));
        Ok(())
    }

    pub(super) fn verifiers(&self) -> Arc<Verifiers> {
        self.current.load_full()
    }
}

impl Verifiers {
    /// Checks a chain, leaf first.
    pub(super) fn check(&self, chain: &[CertificateDer<'static>], now: SystemTime) -> Result<(), Error> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| Error::FailedToGetCurrentTime)?;
        let (leaf, intermediates) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
        let now = UnixTime::since_unix_epoch(now);
        self.request.verify_client_cert(leaf, intermediates, now).map(|_verified| ())
    }
}

fn read(ca_files: &[PathBuf], crl_files: &[PathBuf]) -> Result<Verifiers, AuthorityError> {
    let mut roots = RootCertStore::empty();
    for file in ca_files {
        for certificate in parse::<CertificateDer<'static>>(file, "certificate")? {
            roots.add(certificate).map_err(|error| wrong(file, &error))?;
        }
    }
    let mut lists: Vec<CertificateRevocationListDer<'static>> = Vec::new();
    for file in crl_files {
        lists.extend(parse(file, "revocation list")?);
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(aws_lc_rs::default_provider()))
        .with_crls(lists);
    let unusable = |error: rustls::server::VerifierBuilderError| AuthorityError::Unusable(error.to_string());
    Ok(Verifiers {
        handshake: builder.clone().allow_unknown_revocation_status().build().map_err(unusable)?,
        request: builder.enforce_revocation_expiration().build().map_err(unusable)?,
    })
}

fn wrong(file: &Path, cause: &dyn std::fmt::Display) -> AuthorityError {
    AuthorityError::File { file: file.to_owned(), cause: cause.to_string() }
}

fn parse<T: PemObject>(file: &Path, what: &str) -> Result<Vec<T>, AuthorityError> {
    let text = fs::read(file).map_err(|error| wrong(file, &error))?;
    let found: Vec<T> = T::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| wrong(file, &error))?;
    if found.is_empty() { Err(wrong(file, &format!("there is no {what} in it (PEM)"))) } else { Ok(found) }
}

/// The verifier of a listener: a certificate has to come from one of the authorities. Which method accepts it is
/// decided at each request.
#[derive(Debug)]
pub struct ListenerVerifier {
    authorities: Vec<Arc<Authority>>,
    mandatory: bool,
    provider: Arc<CryptoProvider>,
}

impl ListenerVerifier {
    /// For the methods of a listener. `mandatory` refuses clients without a certificate in the handshake.
    pub fn new(authorities: Vec<Arc<Authority>>, mandatory: bool) -> Self {
        Self { authorities, mandatory, provider: Arc::new(aws_lc_rs::default_provider()) }
    }
}

impl ClientCertVerifier for ListenerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// None, which lets the client choose: they would be out of date after a reload, and name the authorities to
    /// everyone.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let mut reason = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        for authority in &self.authorities {
            match authority.current.load().handshake.verify_client_cert(leaf, intermediates, now) {
                Ok(verified) => return Ok(verified),
                // "Unknown issuer" of the others explains nothing.
                Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {}
                Err(error) => reason = error,
            }
        }
        Err(reason)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
