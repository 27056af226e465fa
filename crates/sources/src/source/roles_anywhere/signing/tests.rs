//! Known answers, made by `tests/data/roles_anywhere/make` with openssl.

use super::*;
use crate::source::roles_anywhere::{certificate, key};

macro_rules! data {
    ($file:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/roles_anywhere/", $file))
    };
}

fn prepare(leaf: &[u8], chain: &[Vec<u8>]) -> (Certificate, Unsigned) {
    let leaf = certificate::read(leaf).expect("PEM").remove(0);
    let certificate = Certificate::new(leaf).expect("usable");
    let request = Request {
        host: "rolesanywhere.eu-central-1.amazonaws.com",
        region: "eu-central-1",
        body: data!("body.json"),
        time: "2026-11-24T10:00:00Z".parse().expect("a time"),
        certificate: &certificate,
        chain,
    };
    let unsigned = request.prepare();
    (certificate, unsigned)
}

fn authorization<'a>(headers: &'a [(&'static str, String)]) -> &'a str {
    headers.iter().find(|(name, _)| *name == "authorization").map_or("", |(_, value)| value)
}

#[test]
fn an_rsa_request_with_a_chain_is_signed_as_openssl_does() {
    let chain = certificate::read(data!("chain.pem")).expect("PEM");
    let (_, unsigned) = prepare(data!("rsa.pem"), &chain);
    assert_eq!(unsigned.string_to_sign.as_bytes(), data!("rsa.to_sign"));
    let key = key::read(data!("rsa.key"), None).expect("a key");
    let signature = key.sign(unsigned.string_to_sign.as_bytes()).expect("signed");
    let headers = unsigned.signed(&signature);
    assert_eq!(authorization(&headers).as_bytes(), data!("rsa.authorization"));
}

#[test]
fn an_ecdsa_request_without_a_chain_differs_in_its_algorithm() {
    let (certificate, unsigned) = prepare(data!("p384.pem"), &[]);
    assert_eq!(unsigned.string_to_sign.as_bytes(), data!("p384.to_sign"));
    let key = key::read(data!("p384.key"), None).expect("a key");
    let signature = key.sign(unsigned.string_to_sign.as_bytes()).expect("signed");
    assert!(certificate.verifies(data!("p384.to_sign"), &signature));
    assert!(!certificate.verifies(b"something else", &signature));
    let headers = unsigned.signed(&signature);
    let expected = std::str::from_utf8(data!("p384.authorization")).expect("ASCII");
    assert!(authorization(&headers).starts_with(expected));
    assert!(!headers.iter().any(|(name, _)| *name == "x-amz-x509-chain"));
}
