//! Any bytes on a connection of the container faces are read and answered without a panic, and nothing without a key gets
//! the credentials.
#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alppaca::caller::Peer;
use alppaca::clock::{BootTime, Moment, SystemClock};
use alppaca::credentials::{Pattern, RoleId, RoleName, parse_document};
use alppaca::faces::Shared;
use alppaca::faces::ecs::{self, Ecs, EcsTokens};
use alppaca::faces::pod_identity::{self, Association, PodIdentity};
use alppaca::http::{Outcome, Parsed, RequestContext, Respond, parse};
use alppaca::jwt::{KeyOptions, KeySource, parse_key_set};
use alppaca::policy::Grant;
use alppaca::store::{Phase, Published, Slot, Store};
use libfuzzer_sys::fuzz_target;

const SECRET: &[u8] = b"wJalrXUtnFEMI";
const DOCUMENT: &str = r#"{"AccessKeyId":"ASIA","SecretAccessKey":"wJalrXUtnFEMI","Token":"IQoJ",
    "LastUpdated":"2026-11-23T09:00:00Z","Expiration":"2026-11-23T10:00:00Z"}"#;
/// Of RFC 7515, appendix A.3: nobody here has its private half.
const KEYS: &str = r#"{"keys":[{"kty":"EC","kid":"k","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

struct Host {
    container: Ecs,
    pod_identity: PodIdentity,
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
        store.publish(&RoleId::named(&role), Slot::Held { set, phase: Phase::Fresh });
        let tokens = EcsTokens::new().expect("randomness");
        let (shared, clock) = (Shared::of(store), SystemClock::shared());
        let (container, _files) = Ecs::new(ecs::Options::default(), shared.clone(), tokens, clock);
        let options = pod_identity::Options {
            issuer: "i".into(),
            audience: "a".into(),
            leeway: Duration::from_secs(60),
            associations: vec![Association {
                namespace: Pattern::new("*"),
                service_account: Pattern::new("*"),
                role,
                session_tags: true,
            }],
            service_accounts: None,
            session_tags: None,
            keys: KeyOptions { source: KeySource::File("/keys".into()), refresh: Duration::from_secs(300) },
        };
        let (pod_identity, ring) = PodIdentity::new(options, Vec::new(), shared);
        ring.replace(parse_key_set(KEYS.as_bytes()).expect("a set"));
        Host { container, pod_identity, now: Moment { wall, boot: BootTime::from_millis(1000) } }
    })
}

fuzz_target!(|head: &[u8]| {
    let Parsed::Whole(request, _) = parse(head, &ecs::FACE.headers(), &alppaca::faces::imds::FACE.headers()) else {
        return;
    };
    let Host { container, pod_identity, now } = host();
    let peer = Peer::unasked(([127, 0, 0, 1], 1).into());
    let context = RequestContext { listener: 0, peer: &peer, grant: &Grant::Everything, in_container: false };
    for outcome in [container.respond(&request, context, *now), pod_identity.respond(&request, context, *now)] {
        if let Outcome::Answer(answer) = outcome {
            let leaks = answer.body.bytes().windows(SECRET.len()).any(|window| window == SECRET);
            assert!(!leaks, "credentials without a key");
        }
    }
});
