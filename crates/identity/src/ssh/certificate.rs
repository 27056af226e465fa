//! Certificates of OpenSSH: PROTOCOL.certkeys.

use std::{net::IpAddr, time::SystemTime};

use ipnet::IpNet;

use super::key::{CERTIFICATE, PublicKey};
use crate::{
    Peer,
    ssh_agent::wire::{Reader, WireError, put},
};

/// The most principals, as in OpenSSH.
const MAX_PRINCIPALS: usize = 256;

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    User = 1,
    Host = 2,
}

/// A certificate. Whether its authority is one of ours has to be checked first, then the rest with
/// [`check`](Self::check).
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    pub(super) key: PublicKey<'a>,
    /// The key as it would be alone.
    pub(super) key_blob: Vec<u8>,
    pub(super) serial: u64,
    pub(super) id: &'a str,
    pub(super) principals: Vec<&'a str>,
    pub(super) authority: &'a [u8],
    role: u32,
    valid_after: u64,
    valid_before: u64,
    critical: Vec<(&'a str, &'a [u8])>,
    signed: &'a [u8],
    signature: &'a [u8],
}

/// Whether a key is a certificate.
pub(super) fn is_certificate(blob: &[u8]) -> bool {
    Reader::new(blob).text().is_ok_and(|kind| kind.ends_with(CERTIFICATE))
}

impl<'a> Certificate<'a> {
    /// Reads a certificate; nothing is verified.
    pub(super) fn parse(blob: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(blob);
        // `sk-ssh-ed25519-cert-v01@openssh.com` is of `sk-ssh-ed25519@openssh.com`.
        let kind = reader.text()?.strip_suffix(CERTIFICATE).ok_or(WireError("it is not a certificate"))?;
        let kind = if kind.starts_with("sk-") { format!("{kind}@openssh.com") } else { kind.to_owned() };
        let _nonce = reader.string()?;
        let before = reader;
        let key = PublicKey::read(&kind, &mut reader)?;
        let mut fields = before;
        let mut key_blob = Vec::new();
        put(&mut key_blob, kind.as_bytes());
        key_blob.extend(fields.take(before.len() - reader.len())?);
        let (serial, role, id) = (reader.long()?, reader.number()?, reader.text()?);
        let principals = principals(reader.string()?)?;
        let (valid_after, valid_before) = (reader.long()?, reader.long()?);
        let critical = critical(reader.string()?)?;
        let _extensions = reader.string()?;
        let _reserved = reader.string()?;
        let authority = reader.string()?;
        let signed = &blob[..blob.len() - reader.len()];
        let signature = reader.string()?;
        reader.end()?;
        Ok(Self {
            key,
            key_blob,
            serial,
            id,
            principals,
            authority,
            role,
            valid_after,
            valid_before,
            critical,
            signed,
            signature,
        })
    }

    /// What is wrong with it now, here, and for this purpose. Otherwise, whether its key has to verify the person.
    pub(super) fn check(&self, role: Role, peer: &Peer, now: SystemTime) -> Result<bool, String> {
        // An authority is not a certificate itself: that is no key of a known type.
        let authority = PublicKey::parse(self.authority);
        authority.and_then(|key| key.verify(self.signature, self.signed, false)).map_err(|error| error.to_string())?;
        if self.role != role as u32 {
            let needed = if role == Role::Host { "hosts" } else { "people (users)" };
            return Err(format!("it is not a certificate for {needed}"));
        }
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if seconds < self.valid_after {
            return Err("it is not valid yet".to_owned());
        }
        if seconds >= self.valid_before {
            return Err("it has expired".to_owned());
        }
        let mut verified = false;
        for (name, data) in &self.critical {
            match *name {
                "source-address" if is_from(data, peer) => {}
                "source-address" => return Err("it is not for this address (source-address)".to_owned()),
                "verify-required" if data.is_empty() => verified = true,
                _ => return Err("it has a critical option that has no meaning here".to_owned()),
            }
        }
        Ok(verified)
    }

    /// Since when it is valid; not for one that is valid since always.
    pub(super) fn begins(&self) -> Option<SystemTime> {
        let seconds = std::time::Duration::from_secs(self.valid_after);
        SystemTime::UNIX_EPOCH.checked_add(seconds).filter(|_| self.valid_after > 0)
    }
}

/// One that is valid for everybody has none; nobody is proven by it.
fn principals(list: &[u8]) -> Result<Vec<&str>, WireError> {
    let mut reader = Reader::new(list);
    let mut principals = Vec::new();
    while !reader.is_empty() {
        if principals.len() == MAX_PRINCIPALS {
            return Err(WireError("a certificate has too many principals"));
        }
        principals.push(reader.text()?);
    }
    Ok(principals)
}

fn critical(list: &[u8]) -> Result<Vec<(&str, &[u8])>, WireError> {
    let mut reader = Reader::new(list);
    let mut options = Vec::new();
    while !reader.is_empty() {
        options.push((reader.text()?, reader.string()?));
    }
    Ok(options)
}

/// Whether the peer has one of the addresses in a critical option.
fn is_from(data: &[u8], peer: &Peer) -> bool {
    let mut reader = Reader::new(data);
    let (Ok(list), Peer::Tcp(address)) = (reader.text(), peer) else { return false };
    let address = address.to_canonical();
    let has = |item: &str| {
        let network = item.parse::<IpNet>().or_else(|_| item.parse::<IpAddr>().map(IpNet::from));
        network.is_ok_and(|network| network.contains(&address))
    };
    reader.end().is_ok() && list.split(',').any(has)
}
