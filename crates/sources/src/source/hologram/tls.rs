//! TLS with a hologram-server, whose own certificate proves nothing: its key is public, and it expired in 2019.

use std::{fmt, path::Path, str::FromStr, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs as provider},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::{
    Certificate,
    der::{Decode, Encode},
};

use crate::{
    fetch::{SetupError, authorities},
    settings::render::{AsYaml, quoted},
};

/// The keys that are compiled into hologram-servers, with their private halves in its repository: of 2014 and of 2018.
const PUBLIC: [&str; 2] =
    ["sha256//A7zpOK990TL1sx1Dflzm3KwynrlMdfWjGXfTceFTnEk=", "sha256//Z1Ai4qQavSyuCtyUEn1ATGx6Wym53I3IXf3pJcEKiSA="];

/// The SHA-256 of a server's public key, as curl writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pin([u8; 32]);

impl Pin {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, Error> {
        let key = parsed(certificate)?.tbs_certificate().subject_public_key_info().to_der();
        let key = key.map_err(|_| Error::from(CertificateError::BadEncoding))?;
        digest(&SHA256, &key).as_ref().try_into().map(Self).map_err(|_| CertificateError::BadEncoding.into())
    }

    /// Whether everybody has the private key.
    pub(super) fn is_public(self) -> bool {
        PUBLIC.contains(&self.to_string().as_str())
    }
}

impl FromStr for Pin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let encoded = text.strip_prefix("sha256//").ok_or(())?;
        STANDARD.decode(encoded).ok().and_then(|hash| hash.try_into().ok()).map(Self).ok_or(())
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256//{}", STANDARD.encode(self.0))
    }
}

impl AsYaml for Pin {
    fn as_yaml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}

/// The key of a certificate that was shown.
pub(super) fn shown(certificates: Option<&[CertificateDer<'_>]>) -> Option<Pin> {
    Pin::of(certificates?.first()?).ok()
}

/// Accepts the key with that pin, or a certificate of those authorities for the server's name; with neither, any.
pub(super) fn client_config(pin: Option<Pin>, ca_file: Option<&Path>) -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(provider::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| SetupError::Tls(error.to_string()))?;
    Ok(match ca_file {
        Some(file) => builder.with_root_certificates(authorities(file)?),
        None => {
            let verifier = Arc::new(Verifier { pin, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    }
    .with_no_client_auth())
}

/// Looks at the key alone. Hologram's certificates are of version 1, which the library's own verifiers do not read.
#[derive(Debug)]
struct Verifier {
    /// None: any key.
    pin: Option<Pin>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.pin {
            Some(pin) if Pin::of(certificate)? != pin => Err(CertificateError::ApplicationVerificationFailure.into()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Verifier {
    /// That the server has the private key of the certificate that it shows.
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let certificate = parsed(certificate)?;
        let key = certificate.tbs_certificate().subject_public_key_info();
        let wrong = || Error::from(CertificateError::BadSignature);
        // The content of the sequence, as the library writes its algorithms.
        let algorithm = key.algorithm.to_der().map_err(|_| wrong())?;
        let bits = key.subject_public_key.as_bytes().ok_or_else(wrong)?;
        let known = self.provider.signature_verification_algorithms.mapping;
        let known = known.iter().find(|(scheme, _)| *scheme == signed.scheme).map_or(&[][..], |(_, known)| known);
        let fitting = known.iter().filter(|known| algorithm.get(2..) == Some(&known.public_key_alg_id()));
        for known in fitting {
            if known.verify_signature(bits, message, signed.signature()).is_ok() {
                return Ok(HandshakeSignatureValid::assertion());
            }
        }
        Err(wrong())
    }
}

fn parsed(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding.into())
}
