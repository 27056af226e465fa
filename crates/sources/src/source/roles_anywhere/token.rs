//! Keys and certificates in PKCS#11 tokens, by a module that is loaded once and stays.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{Mechanism, MechanismType},
    object::{Attribute, AttributeType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use zeroize::Zeroizing;

use super::{certificate::KeyKind, token_uri::TokenUri};

/// DER of `DigestInfo` with SHA-256 up to the hash (RFC 8017, section 9.2), for tokens that only pad.
const SHA256_DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// Where an object is and how to get at it.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    pub(super) module: &'a Path,
    pub(super) uri: &'a TokenUri,
}

/// Why a token gives nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenError {
    #[error("the PKCS#11 module {path} cannot be loaded: {problem}")]
    Module { path: String, problem: String },
    #[error("{0} matches no token; the module has: {1}")]
    NoToken(String, String),
    #[error("{0} matches more than one token ({1}); add serial=… or slot-id=…")]
    Tokens(String, String),
    #[error("there is no {what} that matches {uri} in the token {token:?}")]
    NoObject { what: &'static str, uri: String, token: String },
    #[error("{number} {what}s match {uri} in the token {token:?}; add object=… or id=…")]
    Objects { what: &'static str, uri: String, token: String, number: usize },
    #[error("the token {0:?} requires a PIN and no PIN file is configured")]
    NoPin(String),
    #[error(
        "the token {0:?} rejects the PIN; it is not tried again before the PIN file changes, so that the token is \
         not locked"
    )]
    WrongPin(String),
    #[error("the token {0:?} is locked: the PIN was wrong too often, unlock it with the security officer's PIN")]
    Locked(String),
    #[error("the token {token:?}: {problem}")]
    Failed { token: String, problem: String },
}

/// A module may be loaded and initialised once per process, and logging in holds for all its sessions.
struct Module {
    context: Pkcs11,
    /// Per token (serial number) the PIN that it refused.
    refused: HashMap<String, Zeroizing<Vec<u8>>>,
}

/// One caller at a time: not every module keeps its promise to be safe with threads.
fn modules() -> MutexGuard<'static, HashMap<PathBuf, Module>> {
    static MODULES: OnceLock<Mutex<HashMap<PathBuf, Module>>> = OnceLock::new();
    MODULES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// The certificate (DER) at `place`. Certificates are public in most tokens; the PIN is used if there is one.
pub(super) fn certificate(place: &Place<'_>, pin: Option<&[u8]>) -> Result<Vec<u8>, TokenError> {
    with_token(place, pin, |open| {
        let object = open.find(ObjectClass::CERTIFICATE, "certificate", place.uri)?;
        let values =
            open.session.get_attributes(object, &[AttributeType::Value]).map_err(|error| open.failed(&error))?;
        let value = values.into_iter().find_map(|value| match value {
            Attribute::Value(value) => Some(value),
            _ => None,
        });
        value.ok_or_else(|| open.failed(&Error::InvalidValue))
    })
}

/// Signs with SHA-256 with the private key at `place`: RSA with PKCS#1 v1.5 padding, ECDSA in DER.
pub(super) fn sign(
    place: &Place<'_>,
    pin: Option<&[u8]>,
    kind: KeyKind,
    message: &[u8],
) -> Result<Vec<u8>, TokenError> {
    with_token(place, pin, |open| {
        if !open.logged_in {
            return Err(TokenError::NoPin(open.label.clone()));
        }
        let key = open.find(ObjectClass::PRIVATE_KEY, "private key", place.uri)?;
        let hash = digest(&SHA256, message);
        let sign = |mechanism: Mechanism<'_>, data: &[u8]| open.session.sign(&mechanism, key, data);
        let signature = match kind {
            KeyKind::Rsa if open.mechanisms.contains(&MechanismType::SHA256_RSA_PKCS) => {
                sign(Mechanism::Sha256RsaPkcs, message)
            }
            KeyKind::Rsa => sign(Mechanism::RsaPkcs, &[&SHA256_DIGEST_INFO, hash.as_ref()].concat()),
            KeyKind::P256 | KeyKind::P384 => sign(Mechanism::Ecdsa, hash.as_ref()).map(|raw| ecdsa_der(&raw)),
        };
        signature.map_err(|error| open.failed(&error))
    })
}

/// A session with one token.
struct Open {
    session: Session,
    label: String,
    mechanisms: Vec<MechanismType>,
    logged_in: bool,
}

impl Open {
    fn find(&self, class: ObjectClass, what: &'static str, uri: &TokenUri) -> Result<ObjectHandle, TokenError> {
        let mut template = vec![Attribute::Class(class)];
        template.extend(uri.object.as_ref().map(|label| Attribute::Label(label.as_bytes().to_vec())));
        template.extend(uri.id.clone().map(Attribute::Id));
        let found = self.session.find_objects(&template).map_err(|error| self.failed(&error))?;
        let (uri, token) = (uri.text.clone(), self.label.clone());
        match found.as_slice() {
            [] => Err(TokenError::NoObject { what, uri, token }),
            [object] => Ok(*object),
            several => Err(TokenError::Objects { what, uri, token, number: several.len() }),
        }
    }

    fn failed(&self, error: &Error) -> TokenError {
        failed(&self.label, error)
    }
}

fn failed(token: &str, error: &Error) -> TokenError {
    TokenError::Failed { token: token.to_owned(), problem: error.to_string() }
}

