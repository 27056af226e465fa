use super::*;
use crate::{
    caller::{NameService, Peer},
    clock::{BootTime, SystemClock},
    logging::{AuditTarget, Environment},
};

/// An auditor, and the file of its records.
fn auditor(place: &std::path::Path) -> (Auditor, std::path::PathBuf) {
    let path = place.join("audit.log");
    let clock = SystemClock::shared();
    let environment = Environment { syslog: place.join("none"), ..Environment::new("alppaca", None) };
    let log = AuditLog::open(&AuditTarget::File(path.clone()), false, Arc::clone(&clock), &environment);
    let cache = IdentityCache::start(NameService, None, Arc::clone(&clock)).expect("a thread");
    (Auditor::start(log.expect("writable"), Arc::new(cache), clock).expect("a thread"), path)
}

fn event(origin: Origin, what: What) -> Event {
    Event {
        time: jiff::Timestamp::UNIX_EPOCH,
        peer: Peer { origin, ..Peer::unasked("192.0.2.1:1".parse().expect("an address")) },
        container: None,
        what,
        more: 0,
        reason: "a test".into(),
        face: "imds",
        version: None,
        user_agent: None,
    }
}

fn hand_out() -> What {
    What::Issued {
        role: crate::credentials::RoleId::named(&"deploy".parse().expect("a name")),
        access_key_id: "ASIAEXAMPLE".into(),
        expiration: jiff::Timestamp::UNIX_EPOCH,
        pod: None,
    }
}

fn records(path: &std::path::Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn each_event_of_a_flood_is_recorded_or_told_as_lost() {
    const FLOOD: u64 = 4 * CAPACITY as u64;
    let place = tempfile::tempdir().expect("a directory");
    let (auditor, path) = auditor(place.path());
    for _ in 0..FLOOD {
        assert!(auditor.hand_out(event(Origin::Unasked, hand_out())), "nothing is required");
    }
    let recorder = auditor.recorder.as_ref().expect("it records");
    let lost = Arc::clone(&recorder.lost);
    // The end alone waits for no more than seconds.
    while recorder.counts.waiting.load(Ordering::Relaxed) > 0 {
        thread::yield_now();
    }
    drop(auditor);
    let (mut recorded, mut told) = (0, 0);
    for record in records(&path) {
        match (record["event"].as_str(), record["message"].as_str().and_then(|text| text.split(' ').next())) {
            (Some("hand-out"), None) => recorded += 1,
            (Some("notice"), Some(number)) => told += number.parse::<u64>().expect("a number"),
            _ => panic!("{record}"),
        }
    }
    assert_eq!((recorded + told, lost.load(Ordering::Relaxed)), (FLOOD, told));
}

#[test]
fn the_denials_of_one_owner_are_counted_and_take_no_room_from_hand_outs() {
    let place = tempfile::tempdir().expect("a directory");
    let (auditor, path) = auditor(place.path());
    let denied = |origin: Origin, second: u64| {
        let now = Moment { wall: jiff::Timestamp::UNIX_EPOCH, boot: BootTime::from_millis(second * 1000) };
        auditor.denial(event(origin, What::Denied { path: "/x".into(), pod: None }), now);
    };
    for _ in 0..100_000 {
        denied(Origin::Elsewhere, 1);
    }
    denied(Origin::Unknown { ours: true }, 2);
    for _ in 0..50 {
        assert!(auditor.hand_out(event(Origin::Elsewhere, hand_out())));
    }
    denied(Origin::Elsewhere, 61);
    assert_eq!(auditor.health(), Some(Health { lost: 0, failing: false, withheld: None }));
    drop(auditor);
    let records = records(&path);
    let denials: Vec<_> = records.iter().filter(|record| record["event"] == "denial").collect();
    let more: Vec<_> = denials.iter().map(|record| record["more"].as_u64().unwrap_or_default()).collect();
    assert_eq!((more, records.len() - denials.len()), (vec![0, 0, 99_999], 50));
}

#[test]
fn files_are_recorded_among_the_hand_outs() {
    let place = tempfile::tempdir().expect("a directory");
    let (auditor, path) = auditor(place.path());
    let written = Written {
        role: "web".parse().expect("a name"),
        access_key_id: "ASIAEXAMPLE".into(),
        expiration: jiff::Timestamp::UNIX_EPOCH,
        owner: 0,
        mode: 0o600,
        users: Vec::new(),
        groups: Vec::new(),
    };
    for what in [FileChange::Written(written), FileChange::Removed { why: "a test" }] {
        assert!(auditor.file(FileEvent { time: jiff::Timestamp::UNIX_EPOCH, path: "/f".into(), what }));
    }
    drop(auditor);
    let events: Vec<_> = records(&path).iter().map(|record| record["event"].to_string()).collect();
    assert_eq!(events, ["\"file-written\"", "\"file-removed\""]);
}
