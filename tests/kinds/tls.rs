//! TLS as every source speaks it: what key exchange it offers, and takes where the server has it.

use std::sync::{Arc, mpsc};

use alppaca::{
    refresh::Fetch,
    source::vault::{Auth, Endpoint, RoleSettings, Settings, Vault},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
};
use rustls_pki_types::PrivateKeyDer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{options, write};

/// Asks a TLS server with this provider for credentials; what was agreed on: version and key exchange.
async fn agreed(provider: CryptoProvider) -> (String, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec!["localhost".into()]).expect("a name").self_signed(&key);
    let certificate = certificate.expect("a certificate");
    let ca_file = directory.path().join("ca.pem");
    write(&ca_file, &certificate.pem());
    write(&directory.path().join("token"), "hvs.GOOD");
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()));
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("a certificate")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (tell, told) = mpsc::channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut stream = acceptor.accept(stream).await.expect("a handshake");
        let connection = stream.get_ref().1;
        let version = format!("{:?}", connection.protocol_version().expect("agreed"));
        let group = connection.negotiated_key_exchange_group().expect("agreed").name();
        tell.send((version, format!("{group:?}"))).expect("the test waits");
        let mut head = [0; 4096];
        let _read = stream.read(&mut head).await.expect("a request");
        stream.write_all(b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n").await.expect("it reads");
    });
    let settings = Settings {
        address: format!("https://localhost:{port}"),
        namespace: None,
        mount: "aws".into(),
        auth: Auth::TokenFile(directory.path().join("token")),
        http: alppaca::fetch::Options { ca_file: Some(ca_file), ..options() },
    };
    let role =
        RoleSettings { role: "r".into(), endpoint: Endpoint::Sts, ttl: None, role_arn: None, session_name: None };
    let vault = Vault::new(settings, alppaca::clock::SystemClock::shared()).expect("good settings");
    let error = vault.role(role).fetch(None).await.expect_err("503");
    assert!(error.message.contains("503"), "{error}");
    told.recv().expect("agreed")
}

#[tokio::test]
async fn the_hybrid_key_exchange_is_taken_where_the_server_has_it() {
    let (version, group) = agreed(aws_lc_rs::default_provider()).await;
    assert_eq!((version.as_str(), group.as_str()), ("TLSv1_3", "X25519MLKEM768"));
}

#[tokio::test]
async fn a_server_without_it_is_reached_too() {
    let classical = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
    let (version, group) = agreed(classical).await;
    assert_eq!((version.as_str(), group.as_str()), ("TLSv1_3", "X25519"));
}
