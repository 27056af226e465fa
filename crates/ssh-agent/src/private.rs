//! Private keys in files of OpenSSH, such as host keys: PROTOCOL.key of OpenSSH, not encrypted.

use std::{fmt, fs, path::Path, sync::Arc};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
        RSA_PKCS1_SHA512,
    },
};
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use crate::{
    Key, Signature, SshError,
    rsa::pkcs1,
    wire::{Reader, WireError, put},
};

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
const END: &str = "-----END OPENSSH PRIVATE KEY-----";
const MAGIC: &[u8] = b"openssh-key-v1\0";
const DAMAGED: SshError = SshError::PrivateKey("the private key is damaged");
/// The longest file. An RSA key of 16384 bits has 13 KiB.
const MAX_FILE: usize = 64 * 1024;

/// A private key in memory; the crypto library wipes it when it is dropped.
pub struct PrivateKey {
    /// The key or its certificate, as it is sent.
    public: Vec<u8>,
    pair: Arc<Pair>,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    /// With the name of the algorithm.
    Ecdsa(&'static str, EcdsaKeyPair),
    Rsa(Box<rsa::KeyPair>),
}

impl PrivateKey {
    /// Reads the file of a key, and of its certificate (`…-cert.pub`), if it is to be shown in place of the key.
    pub fn read(file: &Path, certificate: Option<&Path>) -> Result<Self, SshError> {
        let wrong = |file: &Path, cause: String| SshError::File { file: file.to_owned(), cause };
        let text = fs::read(file).map(Zeroizing::new).map_err(|error| wrong(file, error.to_string()))?;
        let key = Self::parse(&text).map_err(|error| wrong(file, error.to_string()))?;
        match certificate {
            Some(certificate) => key.with_certificate(certificate),
            None => Ok(key),
        }
    }

    /// The same key, which shows the certificate that is in this file now.
    pub fn with_certificate(&self, file: &Path) -> Result<Self, SshError> {
        let wrong = |cause: String| SshError::File { file: file.to_owned(), cause };
        let text = fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        self.certified(&text).map_err(|error| wrong(error.to_string()))
    }

    /// Reads a key that is not encrypted: Ed25519, ECDSA on P-256 or P-384, RSA of 2048 bits or more.
    pub fn parse(text: &[u8]) -> Result<Self, SshError> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_FILE).ok_or(DAMAGED)?.trim();
        let Some(body) = text.strip_prefix(BEGIN) else {
            return Err(SshError::PrivateKey(
                "this is not a private key in OpenSSH's format (to convert another: ssh-keygen -p -f FILE)",
            ));
        };
        let body = body.strip_suffix(END).ok_or(DAMAGED)?;
        let mut encoded = Zeroizing::new(Vec::with_capacity(body.len()));
        encoded.extend(body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let mut blob = Zeroizing::new(vec![0; encoded.len() / 4 * 3 + 3]);
        let length = STANDARD.decode_slice(&*encoded, &mut blob).map_err(|_| DAMAGED)?;
        let (public, private) = envelope(&blob[..length])?;
        let pair = Arc::new(Pair::read(private)?);
        Ok(Self { public: public.to_vec(), pair })
    }

    /// With a certificate, which has to be of this key.
    fn certified(&self, text: &str) -> Result<Self, SshError> {
        let certificate = Key::from_line(text).map_err(SshError::PrivateKey)?;
        if !certificate.is_certificate() || certificate.fingerprint() != crate::fingerprint(&self.public) {
            return Err(SshError::PrivateKey("this is not a certificate of the private key"));
        }
        Ok(Self { public: certificate.blob, pair: Arc::clone(&self.pair) })
    }