/// Opens a session for one use. A session that stayed open would not survive that the token is pulled out.
fn with_token<T>(
    place: &Place<'_>,
    pin: Option<&[u8]>,
    then: impl FnOnce(&Open) -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    let mut modules = modules();
    if !modules.contains_key(place.module) {
        modules.insert(place.module.to_owned(), load(place.module)?);
    }
    let Some(module) = modules.get_mut(place.module) else {
        return Err(module_error(place.module, "it is gone"));
    };
    let (slot, label, serial) = find_token(&module.context, place)?;
    let wants = |error: Error| failed(&label, &error);
    let mechanisms = module.context.get_mechanism_list(slot).map_err(wants)?;
    let session = module.context.open_ro_session(slot).map_err(wants)?;
    let mut open = Open { session, label, mechanisms, logged_in: false };
    if let Some(pin) = pin {
        module.log_in(&mut open, serial, pin)?;
    }
    then(&open)
}

fn load(path: &Path) -> Result<Module, TokenError> {
    let context = Pkcs11::new(path).map_err(|error| module_error(path, &error.to_string()))?;
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
            Ok(Module { context, refused: HashMap::new() })
        }
        Err(error) => Err(module_error(path, &error.to_string())),
    }
}

fn module_error(path: &Path, problem: &str) -> TokenError {
    TokenError::Module { path: path.display().to_string(), problem: problem.to_owned() }
}

/// The one slot whose token fits: with label and serial number.
fn find_token(context: &Pkcs11, place: &Place<'_>) -> Result<(Slot, String, String), TokenError> {
    let failed = |error: Error| module_error(place.module, &error.to_string());
    let uri = place.uri;
    let mut fitting = Vec::new();
    let mut all = Vec::new();
    for slot in context.get_slots_with_initialized_token().map_err(failed)? {
        let info = context.get_token_info(slot).map_err(failed)?;
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|wanted| wanted == is.trim_end());
        all.push(format!("{:?}", info.label().trim_end()));
        if fits(&uri.token, info.label())
            && fits(&uri.manufacturer, info.manufacturer_id())
            && fits(&uri.model, info.model())
            && fits(&uri.serial, info.serial_number())
            && uri.slot_id.is_none_or(|id| id == slot.id())
        {
            fitting.push((slot, info.label().trim_end().to_owned(), info.serial_number().trim_end().to_owned()));
        }
    }
    // Slots have no order that means anything.
    all.sort_unstable();
    let several = fitting.len() > 1;
    let names = |names: Vec<String>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    match fitting.pop() {
        None => Err(TokenError::NoToken(uri.text.clone(), names(all))),
        Some(_) if several => Err(TokenError::Tokens(uri.text.clone(), names(all))),
        Some(one) => Ok(one),
    }
}

impl Module {
    fn log_in(&mut self, open: &mut Open, serial: String, pin: &[u8]) -> Result<(), TokenError> {
        if self.refused.get(&serial).is_some_and(|refused| **refused == pin) {
            return Err(TokenError::WrongPin(open.label.clone()));
        }
        let text = std::str::from_utf8(pin).map_err(|_| TokenError::WrongPin(open.label.clone()))?;
        match open.session.login(UserType::User, Some(&AuthPin::from(text))) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                self.refused.remove(&serial);
                open.logged_in = true;
                Ok(())
            }
            Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
                self.refused.insert(serial, Zeroizing::new(pin.to_vec()));
                Err(TokenError::WrongPin(open.label.clone()))
            }
            Err(Error::Pkcs11(RvError::PinLocked, _)) => Err(TokenError::Locked(open.label.clone())),
            Err(error) => Err(open.failed(&error)),
        }
    }
}

/// Tokens give r and s one after the other; in requests they stand in `SEQUENCE { INTEGER, INTEGER }`.
fn ecdsa_der(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    let integer = |number: &[u8]| {
        let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len().saturating_sub(1));
        let number = &number[first..];
        let sign = if number.first().is_some_and(|byte| byte & 0x80 != 0) { &[0_u8][..] } else { &[] };
        [sign, number].concat()
    };
    let (r, s) = (integer(r), integer(s));
    // Two numbers of 48 bytes at most: all lengths fit in one byte.
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap_or(u8::MAX);
    let body = [&[2, length(&r)], r.as_slice(), &[2, length(&s)], s.as_slice()].concat();
    [&[0x30, length(&body)], body.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ecdsa_signatures_become_der() {
        let mut raw = vec![0; 64];
        raw[31] = 5;
        raw[32] = 0x80;
        raw[63] = 1;
        let der = ecdsa_der(&raw);
        assert_eq!(&der[..7], &[0x30, 3 + 2 + 33, 2, 1, 5, 2, 33]);
        assert_eq!((der[7], der[8], der[der.len() - 1]), (0, 0x80, 1));
        assert_eq!(ecdsa_der(&[0, 0, 0, 0]), [0x30, 6, 2, 1, 0, 2, 1, 0]);
        assert_eq!(ecdsa_der(&[0xff; 96]).len(), 2 + 2 * (2 + 49));
    }

    #[test]
    fn a_module_that_is_none_is_told() {
        let place = Place { module: Path::new("/nowhere/module.so"), uri: &TokenUri::default() };
        let error = sign(&place, None, KeyKind::Rsa, b"x").expect_err("no module").to_string();
        assert!(error.starts_with("the PKCS#11 module /nowhere/module.so cannot be loaded"), "{error}");
    }
}
