//! A certificate authority that lives as long as the demo.

use std::{fs, io, net::Ipv4Addr, os::unix::fs::OpenOptionsExt, path::Path};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// The host of the demo.
pub(super) const HOST: &str = "web1.example.com";

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    /// They cannot be made.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// They cannot be written.
    #[error("cannot write into the directory of the demo: {0}")]
    Write(#[from] io::Error),
}

/// Writes `ca.pem`, and certificates with keys of the server (`server.pem`) and of a host (`host.pem`).
pub(super) fn write(directory: &Path) -> Result<(), DemoError> {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.distinguished_name.push(DnType::CommonName, "alppaca-ims demo");
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    write_file(&directory.join("ca.pem"), &authority.pem())?;
    let dns = |name: &str| Ok::<_, rcgen::Error>(SanType::DnsName(name.try_into()?));
    let server = vec![dns("localhost")?, SanType::IpAddress(Ipv4Addr::LOCALHOST.into())];
    for (name, names, usage) in [
        ("server", server, ExtendedKeyUsagePurpose::ServerAuth),
        ("host", vec![dns(HOST)?], ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = names;
        parameters.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &authority)?;
        write_file(&directory.join(format!("{name}.pem")), &certificate.pem())?;
        write_file(&directory.join(format!("{name}.key")), &key.serialize_pem())?;
    }
    Ok(())
}

/// For this user alone.
pub(super) fn write_file(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, text.as_bytes())
}
