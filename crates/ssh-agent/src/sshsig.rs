//! SSHSIG, signatures with a namespace, as `ssh-keygen -Y sign` makes them: PROTOCOL.sshsig of OpenSSH.

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::wire::{Reader, WireError, put};

const MAGIC: &[u8] = b"SSHSIG";

/// A signature, of which nothing is verified.
#[derive(Debug)]
pub struct SshSig<'a> {
    /// A key or a certificate.
    pub key: &'a [u8],
    /// What the signature is for.
    pub namespace: &'a [u8],
    /// Algorithm and signature.
    pub signature: &'a [u8],
    hash: &'a [u8],
}

impl<'a> SshSig<'a> {
    /// Reads a signature without its armour.
    pub fn parse(blob: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(blob);
        if reader.take(MAGIC.len())? != MAGIC || reader.number()? != 1 {
            return Err(WireError("it is not an SSHSIG of version 1"));
        }
        let (key, namespace, _reserved, hash) =
            (reader.string()?, reader.string()?, reader.string()?, reader.string()?);
        let signature = reader.string()?;
        reader.end()?;
        Ok(Self { key, namespace, signature, hash })
    }

    /// What was signed if this signs `message`. The reserved field is empty, since nothing is defined for it.
    pub fn signed(&self, message: &[u8]) -> Result<Vec<u8>, WireError> {
        let hashed = match self.hash {
            b"sha256" => digest(&SHA256, message),
            b"sha512" => digest(&SHA512, message),
            _ => return Err(WireError("its hash is neither sha256 nor sha512")),
        };
        Ok(to_sign(self.namespace, self.hash, hashed.as_ref()))
    }
}

/// What a key has to sign, so that the signature of `message` is good in `namespace` only. No other protocol of SSH
/// accepts a signature of it.
pub(crate) fn message(namespace: &str, message: &[u8]) -> Vec<u8> {
    to_sign(namespace.as_bytes(), b"sha512", digest(&SHA512, message).as_ref())
}

fn to_sign(namespace: &[u8], hash: &[u8], hashed: &[u8]) -> Vec<u8> {
    let mut signed = MAGIC.to_vec();
    for part in [namespace, b"", hash, hashed] {
        put(&mut signed, part);
    }
    signed
}

/// The SSHSIG of a signature of what [`message`] gives.
pub(crate) fn assemble(key: &[u8], namespace: &str, signature: &[u8]) -> Vec<u8> {
    let mut blob = [MAGIC, &1_u32.to_be_bytes()].concat();
    for part in [key, namespace.as_bytes(), b"", b"sha512", signature] {
        put(&mut blob, part);
    }
    blob
}

/// The file that `ssh-keygen -Y sign` would write.
pub fn armoured(sshsig: &[u8]) -> String {
    let encoded = STANDARD.encode(sshsig);
    let mut text = "-----BEGIN SSH SIGNATURE-----\n".to_owned();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII.
        let (line, more) = rest.split_at(rest.len().min(70));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END SSH SIGNATURE-----\n");
    text
}
