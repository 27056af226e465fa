//! The certificate and its key, read for each call; the last good pair is kept while a new one is half written.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use super::{
    certificate::{self, Certificate, CertificateError},
    files::{self, Files},
    key::{self, FileKey, KeyError},
    settings::{IdentitySettings, Location},
    token_uri::TokenUri,
};
use crate::credentials::format_timestamp;

/// How long before its end an expiring certificate is reported, or when a quarter of its life is left.
const WARN_AHEAD: Duration = Duration::from_hours(14 * 24);

/// Signed once to see whether key and certificate belong together. It cannot be mistaken for a request.
const PROBE: &[u8] = b"alppaca: does this key belong to this certificate?";

/// A certificate and its key. Shared by all roles that are got with it.
pub struct Identity {
    settings: IdentitySettings,
    turn: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pair: Option<Arc<Pair>>,
    /// What was reported last, so that it is not reported at every call.
    told_trouble: Option<String>,
    told_days: Option<i64>,
    files: Files,
}

/// What signs a request.
pub(super) struct Pair {
    pub(super) certificate: Certificate,
    pub(super) chain: Vec<Vec<u8>>,
    key: Key,
}

enum Key {
    File(FileKey),
    Token(Box<TokenKey>),
}

struct TokenKey {
    #[cfg_attr(not(feature = "pkcs11"), allow(dead_code, reason = "there are no tokens then"))]
    uri: TokenUri,
    #[cfg_attr(not(feature = "pkcs11"), allow(dead_code, reason = "there are no tokens then"))]
    module: PathBuf,
    #[cfg_attr(not(feature = "pkcs11"), allow(dead_code, reason = "there are no tokens then"))]
    pin: Option<Zeroizing<Vec<u8>>>,
}

/// Why there is nothing to sign with. Each says which file and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A file or an object that gives nothing.
    #[error("{place}: {problem}")]
    Unusable {
        /// The path or URI.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// Key and certificate of different pairs.
    #[error("the key {key} does not belong to the certificate {certificate}")]
    Mismatch {
        /// The path or URI of the key.
        key: String,
        /// The path or URI of the certificate.
        certificate: String,
    },
    /// The certificate's time.
    #[error("the certificate {place} ({subject}) {problem}; is it renewed, and is this host's clock right?")]
    Time {
        /// The path or URI.
        place: String,
        /// Its subject.
        subject: String,
        /// `expired at …` or `is valid from … on only`.
        problem: String,
    },
}

/// A summary of a certificate, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The subject's distinguished name.
    pub subject: String,
    /// The serial number in decimal.
    pub serial: String,
    /// Kind of the key, such as `ECDSA P-256`.
    pub key: &'static str,
    /// The end of its validity.
    pub not_after: Timestamp,
    /// How many certificates go along.
    pub chain: usize,
}

impl Identity {
    /// An identity whose files are looked at when they are needed.
    pub fn new(settings: IdentitySettings) -> Arc<Self> {
        Arc::new(Self { settings, turn: Arc::new(Semaphore::new(1)), state: Mutex::default() })
    }

