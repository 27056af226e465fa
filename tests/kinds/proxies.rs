//! Calls to AWS through a real proxy: CONNECT with and without credentials, TLS with a CA of our own inside.

use std::{path::Path, sync::Arc};

use alppaca::{
    clock::SystemClock,
    credentials::{Credentials, Secret},
    fetch::{Options, Proxies, Proxy},
    refresh::{Fetch, SourceError},
    source::{
        aws::StsSettings,
        sts::Request,
        web_identity::{Settings, WebIdentity},
    },
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{is_transient, options, server::Server, tinyproxy::Tinyproxy, write};

const ISSUED: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult><AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/app/x</Arn></AssumedRoleUser><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>wJalr</SecretAccessKey><SessionToken>IQoJ</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

/// An STS behind TLS, as `localhost`.
struct Sts {
    directory: TempDir,
    port: u16,
}

impl Sts {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let key = KeyPair::generate().expect("a key");
        let certificate =
            CertificateParams::new(vec!["localhost".parse().expect("a name")]).expect("a name").self_signed(&key);
        let certificate = certificate.expect("a certificate");
        write(&directory.path().join("ca.pem"), &certificate.pem());
        write(&directory.path().join("token"), "ey.token");
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()));
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("a certificate")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let plain = Server::start(|_| (200, ISSUED.to_owned())).address;
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    // A handshake that fails is told by the client.
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let mut plain = TcpStream::connect(plain).await.expect("the server");
                        let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
                    }
                });
            }
        });
        Self { directory, port }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn fetch(&self, ca_file: Option<&Path>, proxies: Proxies) -> Result<Credentials, SourceError> {
        let identity = Arc::new(WebIdentity::new(
            Settings {
                token_file: self.file("token"),
                sts: StsSettings {
                    region: "eu-central-1".into(),
                    endpoint: Some(format!("https://localhost:{}", self.port)),
                    fips: false,
                    dual_stack: false,
                    http: Options { ca_file: ca_file.map(Path::to_owned), proxies, ..options() },
                },
            },
            SystemClock::shared(),
        ));
        let role = Request::new("arn:aws:iam::123456789012:role/app".parse().expect("an ARN"), "x-y".to_owned());
        identity.role(role).fetch(None).await
    }
}

fn through(proxy: &Tinyproxy, credentials: Option<(&str, &str)>) -> Proxies {
    let credentials = credentials.map(|(user, password)| (user.to_owned(), Secret::new(password)));
    Proxies::always(Proxy { url: format!("http://{}", proxy.address), credentials })
}

#[tokio::test]
async fn aws_is_called_through_connect() {
    let Some(proxy) = Tinyproxy::start("") else { return };
    let sts = Sts::start().await;
    let ca_file = sts.file("ca.pem");
    sts.fetch(Some(&ca_file), through(&proxy, None)).await.expect("credentials");
    // Without our authority nobody vouches for the server, proxy or not.
    for proxies in [through(&proxy, None), Proxies::none()] {
        let error = sts.fetch(None, proxies).await.expect_err("an unknown authority");
        assert!(is_transient(&error) && error.message.contains("UnknownIssuer"), "{error}");
    }
}

#[tokio::test]
async fn aws_is_called_through_connect_with_the_credentials_of_the_proxy() {
    let Some(proxy) = Tinyproxy::start("BasicAuth me s3cr3t") else { return };
    let sts = Sts::start().await;
    let ca_file = sts.file("ca.pem");
    sts.fetch(Some(&ca_file), through(&proxy, Some(("me", "s3cr3t")))).await.expect("credentials");
    for bad in [None, Some(("me", "wr0ng"))] {
        let error = sts.fetch(Some(&ca_file), through(&proxy, bad)).await.expect_err("refused");
        assert!(is_transient(&error) && error.message.contains("tunnel error"), "{error}");
        assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
    }
}

#[tokio::test]
async fn who_is_excepted_is_called_directly() {
    // Nobody listens there: whoever asks it fails.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let nobody = Proxies::always(Proxy { url: format!("http://{closed}"), credentials: None });
    let sts = Sts::start().await;
    let ca_file = sts.file("ca.pem");
    let error = sts.fetch(Some(&ca_file), nobody.clone()).await.expect_err("no proxy there");
    assert!(error.message.contains(&format!("through the proxy {closed}")), "{error}");
    let excepted = Proxies { except: vec!["localhost".parse().expect("a name")], ..nobody };
    sts.fetch(Some(&ca_file), excepted).await.expect("credentials");
}
