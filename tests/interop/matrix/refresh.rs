//! A client that runs on while its credentials end, three times.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use alppaca::mock_ims::Behaviour;
use jiff::{SignedDuration, Timestamp};

use super::{
    ways::{Cell, No, Run, tell},
    world::FLEETING,
};
use crate::rig::client::Client;
use crate::support::{Daemon, Ims, PATIENCE};

/// A round is not begun so shortly before its set ends: it takes time, and no client refreshes to the second.
const ROUND: SignedDuration = SignedDuration::from_secs(3);

/// Keeps calling until the client has worked with four sets.
pub fn rollovers(run: &Run<'_>) -> Cell {
    if run.kind.stretches { by_hours(run) } else { by_seconds(run) }
}

fn by_seconds(run: &Run<'_>) -> Cell {
    let name = run.kind.name;
    let pair = &run.world.told.fleeting;
    let door = run.world.told.door(&pair.ims);
    let mut command = run.client(&door);
    if run.kind.by_hand {
        run.tell_command(&mut command, pair);
    } else {
        tell(&mut command, pair.daemon.address());
    }
    let mut client = Client::start(command);
    let deadline = Instant::now() + 12 * FLEETING;
    let mut sets: Vec<String> = Vec::new();
    loop {
        let round = client.round();
        assert!(round.result.is_ok(), "{name}: {round:?} with set number {}", sets.len());
        assert_eq!(door.refusals(), [""; 0], "{name}");
        let key = door.last_key().expect("a call");
        let expires = pair.ims.handle.issued_with(&key).expect("it was let through").expiration;
        if sets.last() != Some(&key) {
            sets.push(key);
        }
        if sets.len() > 3 {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "{name}: only {} sets", sets.len());
        // What is tested takes time: either the set is good for another round, or its end is waited for.
        let left = expires.duration_since(Timestamp::now());
        let pause = if left > ROUND { SignedDuration::from_secs(1) } else { left + SignedDuration::from_millis(100) };
        thread::sleep(pause.try_into().unwrap_or_default());
    }
}

/// For a client that pushes short expirations away: sets for an hour, and after each round 50 minutes
/// pass at once, for the client (libfaketime), for the IMS's sets and for AWS. Only the daemon's clock
/// stays, so it sees sets that live for longer and longer.
fn by_hours(run: &Run<'_>) -> Cell {
    const STEP: SignedDuration = SignedDuration::from_mins(50);
    let name = run.kind.name;
    let life = Duration::from_hours(1);
    let library = faketime().ok_or_else(|| No::Untried { why: "there is no libfaketime".to_owned() })?;
    let ims = Ims::start(Behaviour { lifetime: life, ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1s\n", ims.config()));
    let door = run.world.told.door(&ims);
    let clock = daemon.directory.path().join("clock");
    fs::write(&clock, "+0").expect("a file");
    let mut command = run.client(&door);
    tell(&mut command, daemon.address());
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &clock);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");

    let mut client = Client::start(command);
    let mut sets: Vec<String> = Vec::new();
    for step in 0..4 {
        let ahead = STEP * step;
        ims.handle.update(|behaviour| behaviour.lifetime = life + Duration::try_from(ahead).expect("ahead"));
        wait_until_serving(&daemon, Timestamp::now() + ahead + SignedDuration::from_mins(59));
        door.set_ahead(ahead);
        fs::write(&clock, format!("+{}", ahead.as_secs())).expect("a file");

        let round = client.round();
        assert!(round.result.is_ok(), "{name}: {round:?} with set number {}", sets.len());
        assert_eq!(door.refusals(), [""; 0], "{name}");
        let key = door.last_key().expect("a call");
        assert!(!sets.contains(&key), "{name}: it did not refresh a set that ends in 10 minutes");
        sets.push(key);
    }
    Ok(())
}

fn wait_until_serving(daemon: &Daemon, ends_after: Timestamp) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let document = daemon.get("/latest/meta-data/iam/security-credentials/test_role").json();
        let expiration: Timestamp = document["Expiration"].as_str().expect("a date").parse().expect("a date");
        if expiration > ends_after {
            return;
        }
        assert!(Instant::now() < deadline, "the daemon still serves what it served");
        // The daemon tells nobody that it has a new set.
        thread::sleep(Duration::from_millis(100));
    }
}

fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|file| file.exists())
}
