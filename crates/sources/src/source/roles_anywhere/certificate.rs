//! X.509 certificates: how a request presents them, and whether they can sign one.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use jiff::Timestamp;
use x509_cert::{
    Certificate as Parsed, Version,
    der::{Decode, Encode, asn1::ObjectIdentifier},
    ext::pkix::{BasicConstraints, KeyUsage},
    time::Time,
};

use crate::source::pem::{self, PemError};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

/// A certificate that can authenticate us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    /// The certificate as it is sent.
    pub(super) der: Vec<u8>,
    /// Its serial number in decimal, as the `Credential` of the signature has it.
    pub(super) serial: String,
    /// For the log.
    pub(super) subject: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    pub(super) kind: KeyKind,
    /// The content of the public key's BIT STRING.
    public_key: Vec<u8>,
}

/// The keys that can sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyKind {
    Rsa,
    P256,
    P384,
}

impl KeyKind {
    /// For messages.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::P256 => "ECDSA P-256",
            Self::P384 => "ECDSA P-384",
        }
    }
}

/// Why a file gives no usable certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CertificateError {
    #[error("{0}")]
    Pem(#[from] PemError),
    #[error("there is no certificate in it (no BEGIN CERTIFICATE line, and it is not DER)")]
    None,
    #[error("a certificate in it is damaged: {0}")]
    Damaged(String),
    #[error("the certificate is of X.509 version 1 or 2; IAM Roles Anywhere takes version 3 only")]
    Version,
    #[error("the certificate is a certificate authority's (CA:TRUE); an end-entity certificate is needed")]
    Authority,
    #[error("the certificate's key usage is without digitalSignature, so that it may not sign requests")]
    Usage,
    #[error("the certificate's key is {0}; RSA (2048 to 8192 bits), ECDSA P-256 and ECDSA P-384 can be used")]
    Key(String),
}

/// The DER certificates of a file, PEM or DER, in its order; at least one.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, CertificateError> {
    let found: Vec<Vec<u8>> = if bytes.first() == Some(&0x30) {
        vec![bytes.to_vec()]
    } else {
        pem::sections(bytes)?
            .into_iter()
            .filter(|section| matches!(section.label.as_str(), "CERTIFICATE" | "X509 CERTIFICATE"))
            .map(|section| section.der.to_vec())
            .collect()
    };
    if found.is_empty() { Err(CertificateError::None) } else { Ok(found) }
}

/// Whether it is a certificate at all; for the chain, of which only the bytes are sent.
pub(super) fn check(der: &[u8]) -> Result<(), CertificateError> {
    parse(der).map(|_| ())
}

fn parse(der: &[u8]) -> Result<Parsed, CertificateError> {
    Parsed::from_der(der).map_err(|error| CertificateError::Damaged(error.to_string()))
}

