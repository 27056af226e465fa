//! With certificates of an authority of the tests' own, and over real sockets.

use std::{fs, path::PathBuf, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CustomExtension, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType as Name,
    SerialNumber, date_time_ymd,
};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::{
    Peer,
    proxy::{self, Proxy, Trusted},
};

const DAY: Duration = Duration::from_hours(24);

/// Noon of a day in 2026.
fn now() -> SystemTime {
    date_time_ymd(2026, 6, 15).into()
}

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    fn issue(&self, names: Vec<Name>, change: impl FnOnce(&mut CertificateParams)) -> Client {
        let mut parameters = CertificateParams::default();
        parameters.subject_alt_names = names;
        parameters.not_before = date_time_ymd(2026, 6, 1);
        parameters.not_after = date_time_ymd(2026, 7, 1);
        parameters.serial_number = Some(SerialNumber::from(7));
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        parameters.distinguished_name.push(DnType::CommonName, "db.example.com");
        change(&mut parameters);
        let key = KeyPair::generate().expect("a key");
        let certificate = parameters.signed_by(&key, &self.0).expect("a certificate");
        Client { chain: vec![certificate.der().clone()], key }
    }

    fn revoke(&self, serials: &[u64], next_update: (i32, u8, u8)) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, 6, 2),
            reason_code: None,
            invalidity_date: None,
        };
        let (year, month, day) = next_update;
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(year, month, day),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).expect("a list").pem().expect("a text")
    }
}

struct Client {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

fn dns(name: &str) -> Name {
    Name::DnsName(name.try_into().expect("ASCII"))
}

fn uri(name: &str) -> Name {
    Name::URI(name.try_into().expect("ASCII"))
}

fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).expect("a file");
    path
}

fn authority(folder: &TempDir, ca: &Ca, list: Option<&str>) -> Arc<Authority> {
    let ca_file = file(folder, "ca.pem", &ca.0.pem());
    let lists = list.map(|list| file(folder, "list.pem", list)).into_iter().collect();
    Arc::new(Authority::load(vec![ca_file], lists).expect("an authority"))
}

fn settings() -> Settings {
    let names = vec![SanType::Dns, SanType::Uri, SanType::Ip];
    Settings { name: "hosts".to_owned(), names, max_age: None, trust_domain: None }
}

