//! Encrypted PKCS#8 keys (RFC 5958): PBES2 (RFC 8018) with PBKDF2 and AES-CBC, as `openssl pkcs8 -topk8` writes them.

use std::num::NonZeroU32;

use aws_lc_rs::{
    cipher::{AES_128, AES_192, AES_256, Algorithm, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey},
    iv::FixedLength,
    pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA384, PBKDF2_HMAC_SHA512},
};
use x509_cert::{
    der::{
        self, Decode, Reader, SliceReader,
        asn1::{Any, ObjectIdentifier, OctetString},
    },
    spki::AlgorithmIdentifierOwned,
};
use zeroize::Zeroizing;

const PBES2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.13");
const PBKDF2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.5.12");
const HMAC_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.7");
const HMAC_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.9");
const HMAC_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.10");
const HMAC_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.2.11");
const AES_128_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.2");
const AES_192_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.22");
const AES_256_CBC: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.1.42");

/// A second or two of work; no sensible file needs more.
const MAX_ITERATIONS: u32 = 2_000_000;

/// Why a key could not be decrypted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecryptError {
    #[error("the encrypted key is damaged")]
    Damaged,
    #[error(
        "the key is encrypted with {0}, which is not supported; convert it: \
         openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in OLD -out NEW"
    )]
    Unsupported(String),
    #[error("the passphrase is wrong")]
    Passphrase,
}

/// Whether it looks like an encrypted PKCS#8 key.
pub(super) fn is_encrypted(der: &[u8]) -> bool {
    outer(der).is_ok()
}

/// Decrypts a key.
pub(super) fn decrypt(der: &[u8], passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    let (scheme, data) = outer(der).map_err(|_| DecryptError::Damaged)?;
    if scheme.oid != PBES2 {
        return Err(unsupported("the scheme", scheme.oid));
    }
    let (derivation, cipher) = pair(&scheme).map_err(|_| DecryptError::Damaged)?;
    if derivation.oid != PBKDF2 {
        return Err(unsupported("the key derivation", derivation.oid));
    }
    let parameters = pbkdf2_parameters(&derivation).map_err(|_| DecryptError::Damaged)?;
    let prf = match parameters.prf {
        HMAC_SHA1 => PBKDF2_HMAC_SHA1,
        HMAC_SHA256 => PBKDF2_HMAC_SHA256,
        HMAC_SHA384 => PBKDF2_HMAC_SHA384,
        HMAC_SHA512 => PBKDF2_HMAC_SHA512,
        other => return Err(unsupported("the hash", other)),
    };
    let (algorithm, length): (&'static Algorithm, usize) = match cipher.oid {
        AES_128_CBC => (&AES_128, 16),
        AES_192_CBC => (&AES_192, 24),
        AES_256_CBC => (&AES_256, 32),
        other => return Err(unsupported("the cipher", other)),
    };
    let iv = octets(cipher.parameters.as_ref()).map_err(|_| DecryptError::Damaged)?;
    let iv = FixedLength::try_from(iv.as_bytes()).map_err(|_| DecryptError::Damaged)?;
    let iterations = NonZeroU32::new(parameters.iterations).filter(|count| count.get() <= MAX_ITERATIONS);
    let iterations = iterations
        .ok_or_else(|| DecryptError::Unsupported(format!("{} rounds of key derivation", parameters.iterations)))?;
    let mut key = Zeroizing::new(vec![0; length]);
    pbkdf2::derive(prf, iterations, parameters.salt.as_bytes(), passphrase, &mut key);
    let key = UnboundCipherKey::new(algorithm, &key).map_err(|_| DecryptError::Damaged)?;
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(key).map_err(|_| DecryptError::Damaged)?;
    let mut plain = Zeroizing::new(data.as_bytes().to_vec());
    let length = key.decrypt(&mut plain, DecryptionContext::Iv128(iv)).map_err(|_| DecryptError::Passphrase)?.len();
    plain.truncate(length);
    Ok(plain)
}

fn unsupported(what: &str, oid: ObjectIdentifier) -> DecryptError {
    let name = match oid.to_string().as_str() {
        "1.3.6.1.4.1.11591.4.11" => "scrypt".to_owned(),
        "1.2.840.113549.3.7" => "DES-EDE3-CBC".to_owned(),
        other => other.to_owned(),
    };
    DecryptError::Unsupported(format!("{what} {name}"))
}

/// `EncryptedPrivateKeyInfo ::= SEQUENCE { AlgorithmIdentifier, OCTET STRING }`
fn outer(bytes: &[u8]) -> der::Result<(AlgorithmIdentifierOwned, OctetString)> {
    whole(bytes, |reader| Ok((reader.decode()?, reader.decode()?)))
}

/// `PBES2-params ::= SEQUENCE { keyDerivationFunc, encryptionScheme }`
fn pair(scheme: &AlgorithmIdentifierOwned) -> der::Result<(AlgorithmIdentifierOwned, AlgorithmIdentifierOwned)> {
    inside(scheme, |reader| Ok((reader.decode()?, reader.decode()?)))
}

struct Pbkdf2Parameters {
    salt: OctetString,
    iterations: u32,
    prf: ObjectIdentifier,
}

/// `PBKDF2-params ::= SEQUENCE { salt, iterationCount, keyLength OPTIONAL, prf DEFAULT hmacWithSHA1 }`
fn pbkdf2_parameters(derivation: &AlgorithmIdentifierOwned) -> der::Result<Pbkdf2Parameters> {
    inside(derivation, |reader| {
        let salt = reader.decode()?;
        let iterations = reader.decode()?;
        let _length: Option<u32> = reader.decode()?;
        let prf: Option<AlgorithmIdentifierOwned> = reader.decode()?;
        Ok(Pbkdf2Parameters { salt, iterations, prf: prf.map_or(HMAC_SHA1, |prf| prf.oid) })
    })
}

fn octets(parameters: Option<&Any>) -> der::Result<OctetString> {
    parameters.ok_or(der::ErrorKind::Failed)?.decode_as()
}

fn inside<T>(
    algorithm: &AlgorithmIdentifierOwned,
    read: impl FnOnce(&mut SliceReader<'_>) -> der::Result<T>,
) -> der::Result<T> {
    let parameters = algorithm.parameters.as_ref().ok_or(der::ErrorKind::Failed)?;
    parameters.sequence(read)
}

fn whole<T>(bytes: &[u8], read: impl FnOnce(&mut SliceReader<'_>) -> der::Result<T>) -> der::Result<T> {
    Any::from_der(bytes)?.sequence(read)
}
