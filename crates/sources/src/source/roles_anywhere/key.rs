//! Private keys in files: PKCS#8, PKCS#1 and SEC1, PEM or DER, encrypted PKCS#8 with a passphrase.

use aws_lc_rs::{
    digest::{Digest, SHA256, SHA384, digest},
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256},
};

use super::{
    certificate::KeyKind,
    encrypted::{self, DecryptError},
};
use crate::source::pem::{self, PemError, Section};

/// A private key in memory. The crypto library wipes it when it is dropped.
pub(super) enum FileKey {
    Rsa(Box<rsa::KeyPair>),
    Ecdsa(KeyKind, Box<EcdsaKeyPair>),
}

/// Why a file gives no usable key. Nothing of the key is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    #[error("{0}")]
    Pem(#[from] PemError),
    #[error("there is no private key in it (no BEGIN … PRIVATE KEY line, and it is not DER)")]
    None,
    #[error("the key is neither an RSA key of 2048 to 8192 bits nor an ECDSA key on P-256 or P-384, or it is damaged")]
    Unusable,
    #[error(
        "the key is encrypted in OpenSSL's old format (Proc-Type: 4,ENCRYPTED), which is weak and not supported; \
             convert it: openssl pkcs8 -topk8 -v2 aes-256-cbc -in OLD -out NEW"
    )]
    Legacy,
    #[error(
        "the key is in the format {0:?}, which is not supported; convert it to PKCS#8: openssl pkcs8 -topk8 -in OLD \
             -out NEW (for OpenSSH's own format first: ssh-keygen -p -m PEM -f KEY)"
    )]
    Format(String),
    #[error("the key is encrypted and no passphrase file is configured")]
    NoPassphrase,
    #[error("{0}")]
    Decrypt(#[from] DecryptError),
    #[error("the key cannot sign")]
    Sign,
}

/// Reads the private key of a file. The passphrase is used only if the key is encrypted.
pub(super) fn read(bytes: &[u8], passphrase: Option<&[u8]>) -> Result<FileKey, KeyError> {
    if bytes.first() == Some(&0x30) {
        return match any(bytes) {
            None if encrypted::is_encrypted(bytes) => decrypt(bytes, passphrase),
            key => key.ok_or(KeyError::Unusable),
        };
    }
    let sections = pem::sections(bytes)?;
    let key = sections.iter().find(|section| section.label.ends_with("PRIVATE KEY")).ok_or(KeyError::None)?;
    from_section(key, passphrase)
}

fn from_section(section: &Section, passphrase: Option<&[u8]>) -> Result<FileKey, KeyError> {
    if section.headers {
        return Err(KeyError::Legacy);
    }
    match section.label.as_str() {
        "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY" => any(&section.der).ok_or(KeyError::Unusable),
        "ENCRYPTED PRIVATE KEY" => decrypt(&section.der, passphrase),
        other => Err(KeyError::Format(other.to_owned())),
    }
}

fn decrypt(der: &[u8], passphrase: Option<&[u8]>) -> Result<FileKey, KeyError> {
    let plain = encrypted::decrypt(der, passphrase.ok_or(KeyError::NoPassphrase)?)?;
    // A wrong passphrase is found out by the padding, but for one time in 256.
    any(&plain).ok_or(KeyError::Decrypt(DecryptError::Passphrase))
}

/// Whatever of the three formats and three kinds it is.
fn any(der: &[u8]) -> Option<FileKey> {
    if let Ok(key) = rsa::KeyPair::from_pkcs8(der).or_else(|_| rsa::KeyPair::from_der(der)) {
        return Some(FileKey::Rsa(Box::new(key)));
    }
    let curves = [(KeyKind::P256, &ECDSA_P256_SHA256_ASN1_SIGNING), (KeyKind::P384, &ECDSA_P384_SHA384_ASN1_SIGNING)];
    curves.into_iter().find_map(|(kind, curve)| {
        EcdsaKeyPair::from_private_key_der(curve, der).ok().map(|key| FileKey::Ecdsa(kind, Box::new(key)))
    })
}

impl FileKey {
    pub(super) fn kind(&self) -> KeyKind {
        match self {
            Self::Rsa(_) => KeyKind::Rsa,
            Self::Ecdsa(kind, _) => *kind,
        }
    }

    /// Signs with SHA-256: RSA with PKCS#1 v1.5 padding, ECDSA in DER.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).map_err(|_| KeyError::Sign)?;
                Ok(signature)
            }
            Self::Ecdsa(KeyKind::P384, key) => {
                // The service requires SHA-256 for every curve, and the library signs with P-384 over hashes of 48 bytes
                // only. ECDSA signs the number that a hash is (FIPS 186-5, section 6.4.1), which zeros in front of it
                // do not change.
                let mut hash = [0; 48];
                hash[16..].copy_from_slice(digest(&SHA256, message).as_ref());
                let hash = Digest::import_less_safe(&hash, &SHA384).map_err(|_| KeyError::Sign)?;
                Ok(key.sign_digest(&hash).map_err(|_| KeyError::Sign)?.as_ref().to_vec())
            }
            Self::Ecdsa(_, key) => Ok(key.sign(&random, message).map_err(|_| KeyError::Sign)?.as_ref().to_vec()),
        }
    }
}
