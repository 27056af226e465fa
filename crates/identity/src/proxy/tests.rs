use std::time::SystemTime;

use http::{HeaderMap, HeaderValue, Method};

use super::*;

fn proxy() -> Proxy {
    Proxy::new(Settings {
        name: "people".to_owned(),
        name_header: HeaderName::from_static("x-remote-user"),
        groups_header: Some(HeaderName::from_static("x-remote-groups")),
        separator: ',',
        from: vec![Trusted::Uid(33), Trusted::Network("192.0.2.0/28".parse().expect("a network"))],
    })
}

fn prove(peer: &Peer, headers: &[(&'static str, &[u8])]) -> Result<Option<Identity>, Refusal> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("a value"));
    }
    let (now, method) = (SystemTime::UNIX_EPOCH, Method::GET);
    proxy().prove(&Evidence { peer, certificates: &[], method: &method, path: "/", headers: &map, now })
}

fn refused(peer: &Peer, headers: &[(&'static str, &[u8])]) -> String {
    match prove(peer, headers) {
        Err(Refusal::Refused(text)) => text,
        other => panic!("{other:?}"),
    }
}

const APACHE: Peer = Peer::Unix { uid: 33 };

#[test]
fn the_proxy_says_who_it_is() {
    let address = |text: &str| Peer::Tcp(text.parse().expect("an address"));
    for peer in [APACHE, address("192.0.2.15"), address("::ffff:192.0.2.1")] {
        let headers: [(_, &[u8]); 2] = [("x-remote-user", b"alice@EXAMPLE"), ("x-remote-groups", b"a, b,,c ")];
        let identity = prove(&peer, &headers).expect("a proof").expect("one");
        assert_eq!((&*identity.name, identity.groups.join("|")), ("alice@EXAMPLE", "a|b|c".to_owned()));
        assert!(identity.proof.starts_with("x-remote-user from "), "{}", identity.proof);
    }
    assert_eq!(prove(&APACHE, &[]), Ok(None));
}

#[test]
fn headers_from_elsewhere_are_refused_and_not_passed_over() {
    for (peer, place) in [
        (Peer::Tcp([192, 0, 2, 16].into()), "192.0.2.16"),
        (Peer::Tcp([127, 0, 0, 1].into()), "127.0.0.1"),
        (Peer::Unix { uid: 0 }, "uid 0"),
    ] {
        for header in ["x-remote-user", "x-remote-groups"] {
            let text = refused(&peer, &[(header, b"root")]);
            assert!(text.contains(header) && text.contains(place) && !text.contains("root"), "{text}");
        }
        assert_eq!(prove(&peer, &[]), Ok(None));
    }
}

#[test]
fn what_is_not_one_name_is_refused() {
    let user = |value: &'static [u8]| refused(&APACHE, &[("x-remote-user", value)]);
    for value in [&b""[..], b" ", b"alice, root", b"alice,root"] {
        assert!(user(value).contains("is not one name"), "{value:?}");
    }
    assert!(user(&[b'a'; 257]).contains("is not one name"));
    assert!(user(b"a\xff").contains("is not a text"));
    assert!(user(b"a\tb").contains("is not a text"));
    assert!(user(b"a\xc2\x85b").contains("is not a text"));
    let twice: [(_, &[u8]); 2] = [("x-remote-user", b"alice"), ("x-remote-user", b"alice")];
    assert!(refused(&APACHE, &twice).contains("more than once"));
    let twice: [(_, &[u8]); 3] = [("x-remote-user", b"alice"), ("x-remote-groups", b"a"), ("x-remote-groups", b"b")];
    assert!(refused(&APACHE, &twice).contains("more than once"));
    assert!(refused(&APACHE, &[("x-remote-groups", b"a")]).contains("no x-remote-user"));
    let long = vec![b'g'; 257];
    assert!(refused(&APACHE, &[("x-remote-user", b"alice"), ("x-remote-groups", &long)]).contains("too long"));
}