fn prove_at(method: &Mtls, chain: &[CertificateDer<'static>], now: SystemTime) -> Result<Option<Identity>, Refusal> {
    let peer = Peer::Tcp([192, 0, 2, 1].into());
    let headers = HeaderMap::new();
    method.prove(&Evidence {
        peer: &peer,
        certificates: chain,
        method: &Method::GET,
        path: "/",
        headers: &headers,
        now,
    })
}

fn names(method: &Mtls, client: &Client) -> Vec<String> {
    prove_at(method, &client.chain, now()).expect("a proof").expect("an identity").names
}

fn refused(method: &Mtls, client: &Client) -> String {
    match prove_at(method, &client.chain, now()) {
        Err(Refusal::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_alternative_names_are_the_identity() {
    let (folder, ca) = (TempDir::new().expect("a folder"), Ca::new("ca"));
    let method = Mtls::new(settings(), authority(&folder, &ca, None));
    let address = Name::IpAddress([192, 0, 2, 1].into());
    let client = ca.issue(vec![dns("Web1.Example.COM."), dns("web1.example.com"), uri("urn:x:1"), address], |_| {});
    assert_eq!(names(&method, &client), ["web1.example.com", "urn:x:1", "192.0.2.1"]);
    let identity = prove_at(&method, &client.chain, now()).expect("a proof").expect("one");
    assert_eq!(identity.age, Some(14 * DAY));
    assert!(identity.proof.starts_with("serial 07, sha256 ") && identity.proof.len() == 82, "{}", identity.proof);
    let only = Mtls::new(Settings { names: vec![SanType::Ip], ..settings() }, authority(&folder, &ca, None));
    assert_eq!(names(&only, &client), ["192.0.2.1"]);
    assert_eq!(prove_at(&method, &[], now()), Ok(None));
}

#[test]
fn certificates_that_prove_no_identity_are_refused() {
    let (folder, ca) = (TempDir::new().expect("a folder"), Ca::new("ca"));
    let method = Mtls::new(settings(), authority(&folder, &ca, None));
    let wrong = |names: Vec<Name>, part: &str| {
        let text = refused(&method, &ca.issue(names, |_| {}));
        assert!(text.contains(part) && !text.contains('\0'), "{part}: {text}");
    };
    wrong(vec![dns("*.example.com")], "\"*.example.com\", which proves no single host");
    wrong(vec![dns("web1.example.com"), dns("*.example.com")], "proves no single host");
    wrong(vec![dns("web1.example.com\0.evil.org")], "proves no single host");
    wrong(vec![dns("")], "proves no single host");
    wrong(vec![uri("urn:a b")], "proves no single host");
    wrong(vec![], "its common name counts for nothing");
    wrong(vec![Name::Rfc822Name("a@example.com".try_into().expect("ASCII"))], "common name counts for nothing");
    for usages in [vec![], vec![ExtendedKeyUsagePurpose::Any]] {
        let client = ca.issue(vec![dns("web1")], |parameters| parameters.extended_key_usages = usages);
        assert!(refused(&method, &client).contains("client"));
    }
    let server = ca.issue(vec![dns("web1")], |parameters| {
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    assert!(refused(&method, &server).contains("refused"));
    let authority = ca.issue(vec![dns("web1")], |parameters| {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    refused(&method, &authority);
    let odd = ca.issue(vec![], |parameters| {
        let odd = CustomExtension::from_oid_content(&[2, 5, 29, 17], vec![0x30, 0x06, 0x87, 0x04, 1, 2]);
        parameters.custom_extensions.push(odd);
    });
    refused(&method, &odd);
}

#[test]
fn a_certificate_counts_while_it_is_valid_and_young_enough() {
    let (folder, ca) = (TempDir::new().expect("a folder"), Ca::new("ca"));
    let method = Mtls::new(settings(), authority(&folder, &ca, None));
    let client = ca.issue(vec![dns("web1")], |_| {});
    for (at, part) in [(now() + 30 * DAY, "expired"), (now() - 30 * DAY, "not valid yet")] {
        let refusal = prove_at(&method, &client.chain, at).expect_err("a refusal");
        assert!(refusal.to_string().contains(part), "{refusal}");
    }
    let limited = |days| Mtls::new(Settings { max_age: Some(days * DAY), ..settings() }, authority(&folder, &ca, None));
    assert_eq!(names(&limited(14), &client), ["web1"]);
    assert!(refused(&limited(13), &client).contains("renew it"));
}

#[test]
fn a_method_takes_certificates_of_its_own_authorities_only() {
    let (folder, ca, other) = (TempDir::new().expect("a folder"), Ca::new("ca"), Ca::new("other"));
    let method = Mtls::new(settings(), authority(&folder, &ca, None));
    // Perhaps another method takes it.
    assert_eq!(prove_at(&method, &other.issue(vec![dns("web1")], |_| {}).chain, now()), Ok(None));
    // The same name, another key.
    assert!(
        prove_at(&method, &Ca::new("ca").issue(vec![dns("web1")], |_| {}).chain, now()).is_ok_and(|id| id.is_none())
    );
}

#[test]
fn a_revoked_certificate_is_refused_as_soon_as_the_list_is_read() {
    let (folder, ca) = (TempDir::new().expect("a folder"), Ca::new("ca"));
    let authority = authority(&folder, &ca, Some(&ca.revoke(&[], (2026, 6, 20))));
    let method = Mtls::new(settings(), Arc::clone(&authority));
    let client = ca.issue(vec![dns("web1")], |_| {});
    assert_eq!(names(&method, &client), ["web1"]);
    file(&folder, "list.pem", "no list");
    assert!(authority.reload().expect_err("an error").to_string().contains("list.pem: there is no revocation list"));
    assert_eq!(names(&method, &client), ["web1"]);
    file(&folder, "list.pem", &ca.revoke(&[7], (2026, 6, 20)));
    authority.reload().expect("a new list");
    assert!(refused(&method, &client).contains("evoked"));
    let innocent = ca.issue(vec![dns("web2")], |parameters| parameters.serial_number = Some(SerialNumber::from(8)));
    assert_eq!(names(&method, &innocent), ["web2"]);
}

#[test]
fn a_list_that_is_missing_or_out_of_date_is_the_servers_trouble() {
    let (folder, ca, other) = (TempDir::new().expect("a folder"), Ca::new("ca"), Ca::new("other"));
    let client = ca.issue(vec![dns("web1")], |_| {});
    for list in [ca.revoke(&[], (2026, 6, 10)), other.revoke(&[], (2026, 6, 20))] {
        let method = Mtls::new(settings(), authority(&folder, &ca, Some(&list)));
        assert!(matches!(prove_at(&method, &client.chain, now()), Err(Refusal::Unavailable(_))));
    }
}

#[test]
fn a_chain_that_was_right_is_checked_again_after_a_while() {
    let (folder, ca) = (TempDir::new().expect("a folder"), Ca::new("ca"));
    let method = Mtls::new(settings(), authority(&folder, &ca, None));
    let client = ca.issue(vec![dns("web1")], |parameters| parameters.not_after = date_time_ymd(2026, 6, 15));
    assert_eq!(names(&method, &client), ["web1"]);
    assert!(prove_at(&method, &client.chain, now() + CHECKED_FOR).is_err());
}

#[test]
fn an_svid_has_one_uri_in_the_trust_domain() {
    let (folder, ca) = (TempDir::new().expect("a folder"), Ca::new("ca"));
    let domain = Some("example.org".to_owned());
    let method = Mtls::new(Settings { trust_domain: domain, ..settings() }, authority(&folder, &ca, None));
    let id = "spiffe://example.org/web";
    assert_eq!(names(&method, &ca.issue(vec![dns("web1"), uri(id)], |_| {})), [id]);
    for (names, part) in [
        (vec![uri(id), uri("spiffe://example.org/db")], "exactly one"),
        (vec![uri(id), uri("urn:x:1")], "exactly one"),
        (vec![uri("spiffe://example.com/web")], "not of the trust domain"),
        (vec![uri("spiffe://example.org")], "not the SPIFFE ID of a workload"),
        (vec![uri("https://example.org/web")], "not the SPIFFE ID of a workload"),
        (vec![dns("example.org")], "no subject alternative name of type uri"),
    ] {
        let text = refused(&method, &ca.issue(names, |_| {}));
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// One connection: what the server sees of the client, or why there is none.
async fn connect(verifier: Arc<ListenerVerifier>, ca: &Ca, client: Option<&Client>) -> Result<usize, String> {
    let server = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let key = KeyPair::generate().expect("a key");
    let certificate = server.signed_by(&key, &ca.0).expect("a certificate");
    let private = |key: &KeyPair| PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], private(&key))
        .expect("a configuration");
    let mut roots = RootCertStore::empty();
    roots.add(ca.0.der().clone()).expect("a root");
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let connector = TlsConnector::from(Arc::new(match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            builder.with_client_auth_cert(client.chain.clone(), private(&client.key)).expect("a configuration")
        }
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let serve = async {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut stream = TlsAcceptor::from(Arc::new(config)).accept(stream).await.map_err(|error| error.to_string())?;
        stream.write_all(b"x").await.expect("a byte");
        stream.shutdown().await.expect("an end");
        Ok(stream.get_ref().1.peer_certificates().map_or(0, <[_]>::len))
    };
    let ask = async {
        let stream = TcpStream::connect(address).await.expect("the server");
        let name = ServerName::try_from("localhost").expect("a name");
        // What the client notices of a refusal depends on its timing; the server decides.
        if let Ok(mut stream) = connector.connect(name, stream).await {
            let _ = stream.read(&mut [0]).await;
        }
    };
    tokio::join!(serve, ask).0
}

#[tokio::test]
async fn a_listener_takes_certificates_of_each_method_over_tls() {
    let (folder, second) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let always = |parameters: &mut CertificateParams| {
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2099, 1, 1);
    };
    let authorities =
        vec![authority(&folder, &ca, Some(&ca.revoke(&[], (2020, 6, 20)))), authority(&second, &other, None)];
    let optional = Arc::new(ListenerVerifier::new(authorities.clone(), false));
    let mandatory = Arc::new(ListenerVerifier::new(authorities.clone(), true));
    let clients = [&ca, &other].map(|ca| ca.issue(vec![dns("web1")], always));
    for client in &clients {
        assert_eq!(connect(Arc::clone(&mandatory), &ca, Some(client)).await, Ok(1));
    }
    assert_eq!(connect(Arc::clone(&optional), &ca, None).await, Ok(0));
    assert!(connect(Arc::clone(&mandatory), &ca, None).await.is_err());
    let stranger = Ca::new("stranger").issue(vec![dns("web1")], always);
    assert!(
        connect(Arc::clone(&optional), &ca, Some(&stranger)).await.expect_err("an alert").contains("UnknownIssuer")
    );
    let expired = ca.issue(vec![dns("web1")], |parameters| {
        parameters.not_before = date_time_ymd(2020, 1, 1);
        parameters.not_after = date_time_ymd(2021, 1, 1);
    });
    assert!(connect(Arc::clone(&optional), &ca, Some(&expired)).await.expect_err("an alert").contains("expired"));
    file(&folder, "list.pem", &ca.revoke(&[7], (2020, 6, 20)));
    authorities[0].reload().expect("a new list");
    let refused = connect(Arc::clone(&optional), &ca, Some(&clients[0])).await;
    assert!(refused.expect_err("an alert").contains("evoked"));
    assert_eq!(connect(optional, &ca, Some(&clients[1])).await, Ok(1));
}

#[test]
fn a_proxy_may_be_known_by_its_certificate() {
    let (folder, ca) = (TempDir::new().expect("a folder"), Ca::new("ca"));
    let method = Arc::new(Mtls::new(settings(), authority(&folder, &ca, None)));
    let header = HeaderName::from_static("x-remote-user");
    let from = vec![Trusted::Certificate { method, names: vec!["proxy.example.com".to_owned()] }];
    let (name, groups_header) = ("people".to_owned(), None);
    let proxy = Proxy::new(proxy::Settings { name, name_header: header.clone(), groups_header, separator: ',', from });
    let (peer, mut headers) = (Peer::Tcp([192, 0, 2, 1].into()), HeaderMap::new());
    headers.insert(header, HeaderValue::from_static("alice"));
    let prove = |client: Option<&Client>, now| {
        let certificates = client.map_or(&[][..], |client| &client.chain);
        proxy.prove(&Evidence { peer: &peer, certificates, method: &Method::GET, path: "/", headers: &headers, now })
    };
    let right = ca.issue(vec![dns("proxy.example.com")], |_| {});
    let identity = prove(Some(&right), now()).expect("a proof").expect("one");
    assert_eq!(identity.name, "alice");
    assert!(identity.proof.contains("from proxy.example.com, serial 07, "), "{}", identity.proof);
    let other = ca.issue(vec![dns("web1.example.com")], |_| {});
    let stranger = Ca::new("stranger").issue(vec![dns("proxy.example.com")], |_| {});
    for client in [None, Some(&other), Some(&stranger)] {
        assert!(matches!(prove(client, now()), Err(Refusal::Refused(text)) if text.contains("is not a listed proxy")));
    }
    assert!(matches!(prove(Some(&right), now() + 30 * DAY), Err(Refusal::Refused(text)) if text.contains("expired")));
}