impl Certificate {
    /// Reads an end-entity certificate and checks what the service asks of it.
    /// <https://docs.aws.amazon.com/rolesanywhere/latest/userguide/trust-model.html#signature-verification>
    pub(super) fn new(der: Vec<u8>) -> Result<Self, CertificateError> {
        let parsed = parse(&der)?;
        let fields = parsed.tbs_certificate();
        let damaged = |what: &str| CertificateError::Damaged(what.to_owned());
        if fields.version() != Version::V3 {
            return Err(CertificateError::Version);
        }
        let constraints = fields.get_extension::<BasicConstraints>().map_err(|_| damaged("its basic constraints"))?;
        if constraints.is_some_and(|(_, constraints)| constraints.ca) {
            return Err(CertificateError::Authority);
        }
        let usage = fields.get_extension::<KeyUsage>().map_err(|_| damaged("its key usage"))?;
        if usage.is_some_and(|(_, usage)| !usage.digital_signature()) {
            return Err(CertificateError::Usage);
        }
        let info = fields.subject_public_key_info();
        let parameters = || info.algorithm.parameters.as_ref().and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
        let kind = match info.algorithm.oid {
            RSA => KeyKind::Rsa,
            EC if parameters() == Some(P256) => KeyKind::P256,
            EC if parameters() == Some(P384) => KeyKind::P384,
            EC => return Err(CertificateError::Key("an ECDSA key of another curve".to_owned())),
            other => return Err(CertificateError::Key(format!("of the algorithm {other}"))),
        };
        let public_key = info.subject_public_key.as_bytes().ok_or_else(|| damaged("its public key"))?.to_vec();
        if UnparsedPublicKey::new(algorithm(kind), &public_key).parse().is_err() {
            return Err(CertificateError::Key(format!("an {} key of a bad size or damaged", kind.as_str())));
        }
        let serial = fields.serial_number().to_der().map_err(|_| damaged("its serial number"))?;
        let validity = fields.validity();
        Ok(Self {
            serial: decimal(fields.serial_number().as_bytes(), &serial).ok_or_else(|| damaged("its serial number"))?,
            subject: printable(&fields.subject().to_string()),
            not_before: moment(validity.not_before).ok_or_else(|| damaged("its validity"))?,
            not_after: moment(validity.not_after).ok_or_else(|| damaged("its validity"))?,
            kind,
            public_key,
            der,
        })
    }

    /// Whether `signature` over `message` was made with the key of this certificate.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(algorithm(self.kind), &self.public_key).verify(message, signature).is_ok()
    }
}

fn algorithm(kind: KeyKind) -> &'static dyn VerificationAlgorithm {
    match kind {
        KeyKind::Rsa => &RSA_PKCS1_2048_8192_SHA256,
        KeyKind::P256 => &ECDSA_P256_SHA256_ASN1,
        KeyKind::P384 => &ECDSA_P384_SHA256_ASN1,
    }
}

fn moment(time: Time) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(time.to_unix_duration().as_secs()).ok()?).ok()
}

/// Serial numbers are signed in DER. A negative one breaks RFC 5280, and is not what the service would count with.
fn decimal(magnitude: &[u8], der: &[u8]) -> Option<String> {
    let negative = der.get(2).is_some_and(|first| first & 0x80 != 0);
    // Long division by ten, digit by digit; twenty bytes are at most 49 digits.
    let mut bytes = magnitude.to_vec();
    let mut digits = Vec::new();
    while bytes.iter().any(|byte| *byte != 0) {
        let mut rest = 0_u16;
        for byte in &mut bytes {
            let part = rest << 8 | u16::from(*byte);
            *byte = u8::try_from(part / 10).ok()?;
            rest = part % 10;
        }
        digits.push(char::from(b'0' + u8::try_from(rest).ok()?));
    }
    if digits.is_empty() {
        digits.push('0');
    }
    (!negative).then(|| digits.iter().rev().collect())
}

/// A subject may hold anything.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serial_numbers_are_decimal() {
        for (bytes, text) in [
            (&[0_u8][..], "0"),
            (&[], "0"),
            (&[9], "9"),
            (&[1, 0], "256"),
            (&[0xff; 8], "18446744073709551615"),
            // 2^159 - 1, the largest of 20 bytes.
            (
                &[
                    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                    0xff, 0xff, 0xff, 0xff,
                ],
                "730750818665451459101842416358141509827966271487",
            ),
        ] {
            assert_eq!(decimal(bytes, &[2, 1, 0]).as_deref(), Some(text));
        }
        assert_eq!(decimal(&[1], &[2, 1, 0xff]), None);
    }

    #[test]
    fn what_is_no_certificate_is_told() {
        assert_eq!(read(b"").expect_err("empty"), CertificateError::None);
        assert_eq!(
            read(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            Err(CertificateError::None)
        );
        let damaged = read(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").expect("PEM");
        assert!(matches!(Certificate::new(damaged[0].clone()), Err(CertificateError::Damaged(_))));
    }
}
