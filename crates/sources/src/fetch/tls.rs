//! TLS towards an upstream: the system's authorities, the configured ones, and the client's certificate.

use std::{path::Path, sync::Arc};

use jiff::Timestamp;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use x509_cert::der::Decode;
use zeroize::Zeroizing;

use super::{Options, SetupError};

/// Reads the files of `options` and the system's authorities. What is offered is the library's choice: TLS 1.3 first,
/// and in it the hybrid key exchange X25519MLKEM768, which a recording cannot be broken by a quantum computer of the
/// future.
pub fn client_config(options: &Options) -> Result<ClientConfig, SetupError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Tls(error.to_string()))?
        .with_root_certificates(roots(options.ca_file.as_deref())?);
    let Some((chain, key)) = &options.client_certificate else { return Ok(builder.with_no_client_auth()) };
    builder
        .with_client_auth_cert(certificates(chain)?, private_key(key)?)
        .map_err(|error| wrong(key, format!("cannot be used with the certificate {}: {error}", chain.display())))
}

/// When the first certificate in this file expires; `None` if that cannot be determined.
pub fn end_of_certificate(path: &Path) -> Option<Timestamp> {
    end_of(certificates(path).ok()?.first()?)
}

/// When a certificate expires; `None` if that cannot be determined.
pub fn end_of(certificate: &[u8]) -> Option<Timestamp> {
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Timestamp::from_second(i64::try_from(end.as_secs()).ok()?).ok()
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, SetupError> {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let problems = found.errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let (_, unusable) = store.add_parsable_certificates(found.certs);
    if !problems.is_empty() || unusable > 0 {
        tracing::warn!("of the system's certificate authorities {unusable} are unusable; problems: {problems}");
    }
    if let Some(path) = ca_file {
        add(&mut store, path)?;
    }
    if store.is_empty() { Err(SetupError::NoRoots(problems)) } else { Ok(store) }
}

/// The authorities of a file alone.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, SetupError> {
    let mut store = RootCertStore::empty();
    add(&mut store, path)?;
    Ok(store)
}

fn add(store: &mut RootCertStore, path: &Path) -> Result<(), SetupError> {
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| wrong(path, format!("is no certificate authority: {error}")))?;
    }
    Ok(())
}

/// The certificates of a PEM file, of which there is one at least.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let text = read(path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match parsed {
        Ok(found) if found.is_empty() => {
            Err(wrong(path, "has no certificate (no BEGIN CERTIFICATE line); PEM is needed".to_owned()))
        }
        Ok(found) => Ok(found),
        Err(_) => Err(wrong(path, "is damaged: it is not valid PEM".to_owned())),
    }
}

/// The first private key of a PEM file.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, SetupError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        let encrypted = text.windows(9).any(|part| part == b"ENCRYPTED");
        let problem = match error {
            _ if encrypted => "has an encrypted private key; decrypt it (openssl pkey -in … -out …)",
            pem::Error::NoItemsFound => "has no private key (no BEGIN … PRIVATE KEY line); PEM is needed",
            _ => "is damaged: it is not valid PEM",
        };
        wrong(path, problem.to_owned())
    })
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SetupError> {
    std::fs::read(path).map(Zeroizing::new).map_err(|error| wrong(path, format!("cannot be read: {error}")))
}

fn wrong(path: &Path, problem: String) -> SetupError {
    SetupError::File { path: path.to_owned(), problem }
}
