//! What holds for all faces, and what their tests share.

use std::{collections::HashSet, fs, path::Path, sync::Arc, time::Duration};

use super::*;
use crate::{
    caller::Peer,
    clock::{BootTime, Moment},
    credentials::{Credentials, RoleName, Secret},
    http::{Outcome, Parsed, RequestContext, Respond, parse},
    policy::Grant,
    store::{Phase, Published, Slot},
};

/// The moment of the tests.
pub(super) fn now() -> Moment {
    Moment {
        wall: "2026-11-23T10:00:00Z".parse().expect("a timestamp"),
        boot: BootTime::from_uptime(Duration::from_hours(1)),
    }
}

pub(super) fn name(text: &str) -> RoleName {
    text.parse().expect("a role name")
}

/// Credentials that are valid for another hour.
pub(super) fn credentials() -> Credentials {
    Credentials {
        access_key_id: "ASIAEXAMPLE".into(),
        secret_access_key: Secret::new("secret"),
        session_token: Secret::new("token"),
        expiration: "2026-11-23T11:00:00Z".parse().expect("a timestamp"),
        life: None,
        last_updated: None,
        account_id: None,
        role_arn: None,
    }
}

/// The state of a role with these credentials.
pub(super) fn held(credentials: &Credentials) -> Slot {
    Slot::Held { set: Arc::new(Published::new(credentials, now())), phase: Phase::Fresh }
}

/// The state of a role whose credentials end just now.
pub(super) fn ended() -> Slot {
    held(&Credentials { expiration: now().wall, ..credentials() })
}

pub(super) fn peer() -> Peer {
    Peer::unasked(([127, 0, 0, 1], 1234).into())
}

/// What a face answers to a request that begins with `head`.
pub(super) fn respond(
    (face, responder): (&dyn Face, &dyn Respond),
    head: &str,
    (peer, grant): (&Peer, &Grant),
    now: Moment,
) -> Outcome {
    let text = format!("{head}\r\n\r\n");
    let Parsed::Whole(request, _) = parse(text.as_bytes(), &face.headers(), &[]) else {
        panic!("{head}: not a request")
    };
    responder.respond(&request, RequestContext { listener: 0, peer, grant, in_container: false }, now)
}

/// The status and the body of an answer; 0 if the request waits.
pub(super) fn read(outcome: Outcome) -> (u16, String) {
    match outcome {
        Outcome::Answer(answer) | Outcome::Expired(answer) => {
            (answer.status.code(), String::from_utf8_lossy(answer.body.bytes()).into_owned())
        }
        Outcome::Warming | Outcome::Elsewhere => (0, String::new()),
    }
}

#[test]
fn every_folder_with_a_section_is_in_the_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/faces");
    let faces = fs::read_dir(folder).expect("a folder").filter(|entry| {
        let options = entry.as_ref().expect("an entry").path().join("options.rs");
        fs::read_to_string(options).is_ok_and(|code| code.contains("static ENTRY: Entry"))
    });
    assert_eq!(faces.count(), ALL.len());
    let keys: HashSet<_> = ALL.iter().map(|entry| entry.section.key).collect();
    let names: HashSet<_> = protocols().iter().map(|face| face.name()).collect();
    assert_eq!((keys.len(), names.len()), (ALL.len(), protocols().len()));
    assert!(ALL.iter().all(|entry| entry.settings.iter().any(|setting| setting.key == "listen")));
}
