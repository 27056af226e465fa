//! The signature of a request: Signature Version 4 as IAM Roles Anywhere varies it. Pure.
//! <https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-sign-process.html>

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;

use super::certificate::{Certificate, KeyKind};

/// The service's name in the scope of the credential.
const SERVICE: &str = "rolesanywhere";
/// The only path.
pub(super) const PATH: &str = "/sessions";
pub(super) const CONTENT_TYPE: &str = "application/json";

/// A request to be signed: `POST /sessions`.
pub(super) struct Request<'a> {
    /// As it stands in the `Host` header.
    pub(super) host: &'a str,
    pub(super) region: &'a str,
    pub(super) body: &'a [u8],
    pub(super) time: Timestamp,
    pub(super) certificate: &'a Certificate,
    /// Intermediate certificates, DER.
    pub(super) chain: &'a [Vec<u8>],
}

/// What is signed, and the headers that go along.
pub(super) struct Unsigned {
    /// The bytes under the signature.
    pub(super) string_to_sign: String,
    /// All signed headers, in the order of the signature.
    headers: Vec<(&'static str, String)>,
    authorization: String,
}

impl Request<'_> {
    /// Everything but the signature.
    pub(super) fn prepare(&self) -> Unsigned {
        let time = self.time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![
            ("content-type", CONTENT_TYPE.to_owned()),
            ("host", self.host.to_owned()),
            ("x-amz-date", time.clone()),
            ("x-amz-x509", STANDARD.encode(&self.certificate.der)),
        ];
        if !self.chain.is_empty() {
            let chain: Vec<String> = self.chain.iter().map(|der| STANDARD.encode(der)).collect();
            headers.push(("x-amz-x509-chain", chain.join(",")));
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        // Method, path, query (there is none), headers, their names, hash of the body.
        let mut canonical = format!("POST\n{PATH}\n\n");
        for (name, value) in &headers {
            // Writing to a String cannot fail.
            let _infallible = writeln!(canonical, "{name}:{value}");
        }
        let _infallible = write!(canonical, "\n{names}\n{}", hash(self.body));
        let algorithm = match self.certificate.kind {
            KeyKind::Rsa => "AWS4-X509-RSA-SHA256",
            KeyKind::P256 | KeyKind::P384 => "AWS4-X509-ECDSA-SHA256",
        };
        let scope = format!("{}/{}/{SERVICE}/aws4_request", &time[..8], self.region);
        Unsigned {
            string_to_sign: format!("{algorithm}\n{time}\n{scope}\n{}", hash(canonical.as_bytes())),
            authorization: format!(
                "{algorithm} Credential={}/{scope}, SignedHeaders={names}, Signature=",
                self.certificate.serial
            ),
            headers,
        }
    }
}

impl Unsigned {
    /// All headers of the request, with the signature.
    pub(super) fn signed(self, signature: &[u8]) -> Vec<(&'static str, String)> {
        let mut headers = self.headers;
        headers.push(("authorization", self.authorization + &hex(signature)));
        headers
    }
}

fn hash(bytes: &[u8]) -> String {
    hex(digest(&SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
