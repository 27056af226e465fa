//! Any bytes on a connection are read and answered without a panic; and nothing without a token that
//! we made ever gets the credentials while IMDSv1 is off.
#![no_main]

use std::sync::{Arc, OnceLock};

use alppaca::caller::Peer;
use alppaca::clock::{BootTime, Moment};
use alppaca::credentials::{RoleName, parse_document};
use alppaca::faces::{
    Shared,
    imds::{Entry, FACE, HostFacts, Imds, Metadata, Options, Overlay, TokenKey},
};
use alppaca::http::{MAX_HEAD, Outcome, Parsed, RequestContext, Respond, parse};
use alppaca::policy::Grant;
use alppaca::store::{Phase, Published, Slot, Store};
use libfuzzer_sys::fuzz_target;

const SECRET: &[u8] = b"wJalrXUtnFEMI";
const DOCUMENT: &str = r#"{"AccessKeyId":"ASIA","SecretAccessKey":"wJalrXUtnFEMI","Token":"IQoJ",
    "LastUpdated":"2026-11-23T09:00:00Z","Expiration":"2026-11-23T10:00:00Z"}"#;

struct Host {
    face: Imds,
    now: Moment,
}

fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| {
        let credentials = parse_document(DOCUMENT.as_bytes()).expect("a good document");
        let wall = credentials.last_updated.expect("given");
        let role: RoleName = "test_role".parse().expect("a role name");
        let store = Store::shared();
        store.publish_roles(std::slice::from_ref(&role));
        let set = Arc::new(Published::new(&credentials, Moment { wall, boot: BootTime::ZERO }));
        store.publish(&role, Slot::Held { set, phase: Phase::Fresh });
        // With a tree, and what a token would show below both paths.
        let tags = vec![("Name".to_owned(), Entry::File("x".to_owned())), ("gone".to_owned(), Entry::Removed)];
        let tags = Entry::Directory(vec![("tags".to_owned(), Entry::Directory(tags))]);
        let overlay = vec![("meta-data".to_owned(), tags), ("user-data".to_owned(), Entry::File("#!".to_owned()))];
        let overlay = Overlay(overlay);
        let options =
            Options { metadata: Metadata { overlay, extended: true, ..Metadata::default() }, ..Options::default() };
        let shared = Shared { region: Some("eu-west-1".to_owned()), ..Shared::of(store) };
        let key = TokenKey::random().expect("randomness");
        let face = Imds::new(options, shared, key, None, &HostFacts::default(), wall);
        Host { face, now: Moment { wall, boot: BootTime::from_millis(1000) } }
    })
}

fuzz_target!(|head: &[u8]| {
    let Parsed::Whole(request, length) = parse(head, &FACE.headers(), &FACE.headers()) else { return };
    assert!(length <= head.len() && length <= MAX_HEAD);
    let Host { face, now } = host();
    let peer = Peer::unasked(([127, 0, 0, 1], 1).into());
    let context = RequestContext { listener: 0, peer: &peer, grant: &Grant::Everything, in_container: false };
    if let Outcome::Answer(answer) = face.respond(&request, context, *now) {
        let leaks = answer.body.bytes().windows(SECRET.len()).any(|window| window == SECRET);
        assert!(!leaks, "credentials without a token");
    }
});
