//! Client certificates: a subject alternative name is the identity. Also X.509-SVIDs of SPIFFE.

mod authority;
mod leaf;
mod options;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{Context, SHA256};
use leaf::Leaf;
use rustls::{CertificateError, Error};
use rustls_pki_types::CertificateDer;

pub use authority::{Authority, AuthorityError, ListenerVerifier};
pub use options::METHOD;
pub(crate) use options::{not_empty, paths, reload, trust_domain};

use self::authority::Verifiers;
use crate::{Evidence, Identity, Prove, Refusal, names};

/// How long a chain that was checked is not checked again.
const CHECKED_FOR: Duration = Duration::from_mins(1);
/// The most chains that are remembered as checked.
const MAX_CHECKED: usize = 4096;

/// A type of name in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SanType {
    /// A host name.
    Dns,
    /// A URI.
    Uri,
    /// An address.
    Ip,
}

impl SanType {
    /// Its word in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Uri => "uri",
            Self::Ip => "ip",
        }
    }
}

/// How client certificates are judged.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of the method in the configuration.
    pub name: String,
    /// Which names count. Those of other types are ignored.
    pub names: Vec<SanType>,
    /// The longest time since the beginning of a certificate's validity.
    pub max_age: Option<Duration>,
    /// Accepts X.509-SVIDs of this trust domain only: exactly one URI, which counts alone.
    pub trust_domain: Option<String>,
}

/// Proof by a client certificate.
pub struct Mtls {
    settings: Settings,
    authority: Arc<Authority>,
    checked: Mutex<Checked>,
}

/// The chains that were found right lately, by their hash; it saves most of the work on open connections.
#[derive(Default)]
struct Checked {
    by: Option<Arc<Verifiers>>,
    chains: HashMap<[u8; 32], SystemTime>,
}

impl Mtls {
    /// Judges certificates of `authority`.
    pub fn new(settings: Settings, authority: Arc<Authority>) -> Self {
        Self { settings, authority, checked: Mutex::default() }
    }

    /// Checks the chain again for each method: TLS accepted it for some authority of the listener, and perhaps before
    /// it was revoked.
    /// Whether it is of this method's authority at all.
    fn check(&self, chain: &[CertificateDer<'static>], now: SystemTime) -> Result<bool, Refusal> {
        let verifiers = self.authority.verifiers();
        let key = fingerprint(chain);
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if !checked.by.as_ref().is_some_and(|by| Arc::ptr_eq(by, &verifiers)) {
            *checked = Checked { by: Some(Arc::clone(&verifiers)), chains: HashMap::new() };
        }
        let fresh = |at: &SystemTime| now.duration_since(*at).is_ok_and(|age| age < CHECKED_FOR);
        if checked.chains.get(&key).is_some_and(fresh) {
            return Ok(true);
        }
        drop(checked);
        match verifiers.check(chain, now) {
            Ok(()) => {}
            // The second one if the authority of another method has the same name.
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
                return Ok(false);
            }
            Err(error) => return Err(refusal(&error)),
        }
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.by.as_ref().is_some_and(|by| Arc::ptr_eq(by, &verifiers)) {
            if checked.chains.len() >= MAX_CHECKED {
                checked.chains.retain(|_, at| fresh(at));
            }
            if checked.chains.len() < MAX_CHECKED {
                checked.chains.insert(key, now);
            }
        }
        Ok(true)
    }
}

impl Prove for Mtls {
    fn name(&self) -> &str {
        &self.settings.name
    }

    fn challenge(&self) -> Option<String> {
        None
    }

    fn prove(&self, evidence: &Evidence<'_>) -> Result<Option<Identity>, Refusal> {
        let Some(certificate) = evidence.certificates.first() else { return Ok(None) };
        if !self.check(evidence.certificates, evidence.now)? {
            return Ok(None);
        }
        let accepted: &[SanType] = match self.settings.trust_domain {
            Some(_) => &[SanType::Uri],
            None => &self.settings.names,
        };
        let leaf = Leaf::read(certificate, accepted).map_err(Refusal::Refused)?;
        if let Some(domain) = &self.settings.trust_domain {
            check_svid(&leaf.names, domain).map_err(Refusal::Refused)?;
        }
        // The chain may have been checked before that.
        if evidence.now > leaf.not_after {
            return Err(Refusal::Refused("the client certificate has expired: renew it".to_owned()));
        }
        let age = leaf.age(evidence.now);
        if let Some(limit) = self.settings.max_age.filter(|limit| age > *limit) {
            let (age, limit) = (age.as_secs(), limit.as_secs());
            return Err(Refusal::Refused(format!(
                "the client certificate is {age} s old, and {limit} s are allowed (max_age): renew it"
            )));
        }
        let Some(name) = leaf.names.first().cloned() else { return Ok(None) };
        let (names, proof) = (leaf.names, leaf.proof);
        Ok(Some(Identity { names, proof, age: Some(age), ..Identity::new(name, "mtls", &self.settings.name) }))
    }
}

/// A list that is out of date, or missing, is the server's own trouble.
fn refusal(error: &Error) -> Refusal {
    match error {
        Error::InvalidCertificate(
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. }
            | CertificateError::UnknownRevocationStatus,
        )
        | Error::FailedToGetCurrentTime => {
            Refusal::Unavailable(format!("whether the client certificate was revoked is not known: {error}"))
        }
        error => Refusal::Refused(format!("the client certificate is refused: {error}")),
    }
}

/// <https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md#2-spiffe-id>
fn check_svid(names: &[String], domain: &str) -> Result<(), String> {
    let [id] = names else {
        return Err(format!("the client certificate has {} URIs; an X.509-SVID has exactly one", names.len()));
    };
    match names::trust_domain(id) {
        Some(found) if found == domain => Ok(()),
        Some(_) => Err(format!("{} is not of the trust domain {domain}", names::shown(id))),
        None => Err(format!("{} is not the SPIFFE ID of a workload", names::shown(id))),
    }
}

fn fingerprint(chain: &[CertificateDer<'static>]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for certificate in chain {
        context.update(&certificate.len().to_be_bytes());
        context.update(certificate);
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests;