    /// The key or certificate that is shown.
    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// Signs, with SHA-512 if it is an RSA key.
    pub fn sign(&self, data: &[u8]) -> Result<Signature, SshError> {
        let failed = |_| SshError::PrivateKey("the private key cannot sign");
        let (algorithm, signature) = match &*self.pair {
            Pair::Ed25519(pair) => ("ssh-ed25519", pair.sign(data).as_ref().to_vec()),
            Pair::Ecdsa(algorithm, pair) => {
                let both = pair.sign(&SystemRandom::new(), data).map_err(failed)?;
                let (r, s) = both.as_ref().split_at(both.as_ref().len() / 2);
                let mut signature = Vec::new();
                number(&mut signature, r);
                number(&mut signature, s);
                (*algorithm, signature)
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA512, &SystemRandom::new(), data, &mut signature).map_err(failed)?;
                ("rsa-sha2-512", signature)
            }
        };
        let mut blob = Vec::new();
        put(&mut blob, algorithm.as_bytes());
        put(&mut blob, &signature);
        Ok(Signature { blob })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", crate::fingerprint(&self.public))
    }
}

/// The public key and the private part of a file.
fn envelope(blob: &[u8]) -> Result<(&[u8], &[u8]), SshError> {
    let mut reader = Reader::new(blob);
    let mut read = || {
        let is_ours = reader.take(MAGIC.len())? == MAGIC;
        let (cipher, _kdf, _options) = (reader.string()?, reader.string()?, reader.string()?);
        let (count, public, private) = (reader.number()?, reader.string()?, reader.string()?);
        Ok::<_, WireError>((is_ours && count == 1, cipher, public, private))
    };
    match read().map_err(|_| DAMAGED)? {
        (true, b"none", public, private) => Ok((public, private)),
        (true, ..) => Err(SshError::PrivateKey("the private key has a passphrase: put it into an agent (ssh-add)")),
        (false, ..) => Err(DAMAGED),
    }
}

impl Pair {
    fn read(private: &[u8]) -> Result<Self, SshError> {
        let mut reader = Reader::new(private);
        let mut kind = || {
            // Twice the same number, which shows that a passphrase was right.
            let (_, _) = (reader.number()?, reader.number()?);
            reader.text()
        };
        let kind = kind().map_err(|_| DAMAGED)?;
        let pair = match kind {
            "ssh-ed25519" => Self::ed25519(&mut reader),
            "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" => Self::ecdsa(kind, &mut reader),
            "ssh-rsa" => pkcs1(&mut reader).map(|der| rsa::KeyPair::from_der(&der).ok().map(Box::new).map(Self::Rsa)),
            _ => {
                return Err(SshError::PrivateKey(
                    "private keys of this type are not accepted: Ed25519, ECDSA on P-256 or P-384, and RSA are",
                ));
            }
        };
        pair.ok().flatten().ok_or(DAMAGED)
    }

    fn ed25519(reader: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        let (public, both) = (reader.string()?, reader.string()?);
        // The seed, and the public key again.
        let Some(seed) = both.strip_suffix(public) else { return Ok(None) };
        Ok(Ed25519KeyPair::from_seed_and_public_key(seed, public).ok().map(Self::Ed25519))
    }

    fn ecdsa(kind: &str, reader: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        let (_curve, public, secret) = (reader.string()?, reader.string()?, reader.positive()?);
        let (name, curve, size) = match kind {
            "ecdsa-sha2-nistp256" => ("ecdsa-sha2-nistp256", &ECDSA_P256_SHA256_FIXED_SIGNING, 32),
            _ => ("ecdsa-sha2-nistp384", &ECDSA_P384_SHA384_FIXED_SIGNING, 48),
        };
        let Some(zeros) = usize::checked_sub(size, secret.len()) else { return Ok(None) };
        let mut padded = Zeroizing::new(vec![0; size]);
        padded[zeros..].copy_from_slice(secret);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(curve, &padded, public);
        Ok(pair.ok().map(|pair| Self::Ecdsa(name, pair)))
    }
}

/// Appends a positive number of any length (RFC 4251, `mpint`).
fn number(into: &mut Vec<u8>, bytes: &[u8]) {
    let digits = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let sign: &[u8] = if digits.first().is_some_and(|first| *first >= 0x80) { &[0] } else { &[] };
    put(into, &[sign, digits].concat());
}
