//! Public keys as an agent or a `.pub` file has them: a blob and a comment.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};

use crate::{
    text::printable,
    wire::{Reader, WireError, put},
};

/// What follows the type of a key in that of its certificate.
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// A public key or a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key as it is sent (RFC 4253, section 6.6).
    pub blob: Vec<u8>,
    /// What its owner calls it.
    pub comment: String,
}

impl Key {
    /// Its type, such as `ssh-ed25519`; empty if it cannot be read.
    pub fn kind(&self) -> &str {
        Reader::new(&self.blob).text().unwrap_or_default()
    }

    /// Whether it is a certificate.
    pub fn is_certificate(&self) -> bool {
        self.kind().ends_with(CERTIFICATE)
    }

    /// Whether it is in hardware (FIDO), so that a person has to touch it.
    pub fn is_hardware(&self) -> bool {
        self.kind().starts_with("sk-")
    }

    /// `SHA256:…` as `ssh-keygen -l` shows it: that of a certificate is that of its key.
    pub fn fingerprint(&self) -> String {
        key_fingerprint(&self.blob)
    }

    /// Reads the first key of a `.pub` file: type, base64, comment. Empty lines and comments are skipped.
    pub(crate) fn from_line(text: &str) -> Result<Self, &'static str> {
        let is_content = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let line = text.lines().map(str::trim).find(is_content).ok_or("there is no public key in it")?;
        let (kind, rest) = line.split_once([' ', '\t']).ok_or("it is not a public key (type, base64, comment)")?;
        let rest = rest.trim_start();
        let (encoded, comment) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
        let blob = STANDARD.decode(encoded).map_err(|_| "it is not a public key (type, base64, comment)")?;
        let key = Self { blob, comment: comment.trim().to_owned() };
        if key.kind() == kind { Ok(key) } else { Err("the type of its public key is not that of the line") }
    }
}

/// For a list of candidates.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_certificate() { "certificate" } else { "key" };
        write!(f, "{} ({kind} {:?})", self.fingerprint(), printable(&self.comment, 80))
    }
}

/// `SHA256:…` of a key's blob, as `ssh-keygen -l` shows it.
pub fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, blob)))
}

/// The same of the key in a certificate's blob, or of a key's as it is.
pub fn key_fingerprint(blob: &[u8]) -> String {
    certified(blob).map_or_else(|_| fingerprint(blob), |key| fingerprint(&key))
}

/// The key of a certificate as it would be alone (PROTOCOL.certkeys of OpenSSH). Nothing is verified.
fn certified(blob: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut reader = Reader::new(blob);
    let kind = reader.text()?.strip_suffix(CERTIFICATE).ok_or(WireError("it is not a certificate"))?;
    let kind = if kind.starts_with("sk-") { format!("{kind}@openssh.com") } else { kind.to_owned() };
    let _nonce = reader.string()?;
    let fields = match &*kind {
        "ssh-ed25519" => 1,
        "sk-ecdsa-sha2-nistp256@openssh.com" => 3,
        _ => 2,
    };
    let mut key = Vec::new();
    put(&mut key, kind.as_bytes());
    for _ in 0..fields {
        put(&mut key, reader.string()?);
    }
    Ok(key)
}
