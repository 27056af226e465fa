//! Signatures by `ssh-keygen -Y sign` and agents: PROTOCOL.sshsig of OpenSSH.

use aws_lc_rs::digest::{SHA256, SHA512, digest};

use super::reader::{Reader, WireError, put};

const MAGIC: &[u8] = b"SSHSIG";

/// A signature, of which nothing is verified.
#[derive(Debug)]
pub(super) struct SshSig<'a> {
    /// A key or a certificate.
    pub(super) key: &'a [u8],
    pub(super) namespace: &'a [u8],
    pub(super) signature: &'a [u8],
    hash: &'a [u8],
}

impl<'a> SshSig<'a> {
    pub(super) fn parse(blob: &'a [u8]) -> Result<Self, WireError> {
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
    pub(super) fn signed(&self, message: &[u8]) -> Result<Vec<u8>, WireError> {
        let hashed = match self.hash {
            b"sha256" => digest(&SHA256, message),
            b"sha512" => digest(&SHA512, message),
            _ => return Err(WireError("its hash is neither sha256 nor sha512")),
        };
        let mut signed = MAGIC.to_vec();
        for part in [self.namespace, b"", self.hash, hashed.as_ref()] {
            put(&mut signed, part);
        }
        Ok(signed)
    }
}
