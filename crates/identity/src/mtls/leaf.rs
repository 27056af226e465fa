//! What a client certificate says about its owner. The common name is never looked at.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest::{SHA256, digest};
use x509_cert::{
    Certificate,
    der::{Decode, oid::db::rfc5280::ID_KP_CLIENT_AUTH},
    ext::pkix::{ExtendedKeyUsage, SubjectAltName, name::GeneralName},
};

use super::SanType;
use crate::names::{hex, host, is_uri, shown};

/// A certificate that may prove something.
pub(super) struct Leaf {
    /// The names of the accepted types, in the order of the certificate.
    pub(super) names: Vec<String>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    /// Serial number and fingerprint.
    pub(super) proof: String,
}

impl Leaf {
    /// Reads a certificate. The error is a text for the client.
    pub(super) fn read(der: &[u8], accepted: &[SanType]) -> Result<Self, String> {
        let unreadable = |error: x509_cert::der::Error| format!("the client certificate cannot be read: {error}");
        let certificate = Certificate::from_der(der).map_err(unreadable)?;
        let certificate = certificate.tbs_certificate();
        let usage = certificate.get_extension::<ExtendedKeyUsage>().map_err(unreadable)?;
        if !usage.is_some_and(|(_, usage)| usage.0.contains(&ID_KP_CLIENT_AUTH)) {
            return Err("the client certificate is not for clients: its extended key usage lacks clientAuth".to_owned());
        }
        let alternative = certificate.get_extension::<SubjectAltName>().map_err(unreadable)?;
        let mut names = Vec::new();
        for name in alternative.iter().flat_map(|(_, names)| &names.0) {
            if let Some(name) = read_name(name, accepted)?
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        if names.is_empty() {
            let words: Vec<_> = accepted.iter().map(|accepted| accepted.word()).collect();
            let words = words.join(", ");
            return Err(format!(
                "the client certificate has no subject alternative name of type {words}; its common name counts for nothing"
            ));
        }
        let validity = certificate.validity();
        let not_before = SystemTime::UNIX_EPOCH + validity.not_before.to_unix_duration();
        let not_after = SystemTime::UNIX_EPOCH + validity.not_after.to_unix_duration();
        let serial = hex(certificate.serial_number().as_bytes());
        let proof = format!("serial {serial}, sha256 {}", hex(digest(&SHA256, der).as_ref()));
        Ok(Self { names, not_before, not_after, proof })
    }

    /// How old the certificate is.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(self.not_before).unwrap_or_default()
    }
}

/// The name in one spelling, or `None` if its type is not accepted.
fn read_name(name: &GeneralName, accepted: &[SanType]) -> Result<Option<String>, String> {
    let (kind, text, read) = match name {
        GeneralName::DnsName(name) => (SanType::Dns, name.as_str().to_owned(), host(name.as_str())),
        GeneralName::UniformResourceIdentifier(uri) => {
            let uri = uri.as_str().to_owned();
            (SanType::Uri, uri.clone(), Some(uri).filter(|uri| is_uri(uri)))
        }
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let address = <[u8; 4]>::try_from(bytes)
                .map(IpAddr::from)
                .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
                .map(|address| address.to_canonical().to_string());
            (SanType::Ip, hex(bytes), address.ok())
        }
        _ => return Ok(None),
    };
    match read {
        _ if !accepted.contains(&kind) => Ok(None),
        Some(name) => Ok(Some(name)),
        None => Err(format!(
            "the client certificate has the {} name {}, which proves no single host",
            kind.word(),
            shown(&text)
        )),
    }
}
