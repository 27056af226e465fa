//! A client that runs on while its credentials end, three times.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use alppaca::mock_ims::Behaviour;
use jiff::{SignedDuration, Timestamp};

use super::ways::{Cell, No, Run, tell_ecs, tell_pod_identity};
use crate::rig::{
    client::Client,
    clock::Clock,
    kinds::tell,
    world::{FLEETING, Pair, Place, restart},
};
use crate::support::{self, Daemon, Ims};

/// A round is not begun so shortly before its set ends: it takes time, and no client refreshes to the second.
const ROUND: SignedDuration = SignedDuration::from_secs(3);

/// Keeps calling until the client has worked with four sets.
pub fn rollovers(run: &Run<'_>) -> Cell {
    if run.kind.stretches {
        return by_hours(run);
    }
    let pair = &run.world.told.fleeting;
    by_seconds(run, &pair.ims, |command| tell(command, pair.daemon.address()), || {})
}

/// The same at the container face, where no client pushes anything away.
pub fn ecs_rollovers(run: &Run<'_>) -> Cell {
    let pair = &run.world.told.fleeting;
    by_seconds(run, &pair.ims, |command| tell_ecs(command, pair), || {})
}

/// The same at the face of EKS Pod Identity, and another daemon takes the place of the first.
pub fn pod_identity_rollovers(run: &Run<'_>) -> Cell {
    let mut pair = Pair::start(FLEETING, Place::Anywhere);
    let (host, account) = (pair.eks().to_string(), pair.service_account());
    let Pair { ims, daemon, files } = &mut pair;
    let restart = || restart(daemon, ims, files.path());
    by_seconds(run, ims, |command| tell_pod_identity(command, &host, &account), restart)
}

/// `between` is called after the first round; a client that cannot make even that one has no such way.
fn by_seconds(run: &Run<'_>, ims: &Ims, told: impl FnOnce(&mut Command), between: impl FnOnce()) -> Cell {
    let name = run.kind.name;
    let door = run.world.told.door(ims);
    let mut command = run.client(&door);
    told(&mut command);
    let mut client = Client::start(command);
    let deadline = Instant::now() + 12 * FLEETING;
    let mut sets: Vec<String> = Vec::new();
    client.round().result.map_err(|why| No::Unable { why })?;
    between();
    loop {
        let round = client.round();
        assert!(round.result.is_ok(), "{name}: {round:?} with set number {}", sets.len());
        assert_eq!(door.refusals(), [""; 0], "{name}");
        let key = door.last_key().expect("a call");
        let expires = ims.handle.issued_with(&key).expect("it was let through").expiration;
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

/// For a client that pushes short expirations away: sets for an hour, and 50 minutes pass at once.
fn by_hours(run: &Run<'_>) -> Cell {
    const STEP: SignedDuration = SignedDuration::from_mins(50);
    const LIFE: Duration = Duration::from_hours(1);
    let name = run.kind.name;
    let ims = Ims::start(Behaviour { lifetime: LIFE, ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1s\n", ims.config()));
    let door = run.world.told.door(&ims);
    let Some(mut clock) = Clock::new(daemon.directory.path().join("clock")) else {
        support::skip(&format!("three rollovers of {name}"), "there is no libfaketime");
        return Err(No::Untried { why: "there is no libfaketime".to_owned() });
    };
    let mut command = run.client(&door);
    tell(&mut command, daemon.address());
    clock.show(&mut command);
    let mut client = Client::start(command);
    let mut sets: Vec<String> = Vec::new();
    loop {
        let round = client.round();
        assert!(round.result.is_ok(), "{name}: {round:?} with set number {}", sets.len());
        assert_eq!(door.refusals(), [""; 0], "{name}");
        let key = door.last_key().expect("a call");
        assert!(!sets.contains(&key), "{name}: it did not refresh a set that ends in 10 minutes");
        sets.push(key);
        if sets.len() > 3 {
            return Ok(());
        }
        clock.advance(STEP, &door);
        clock.issue(&ims, &daemon, LIFE);
    }
}
