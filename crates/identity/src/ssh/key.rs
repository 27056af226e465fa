//! Public keys of OpenSSH, and signatures with them: RFC 4253, section 6.6; RFC 5656, section 3; RFC 8332; RFC 8709;
//! PROTOCOL.u2f of OpenSSH.

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
    },
};

use crate::ssh_agent::wire::{Reader, WireError};

/// The shortest modulus, 2048 bits.
const MIN_RSA_BYTES: usize = 256;
/// The longest modulus, 8192 bits.
const MAX_RSA_BYTES: usize = 1024;
/// The user has touched the key.
const PRESENT: u8 = 1;
/// The key has verified the user.
const VERIFIED: u8 = 4;

const ED25519_NAME: &str = "ssh-ed25519";
const P256_NAME: &str = "ecdsa-sha2-nistp256";
const P384_NAME: &str = "ecdsa-sha2-nistp384";
const RSA_NAME: &str = "ssh-rsa";
const SK_P256_NAME: &str = "sk-ecdsa-sha2-nistp256@openssh.com";
const SK_ED25519_NAME: &str = "sk-ssh-ed25519@openssh.com";
/// What follows the type of a key in that of its certificate.
pub(super) const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublicKey<'a> {
    Ed25519(&'a [u8]),
    P256(&'a [u8]),
    P384(&'a [u8]),
    Rsa {
        exponent: &'a [u8],
        modulus: &'a [u8],
    },
    /// In hardware, which says whether a person was there.
    SkEd25519 {
        key: &'a [u8],
        application: &'a [u8],
    },
    /// The same.
    SkP256 {
        key: &'a [u8],
        application: &'a [u8],
    },
}

impl<'a> PublicKey<'a> {
    /// A key that is alone.
    pub(super) fn parse(blob: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(blob);
        let kind = reader.text()?;
        let key = Self::read(kind, &mut reader)?;
        reader.end()?;
        Ok(key)
    }

    /// The fields of a key of the type `kind`.
    pub(super) fn read(kind: &str, reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let sized = |bytes: &'a [u8], size: usize| {
            if bytes.len() == size { Ok(bytes) } else { Err(WireError("a key has the wrong length")) }
        };
        match kind {
            ED25519_NAME => Ok(Self::Ed25519(sized(reader.string()?, 32)?)),
            P256_NAME => Ok(Self::P256(sized(curve(reader, "nistp256")?, 65)?)),
            P384_NAME => Ok(Self::P384(sized(curve(reader, "nistp384")?, 97)?)),
            RSA_NAME => {
                let (exponent, modulus) = (reader.positive()?, reader.positive()?);
                if !(MIN_RSA_BYTES..=MAX_RSA_BYTES).contains(&modulus.len()) {
                    return Err(WireError("an RSA key has fewer than 2048 bits, or more than 8192"));
                }
                Ok(Self::Rsa { exponent, modulus })
            }
            SK_ED25519_NAME => Ok(Self::SkEd25519 { key: sized(reader.string()?, 32)?, application: reader.string()? }),
            SK_P256_NAME => {
                Ok(Self::SkP256 { key: sized(curve(reader, "nistp256")?, 65)?, application: reader.string()? })
            }
            _ => Err(WireError("keys of this type are not accepted")),
        }
    }

    /// Its type.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => ED25519_NAME,
            Self::P256(_) => P256_NAME,
            Self::P384(_) => P384_NAME,
            Self::Rsa { .. } => RSA_NAME,
            Self::SkEd25519 { .. } => SK_ED25519_NAME,
            Self::SkP256 { .. } => SK_P256_NAME,
        }
    }

    /// Verifies a signature, whose algorithm has to be one of this key. A key in hardware has to be touched for it;
    /// `verified`: it also has to verify the person.
    pub(super) fn verify(&self, signature: &[u8], message: &[u8], verified: bool) -> Result<(), WireError> {
        let mut reader = Reader::new(signature);
        let algorithm = reader.text()?;
        let signature = reader.string()?;
        match self {
            Self::SkEd25519 { key, application } if algorithm == SK_ED25519_NAME => {
                let message = by_hardware(application, &mut reader, message, verified)?;
                return check(&ED25519, key, &message, signature);
            }
            Self::SkP256 { key, application } if algorithm == SK_P256_NAME => {
                let message = by_hardware(application, &mut reader, message, verified)?;
                return check(&ECDSA_P256_SHA256_FIXED, key, &message, &fixed(signature, 32)?);
            }
            _ if verified => return Err(WireError("the key cannot verify the person")),
            _ => {}
        }
        reader.end()?;
        match (self, algorithm) {
            (Self::Ed25519(key), ED25519_NAME) => check(&ED25519, key, message, signature),
            (Self::P256(key), P256_NAME) => check(&ECDSA_P256_SHA256_FIXED, key, message, &fixed(signature, 32)?),
            (Self::P384(key), P384_NAME) => check(&ECDSA_P384_SHA384_FIXED, key, message, &fixed(signature, 48)?),
            (Self::Rsa { exponent, modulus }, "rsa-sha2-256" | "rsa-sha2-512") => {
                let parameters = match algorithm {
                    "rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA512,
                };
                let signature = padded(signature, modulus.len())?;
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, &signature).map_err(|_| WRONG)
            }
            _ => Err(WireError("the algorithm of the signature is not one of its key")),
        }
    }
}

/// What a key in hardware signs for `message`, by what follows its signature, which has to say that the person was there.
fn by_hardware(
    application: &[u8],
    tail: &mut Reader<'_>,
    message: &[u8],
    verified: bool,
) -> Result<Vec<u8>, WireError> {
    let (flags, counter) = (tail.byte()?, tail.take(4)?);
    tail.end()?;
    let needed = if verified { PRESENT | VERIFIED } else { PRESENT };
    if flags & needed != needed {
        return Err(WireError("the key was used without the person"));
    }
    let (application, message) = (digest(&SHA256, application), digest(&SHA256, message));
    Ok([application.as_ref(), &[flags], counter, message.as_ref()].concat())
}

const WRONG: WireError = WireError("the signature is wrong");

fn check(
    algorithm: &'static dyn VerificationAlgorithm,
    key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), WireError> {
    UnparsedPublicKey::new(algorithm, key).verify(message, signature).map_err(|_| WRONG)
}

fn curve<'a>(reader: &mut Reader<'a>, name: &str) -> Result<&'a [u8], WireError> {
    if reader.text()? != name {
        return Err(WireError("a key names another curve"));
    }
    reader.string()
}

/// Both numbers of an ECDSA signature in the same length each.
fn fixed(signature: &[u8], size: usize) -> Result<Vec<u8>, WireError> {
    let mut reader = Reader::new(signature);
    let (r, s) = (reader.positive()?, reader.positive()?);
    reader.end()?;
    Ok([padded(r, size)?, padded(s, size)?].concat())
}

fn padded(number: &[u8], size: usize) -> Result<Vec<u8>, WireError> {
    let missing = size.checked_sub(number.len()).ok_or(WRONG)?;
    Ok([&vec![0; missing], number].concat())
}
