//! Headers of a trusted proxy become one name and groups, or are refused: what is in them is never split or hidden.
#![no_main]

use std::time::SystemTime;

use alppaca_identity::proxy::{Proxy, Settings, Trusted};
use alppaca_identity::{Evidence, Peer, Prove as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;

const USER: HeaderName = HeaderName::from_static("x-user");
const GROUPS: HeaderName = HeaderName::from_static("x-groups");

fuzz_target!(|input: &[u8]| {
    let proxy = Proxy::new(Settings {
        name: "x".into(),
        name_header: USER,
        groups_header: Some(GROUPS),
        separator: ',',
        from: vec![Trusted::Uid(1)],
    });
    // Lines are headers, of groups with a `+` before them.
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n') {
        let (name, value) = line.strip_prefix(b"+").map_or((USER, line), |groups| (GROUPS, groups));
        let Ok(value) = HeaderValue::from_bytes(value) else { continue };
        headers.append(name, value);
    }
    let judge = |uid| {
        let peer = Peer::Unix { uid };
        let now = SystemTime::UNIX_EPOCH;
        proxy.prove(&Evidence {
            peer: &peer,
            certificates: &[],
            method: &Method::GET,
            path: "/",
            headers: &headers,
            now,
        })
    };
    assert!(!matches!(judge(2), Ok(Some(_))), "this is not the proxy");
    if let Ok(Some(identity)) = judge(1) {
        assert!(headers.get_all(USER).iter().count() == 1 && headers.get_all(GROUPS).iter().count() < 2);
        let fine = |text: &String| !text.is_empty() && !text.contains(',') && !text.chars().any(char::is_control);
        assert!(fine(&identity.name) && identity.groups.iter().all(fine));
    }
});
