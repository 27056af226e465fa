//! TLS: whom the source trusts, and how it shows who it is.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use alppaca::{
    mock_ims::Behaviour,
    refresh::Source,
    source::ims::{ImsSource, Settings},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    server::WebPkiClientVerifier,
};
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use crate::{is_transient, role, settings, source, start, start_server};

/// A certificate authority for one test.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(parameters, key).expect("a certificate"))
    }

    /// Writes its certificate and says where.
    pub(crate) fn write_to(&self, directory: &Path) -> PathBuf {
        let path = directory.join("ca.pem");
        fs::write(&path, self.0.pem()).expect("a writable directory");
        path
    }

    fn issue(&self, name: &str, expired: bool) -> (rcgen::Certificate, KeyPair) {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        if expired {
            parameters.not_before = date_time_ymd(2020, 1, 1);
            parameters.not_after = date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().expect("a key");
        (parameters.signed_by(&key, &self.0).expect("a certificate"), key)
    }
}

/// What a TLS server in front of the mock is like.
#[derive(Default)]
struct Server {
    expired: bool,
    wrong_name: bool,
    wants_client_certificate: bool,
}

struct Fixture {
    directory: TempDir,
    authority: Authority,
    settings: Settings,
}

impl Fixture {
    /// A mock behind TLS, and settings to reach it.
    async fn start(server: Server) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let authority = Authority::new("test CA");
        let address = start_tls(&authority, &server).await;
        let ca_file = Some(authority.write_to(directory.path()));
        let url = crate::url(address).replace("http://127.0.0.1", "https://localhost");
        Self { directory, authority, settings: Settings { ca_file, ..settings(url) } }
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).expect("a writable directory");
        path
    }

    async fn error(self) -> String {
        let error = source(self.settings).roles().await.expect_err("no connection");
        assert!(is_transient(&error), "{error:?}");
        error.message
    }

    fn setup_error(self) -> String {
        ImsSource::new(self.settings).expect_err("bad files").to_string()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

async fn start_tls(authority: &Authority, server: &Server) -> SocketAddr {
    let (mock, _) = start(Behaviour::default());
    let (certificate, key) =
        authority.issue(if server.wrong_name { "elsewhere.example" } else { "localhost" }, server.expired);
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().expect("TLS");
    let builder = if server.wants_client_certificate {
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).expect("a CA");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        builder.with_client_cert_verifier(verifier.expect("a verifier"))
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    start_server(move |stream, _| {
        let acceptor = acceptor.clone();
        async move {
            // A handshake that fails is what some tests are about, and their client tells.
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut plain = tokio::net::TcpStream::connect(mock).await.expect("the mock");
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
            }
        }
    })
    .await
}

/// The address of a TLS server with a good certificate for `localhost`, and settings for it.
pub(crate) async fn start_for_proxy() -> (TempDir, Settings) {
    let fixture = Fixture::start(Server::default()).await;
    (fixture.directory, fixture.settings)
}

#[tokio::test]
async fn a_configured_authority_is_trusted() {
    let fixture = Fixture::start(Server::default()).await;
    let source = source(fixture.settings);
    source.roles().await.expect("a list");
    source.fetch(&role("test_role")).await.expect("credentials");
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let mut fixture = Fixture::start(Server::default()).await;
    let other = fixture.file("other.pem", &Authority::new("other CA").0.pem());
    fixture.settings.ca_file = Some(other);
    let message = fixture.error().await;
    assert!(message.contains("cannot connect: invalid peer certificate"), "{message}");
}

#[tokio::test]
async fn an_expired_certificate_and_one_for_another_name_are_refused() {
    let expired = Fixture::start(Server { expired: true, ..Server::default() }).await.error().await;
    assert!(expired.contains("certificate expired"), "{expired}");
    let wrong = Fixture::start(Server { wrong_name: true, ..Server::default() }).await.error().await;
    assert!(wrong.contains("not valid for name \"localhost\""), "{wrong}");
}

#[tokio::test]
async fn an_ims_that_wants_a_client_certificate_gets_it() {
    let mut fixture = Fixture::start(Server { wants_client_certificate: true, ..Server::default() }).await;
    let (certificate, key) = fixture.authority.issue("this host", false);
    let files = (fixture.file("cert.pem", &certificate.pem()), fixture.file("key.pem", &key.serialize_pem()));
    fixture.settings.client_certificate = Some(files);
    source(fixture.settings).roles().await.expect("a list");
}

#[tokio::test]
async fn without_the_client_certificate_the_error_says_what_the_ims_wants() {
    let message = Fixture::start(Server { wants_client_certificate: true, ..Server::default() }).await.error().await;
    assert!(message.contains("CertificateRequired"), "{message}");
}

#[tokio::test]
async fn a_file_that_is_not_what_it_should_be_is_named_with_the_reason() {
    let (certificate, key) = Authority::new("CA").issue("this host", false);
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    let other_key = KeyPair::generate().expect("a key").serialize_pem();
    let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let damaged = certificate.replace("-----END", "?????END");
    for (ca, client, expected) in [
        (Some(key.as_str()), None, "ca.pem: has no certificate"),
        (Some(damaged.as_str()), None, "ca.pem: is damaged"),
        (None, Some(("", key.as_str())), "cert.pem: has no certificate"),
        (None, Some((certificate.as_str(), certificate.as_str())), "key.pem: has no private key"),
        (None, Some((certificate.as_str(), encrypted.as_str())), "key.pem: has an encrypted private key"),
        (None, Some((certificate.as_str(), other_key.as_str())), "key.pem: is not the key of the first certificate in"),
    ] {
        let mut fixture = Fixture::start(Server::default()).await;
        if let Some(ca) = ca {
            fixture.file("ca.pem", ca);
        }
        fixture.settings.client_certificate =
            client.map(|(chain, key)| (fixture.file("cert.pem", chain), fixture.file("key.pem", key)));
        let message = fixture.setup_error();
        assert!(message.contains(expected) && !message.contains("BEGIN PRIVATE"), "{message}");
    }
    let mut fixture = Fixture::start(Server::default()).await;
    fixture.settings.ca_file = Some("/does/not/exist.pem".into());
    let message = fixture.setup_error();
    assert!(message.starts_with("/does/not/exist.pem: cannot be read: No such file"), "{message}");
}