    /// Waits until no other call reads or signs.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.turn).acquire_owned().await.ok()
    }

    /// Where the key is, for messages.
    pub(super) fn key_place(&self) -> &Location {
        &self.settings.key
    }

    /// When the certificate ends that was last used, if one was.
    pub fn end(&self) -> Option<Timestamp> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pair.as_ref().map(|pair| pair.certificate.not_after)
    }

    /// Reads everything and checks it, the time included. Blocks.
    pub fn examine(&self, now: Timestamp) -> Result<Summary, IdentityError> {
        let pair = self.current(now)?;
        let certificate = &pair.certificate;
        Ok(Summary {
            subject: certificate.subject.clone(),
            serial: certificate.serial.clone(),
            key: certificate.kind.as_str(),
            not_after: certificate.not_after,
            chain: pair.chain.len(),
        })
    }

    /// The pair as it is in the files now, or the one before if that is still valid and the new one is not usable yet.
    /// Blocks.
    pub(super) fn current(&self, now: Timestamp) -> Result<Arc<Pair>, IdentityError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let held = state.pair.clone();
        let fresh = self.load(held.as_deref(), &mut state.files).and_then(|pair| {
            self.check_time(&pair.certificate, now)?;
            Ok(Arc::new(pair))
        });
        match (fresh, held) {
            (Ok(pair), held) => {
                state.told_trouble = None;
                if held.is_none_or(|held| held.certificate.der != pair.certificate.der) {
                    let certificate = &pair.certificate;
                    tracing::info!(
                        "using the certificate {} ({}, serial number {}), valid until {}",
                        self.settings.certificate,
                        certificate.subject,
                        certificate.serial,
                        format_timestamp(certificate.not_after)
                    );
                    state.told_days = None;
                }
                state.warn_of_expiry(&self.settings.certificate, &pair.certificate, now);
                state.pair = Some(Arc::clone(&pair));
                Ok(pair)
            }
            (Err(error), Some(held)) if self.check_time(&held.certificate, now).is_ok() => {
                let message = error.to_string();
                if state.told_trouble.as_ref() != Some(&message) {
                    tracing::warn!("{message}; the certificate and key that were read before stay in use");
                    state.told_trouble = Some(message);
                }
                state.warn_of_expiry(&self.settings.certificate, &held.certificate, now);
                Ok(held)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn check_time(&self, certificate: &Certificate, now: Timestamp) -> Result<(), IdentityError> {
        let problem = if certificate.not_after < now {
            format!("expired at {}", format_timestamp(certificate.not_after))
        } else if certificate.not_before > now {
            format!("is only valid from {} on", format_timestamp(certificate.not_before))
        } else {
            return Ok(());
        };
        let (place, subject) = (self.settings.certificate.to_string(), certificate.subject.clone());
        Err(IdentityError::Time { place, subject, problem })
    }

    fn load(&self, held: Option<&Pair>, files: &mut Files) -> Result<Pair, IdentityError> {
        let settings = &self.settings;
        let wrong = |error: CertificateError| unusable(&settings.certificate, &error);
        let mut chain = match &settings.certificate {
            Location::File(path) => certificate::read(&files::read(path)?).map_err(wrong)?,
            Location::Token(uri) => vec![self.token_certificate(uri)?],
        };
        let certificate = Certificate::new(chain.remove(0)).map_err(wrong)?;
        if let Some(path) = &settings.chain {
            chain.extend(certificate::read(&files::read(path)?).map_err(|error| unusable(&path.display(), &error))?);
        }
        // A chain file often begins with the certificate itself.
        chain.retain(|der| *der != certificate.der);
        for der in &chain {
            let place = settings
                .chain
                .as_ref()
                .map_or_else(|| settings.certificate.to_string(), |path| path.display().to_string());
            certificate::check(der).map_err(|error| unusable(&place, &error))?;
        }
        let key = self.key(files)?;
        let pair = Pair { certificate, chain, key };
        // A token works for each signature, and the one over the request is checked as well.
        let known = held.is_some_and(|held| held.certificate.der == pair.certificate.der);
        if matches!(pair.key, Key::File(_)) || !known {
            self.sign_with(&pair, PROBE)?;
        }
        Ok(pair)
    }

    fn key(&self, files: &mut Files) -> Result<Key, IdentityError> {
        let settings = &self.settings;
        match &settings.key {
            Location::File(path) => {
                let passphrase = settings.passphrase_file.as_deref().map(|path| files.secret_line(path)).transpose()?;
                let bytes = files.secret(path)?;
                let passphrase = passphrase.as_ref().map(|line| line.as_slice());
                let key = key::read(&bytes, passphrase).map_err(|error| match error {
                    KeyError::Decrypt(_) => unusable(
                        &path.display(),
                        &format_args!("{error} (passphrase file: {})", display(settings.passphrase_file.as_deref())),
                    ),
                    error => unusable(&path.display(), &error),
                })?;
                Ok(Key::File(key))
            }
            Location::Token(uri) => {
                let pin = self.pin_file(uri).map(|path| files.secret_line(path)).transpose()?;
                Ok(Key::Token(Box::new(TokenKey { uri: (**uri).clone(), module: self.module(uri), pin })))
            }
        }
    }

    fn module(&self, uri: &TokenUri) -> PathBuf {
        // Checked with the settings: one of the two is there.
        uri.module_path.clone().or_else(|| self.settings.pkcs11_module.clone()).unwrap_or_default()
    }

    fn pin_file<'a>(&'a self, uri: &'a TokenUri) -> Option<&'a Path> {
        uri.pin_source.as_deref().or(self.settings.pin_file.as_deref())
    }

    #[cfg(feature = "pkcs11")]
    fn token_certificate(&self, uri: &TokenUri) -> Result<Vec<u8>, IdentityError> {
        let pin = self.pin_file(uri).map(|path| Files::default().secret_line(path)).transpose()?;
        let place = super::token::Place { module: &self.module(uri), uri };
        super::token::certificate(&place, pin.as_ref().map(|pin| pin.as_slice()))
            .map_err(|error| unusable(&uri.text, &error))
    }

    #[cfg(not(feature = "pkcs11"))]
    #[allow(clippy::unused_self, reason = "it is used where there are tokens")]
    fn token_certificate(&self, uri: &TokenUri) -> Result<Vec<u8>, IdentityError> {
        Err(unusable(&uri.text, &"this alppaca was built without PKCS#11"))
    }

    /// Signs, and checks the signature with the certificate: what does not fit it is never sent.
    pub(super) fn sign_with(&self, pair: &Pair, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let signature = match &pair.key {
            Key::File(key) if key.kind() == pair.certificate.kind => {
                key.sign(message).map_err(|error| unusable(&self.settings.key, &error))?
            }
            Key::File(_) => return Err(self.mismatch()),
            Key::Token(key) => self.sign_in_token(key, pair, message)?,
        };
        if pair.certificate.verifies(message, &signature) { Ok(signature) } else { Err(self.mismatch()) }
    }

    #[cfg(feature = "pkcs11")]
    fn sign_in_token(&self, key: &TokenKey, pair: &Pair, message: &[u8]) -> Result<Vec<u8>, IdentityError> {
        let place = super::token::Place { module: &key.module, uri: &key.uri };
        let pin = key.pin.as_ref().map(|pin| pin.as_slice());
        super::token::sign(&place, pin, pair.certificate.kind, message)
            .map_err(|error| unusable(&self.settings.key, &error))
    }

    #[cfg(not(feature = "pkcs11"))]
    fn sign_in_token(&self, _: &TokenKey, _: &Pair, _: &[u8]) -> Result<Vec<u8>, IdentityError> {
        Err(unusable(&self.settings.key, &"this alppaca was built without PKCS#11"))
    }

    fn mismatch(&self) -> IdentityError {
        IdentityError::Mismatch {
            key: self.settings.key.to_string(),
            certificate: self.settings.certificate.to_string(),
        }
    }
}

impl State {
    /// Tells the end of a certificate ahead, once a day.
    fn warn_of_expiry(&mut self, place: &Location, certificate: &Certificate, now: Timestamp) {
        let days = days_left_if_few(certificate.not_before, certificate.not_after, now);
        if days.is_some() && self.told_days != days {
            let end = format_timestamp(certificate.not_after);
            tracing::warn!("the certificate {place} ({}) expires at {end}: renew it", certificate.subject);
        }
        self.told_days = days;
    }
}

/// How many whole days a certificate is still valid, if that is little.
fn days_left_if_few(from: Timestamp, to: Timestamp, now: Timestamp) -> Option<i64> {
    let quarter = to.duration_since(from) / 4;
    let ahead = quarter.min(WARN_AHEAD.try_into().unwrap_or(quarter));
    let left = to.duration_since(now);
    (left < ahead).then(|| left.as_hours() / 24)
}

/// Whether the contents of two files are a certificate and the key that belongs to it.
pub fn check_pair(certificate: &[u8], key: &[u8], passphrase: Option<&[u8]>) -> Result<(), IdentityError> {
    let wrong = |error: CertificateError| unusable(&"certificate", &error);
    let chain = certificate::read(certificate).map_err(wrong)?;
    let leaf = chain.into_iter().next().ok_or_else(|| wrong(CertificateError::None))?;
    let certificate = Certificate::new(leaf).map_err(wrong)?;
    let key = key::read(key, passphrase).map_err(|error| unusable(&"key", &error))?;
    let signature = key.sign(PROBE).map_err(|error| unusable(&"key", &error))?;
    if key.kind() == certificate.kind && certificate.verifies(PROBE, &signature) {
        return Ok(());
    }
    Err(IdentityError::Mismatch { key: "key".to_owned(), certificate: "certificate".to_owned() })
}

pub(super) fn unusable(place: &dyn fmt::Display, problem: &dyn fmt::Display) -> IdentityError {
    IdentityError::Unusable { place: place.to_string(), problem: problem.to_string() }
}

fn display(path: Option<&Path>) -> String {
    path.map_or_else(|| "none".to_owned(), |path| path.display().to_string())
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Token(uri) => f.write_str(&uri.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_told_ahead() {
        let few = |life_in_hours: i64, left_in_hours: i64| {
            let end: Timestamp = "2026-11-24T10:00:00Z".parse().expect("a time");
            let before = |hours| end - jiff::SignedDuration::from_hours(hours);
            days_left_if_few(before(life_in_hours), end, before(left_in_hours))
        };
        // A year: fourteen days ahead, a day at a time.
        let year = 365 * 24;
        assert_eq!([few(year, 15 * 24), few(year, 14 * 24 - 1), few(year, 23)], [None, Some(13), Some(0)]);
        // An hour, or a week: a quarter of it.
        assert_eq!([few(168, 43), few(168, 41)], [None, Some(1)]);
        assert_eq!([few(8, 3), few(8, 1)], [None, Some(0)]);
    }
}
