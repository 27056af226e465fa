//! The IMS behind TLS, behind a client certificate, and behind a real forward proxy.

#![allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "arguments read better so")]

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use alppaca::{
    credentials::Secret,
    mock_ims::Behaviour,
    source::{
        ErrorKind, RoleList, Source, SourceError,
        ims::{ImsSource, Proxy, Settings},
    },
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};
use support::{Ims, connect_when_listening, needs};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{RootCertStore, ServerConfig, crypto::ring, server::WebPkiClientVerifier},
};

/// An authority, a certificate for `localhost`, and one for the client, all as files.
struct Pki {
    directory: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("legal");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let pki = Self { directory: TempDir::new().expect("a directory"), authority };
        pki.write("ca.pem", &pki.authority.pem());
        pki.issue("server", "localhost");
        pki.issue("client", "host.example.com");
        pki
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn issue(&self, file: &str, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("legal");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    fn server(&self, asks_client: bool) -> ServerConfig {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.expect("supported");
        let builder = if asks_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.authority.der().clone()).expect("legal");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.expect("legal"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_file(self.path("server.key")).expect("a key");
        let chain = rustls_pki_types::CertificateDer::pem_file_iter(self.path("server.pem")).expect("a file");
        builder.with_single_cert(chain.map(|c| c.expect("legal")).collect(), key).expect("they belong together")
    }

    /// Ends TLS and passes everything on to `ims`; its port.
    fn front(&self, ims: SocketAddr, asks_client: bool) -> u16 {
        let acceptor = TlsAcceptor::from(Arc::new(self.server(asks_client)));
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("free");
                tell.send(listener.local_addr().expect("bound").port()).expect("the test waits");
                while let Ok((client, _)) = listener.accept().await {
                    let acceptor = acceptor.clone();
                    tokio::spawn(async move {
                        // A client that we refuse, or that refuses us, is what some tests want.
                        let Ok(mut client) = acceptor.accept(client).await else { return };
                        let mut upstream = TcpStream::connect(ims).await.expect("the mock listens");
                        let _ended = tokio::io::copy_bidirectional(&mut client, &mut upstream).await;
                    });
                }
            });
        });
        told.recv().expect("it starts")
    }
}

fn settings(url: String) -> Settings {
    Settings {
        list_url: format!("{url}/latest/meta-data/iam/security-credentials/"),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(5),
        max_response_bytes: 65_536,
        concurrency: 2,
        ca_file: None,
        client_certificate: None,
        proxy: None,
    }
}

async fn ask(settings: Settings) -> Result<RoleList, SourceError> {
    let source = ImsSource::new(settings).expect("legal");
    let list = source.roles().await?;
    source.fetch(&list.names[0]).await.map(|_credentials| list)
}

#[tokio::test]
async fn an_authority_of_its_own_is_trusted_only_where_it_is_named() {
    let (ims, pki) = (Ims::start(Behaviour::default()), Pki::new());
    let url = format!("https://localhost:{}", pki.front(ims.address, false));
    let trusting = Settings { ca_file: Some(pki.path("ca.pem")), ..settings(url.clone()) };
    assert_eq!(ask(trusting).await.map(|list| list.names.len()), Ok(1));
    let error = ask(settings(url)).await.expect_err("unknown authority");
    assert!(error.kind == ErrorKind::Transient && error.message.contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (ims, pki) = (Ims::start(Behaviour::default()), Pki::new());
    let url = format!("https://127.0.0.1:{}", pki.front(ims.address, false));
    let error = ask(Settings { ca_file: Some(pki.path("ca.pem")), ..settings(url) }).await.expect_err("another name");
    assert!(error.message.contains("not valid for"), "{error}");
}

#[tokio::test]
async fn an_ims_that_wants_a_client_certificate_gets_it() {
    let (ims, pki) = (Ims::start(Behaviour::default()), Pki::new());
    let url = format!("https://localhost:{}", pki.front(ims.address, true));
    let without = Settings { ca_file: Some(pki.path("ca.pem")), ..settings(url) };
    let with =
        Settings { client_certificate: Some((pki.path("client.pem"), pki.path("client.key"))), ..without.clone() };
    assert_eq!(ask(with).await.map(|list| list.names.len()), Ok(1));
    let error = ask(without).await.expect_err("no certificate");
    assert_eq!(error.kind, ErrorKind::Transient, "{error}");
}

#[test]
fn pem_files_that_are_none_are_named() {
    let pki = Pki::new();
    pki.write("empty.pem", "");
    let base = settings("https://localhost:1".to_owned());
    for (changed, part) in [
        (Settings { ca_file: Some(pki.path("none.pem")), ..base.clone() }, "none.pem: no certificate can be read"),
        (Settings { ca_file: Some(pki.path("empty.pem")), ..base.clone() }, "empty.pem: it has no certificate"),
        (
            Settings { client_certificate: Some((pki.path("client.pem"), pki.path("client.pem"))), ..base.clone() },
            "client.pem: no private key can be read",
        ),
        (
            Settings { client_certificate: Some((pki.path("client.pem"), pki.path("server.key"))), ..base },
            "cannot set up TLS",
        ),
    ] {
        let error = ImsSource::new(changed).expect_err("wrong").to_string();
        assert!(error.contains(part), "{error}");
    }
}

/// A real proxy, with a user and password if `auth`.
struct TinyProxy {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl TinyProxy {
    fn start(auth: bool) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free");
        let directory = TempDir::new().expect("a directory");
        let config = directory.path().join("tinyproxy.conf");
        let auth = if auth { "BasicAuth me s3cr3t\n" } else { "" };
        fs::write(&config, format!("Listen 127.0.0.1\nPort {}\nTimeout 60\nAllow 127.0.0.1\n{auth}", address.port()))
            .expect("a file");
        let mut command = Command::new("/usr/bin/tinyproxy");
        command.arg("-d").arg("-c").arg(&config).stdout(std::process::Stdio::null());
        let child = command.spawn().expect("it starts");
        drop(connect_when_listening(address));
        Self { child, address, _directory: directory }
    }

    fn proxy(&self, credentials: Option<(&str, &str)>) -> Option<Proxy> {
        let credentials = credentials.map(|(user, password)| (user.to_owned(), Secret::new(password)));
        Some(Proxy { url: format!("http://{}", self.address), credentials })
    }
}

impl Drop for TinyProxy {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

#[tokio::test]
async fn a_proxy_is_used_for_http_and_https_with_and_without_a_password() {
    if !needs("proxies", "tinyproxy") {
        return;
    }
    let (ims, pki) = (Ims::start(Behaviour::default()), Pki::new());
    let urls = [format!("http://{}", ims.address), format!("https://localhost:{}", pki.front(ims.address, false))];
    let (open, locked) = (TinyProxy::start(false), TinyProxy::start(true));
    for url in urls {
        let through = |proxy| Settings { ca_file: Some(pki.path("ca.pem")), proxy, ..settings(url.clone()) };
        assert_eq!(ask(through(open.proxy(None))).await.map(|list| list.names.len()), Ok(1), "{url}");
        let known = locked.proxy(Some(("me", "s3cr3t")));
        assert_eq!(ask(through(known)).await.map(|list| list.names.len()), Ok(1), "{url}");
        for unknown in [locked.proxy(None), locked.proxy(Some(("me", "guess3d")))] {
            let error = ask(through(unknown)).await.expect_err("refused");
            assert_eq!(error.kind, ErrorKind::Transient, "{error}");
            assert!(!format!("{error} {error:?}").contains("guess3d"), "{error}");
        }
    }
}
