//! TLS towards an upstream: the system's authorities, the configured ones, and the client's certificate.

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use jiff::Timestamp;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use x509_cert::der::Decode;
use zeroize::Zeroizing;

use super::{Options, SetupError};
use crate::settings::{Content, NamedFile};

/// Reads the files of `options` and the system's authorities. What is offered is the library's choice: TLS 1.3 first,
/// and in it the hybrid key exchange X25519MLKEM768, which a recording cannot be broken by a quantum computer of the
/// future.
pub fn client_config(options: &Options) -> Result<ClientConfig, SetupError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Tls(error.to_string()))?
        .with_root_certificates(roots(options.ca_file.as_deref())?);
    Ok(match &options.client_certificate {
        Some((certificate, key)) => {
            let certified_key = certified_key(certificate, key)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified_key)))
        }
        None => builder.with_no_client_auth(),
    })
}

/// A certificate with its chain, and its key.
pub fn certified_key(certificate: &Path, key: &Path) -> Result<CertifiedKey, SetupError> {
    let (chain, key_in_file) = (certificates(certificate)?, private_key(key)?);
    CertifiedKey::from_der(chain, key_in_file, &aws_lc_rs::default_provider()).map_err(|error| {
        let problem = match error {
            rustls::Error::InconsistentKeys(_) => {
                format!("is not the key of the first certificate in {}", certificate.display())
            }
            other => format!("cannot be used: {other}"),
        };
        wrong(key, problem)
    })
}

/// What is wrong with the contents of files. Nothing can be said of those that are missing, or that who looks may not read.
pub fn content_faults(files: impl IntoIterator<Item = NamedFile>) -> Vec<String> {
    files.into_iter().filter_map(|file| Some(format!("{}: {}", file.what, content_fault(&file)?))).collect()
}

fn content_fault(file: &NamedFile) -> Option<SetupError> {
    // A pipe is read once only.
    let metadata = fs::metadata(&file.path).ok()?;
    if !metadata.is_file() && !metadata.is_dir() {
        return None;
    }
    File::open(&file.path).ok()?;
    match &file.content {
        Content::Any => None,
        Content::Authorities => authorities(&file.path).err(),
        Content::Certificate => certificates(&file.path).err(),
        Content::KeyOf(certificate) if certificates(certificate).is_ok() => {
            certified_key(certificate, &file.path).err()
        }
        Content::KeyOf(_) => private_key(&file.path).err(),
    }
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
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
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
fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, SetupError> {
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
    fs::read(path).map(Zeroizing::new).map_err(|error| wrong(path, format!("cannot be read: {error}")))
}

fn wrong(path: &Path, problem: String) -> SetupError {
    SetupError::File { path: path.to_owned(), problem }
}
