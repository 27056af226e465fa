//! The ways to credentials, and what each is put to.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use alppaca::mock_ims::Behaviour;
use jiff::{SignedDuration, Timestamp};

use crate::rig::{
    client::Client,
    front::{Exchange, Front, Tokens},
    gate::Door,
    kinds::Kind,
    tools::Tools,
};
use crate::support::{self, Daemon, Ims, PATIENCE};

/// A column of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    ImdsV2,
    ImdsV1,
    Refresh,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::ImdsV2, Self::ImdsV1, Self::Refresh];

    pub fn title(self) -> &'static str {
        match self {
            Self::ImdsV2 => "IMDSv2",
            Self::ImdsV1 => "IMDSv1",
            Self::Refresh => "three rollovers",
        }
    }
}

/// What a way came to: it works, or the client got no credentials and said so. Whatever a client must
/// not do at all fails the test on the spot.
pub type Cell = Result<(), String>;

/// The daemons and the AWS that all clients share.
pub struct World {
    moto: SocketAddr,
    /// Sets for an hour.
    lasting: Pair,
    /// Sets for seconds.
    fleeting: Pair,
}

/// An IMS and the daemon that asks it.
struct Pair {
    ims: Ims,
    daemon: Daemon,
}

/// Long enough for one round on a busy machine before the last third, after which there is a new set.
const FLEETING: Duration = Duration::from_secs(15);
/// A round is not begun so shortly before its set ends: it takes time, and no client refreshes to the second.
const ROUND: SignedDuration = SignedDuration::from_secs(3);

impl World {
    pub fn start(moto: SocketAddr) -> Self {
        let pair = |lifetime| {
            let ims = Ims::start(Behaviour { lifetime, ..Behaviour::default() });
            // Whoever gets in was through IMDSv2.
            let daemon = Daemon::with_credentials(&format!("{}imds_v1: false\n", ims.config()));
            Pair { ims, daemon }
        };
        Self { moto, lasting: pair(Duration::from_hours(1)), fleeting: pair(FLEETING) }
    }

    fn door(&self, ims: &Ims) -> Door {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        Door::open(listener, ims.handle.clone(), self.moto)
    }
}

/// Runs a client through one way.
pub fn go(way: Way, kind: &Kind, tools: &Tools, world: &World, home: &Path) -> Cell {
    let command = || kind.command(tools, home).expect("it was there before");
    match way {
        Way::ImdsV2 => imds_v2(kind, command(), world),
        Way::ImdsV1 => imds_v1(kind, command(), world),
        Way::Refresh => refresh(kind, command(), world),
    }
}

fn imds(command: &mut Command, endpoint: SocketAddr, door: &Door) {
    // The AWS CLI of 2023 needs the final slash.
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{endpoint}/"));
    // object_store has names of its own for it.
    command.env("AWS_METADATA_ENDPOINT", format!("http://{endpoint}")).env("AWS_ALLOW_HTTP", "true");
    aws(command, door);
    command.env("AWS_REGION", "us-east-1").env("AWS_DEFAULT_REGION", "us-east-1");
}

fn aws(command: &mut Command, door: &Door) {
    command.env("AWS_ENDPOINT_URL", format!("http://{}", door.address));
}

/// One round; if it worked, every service has seen a valid signature and refused nothing.
fn once(kind: &Kind, command: Command, door: &Door) -> Cell {
    let mut client = Client::start(command);
    let round = client.round();
    if round.result.is_ok() {
        assert_eq!(door.refusals(), [""; 0], "{}", kind.name);
        assert!(kind.services.iter().all(|service| door.services().contains(*service)), "{}", kind.name);
    }
    round.result
}

fn imds_v2(kind: &Kind, mut command: Command, world: &World) -> Cell {
    let door = world.door(&world.lasting.ims);
    imds(&mut command, world.lasting.daemon.address(), &door);
    once(kind, command, &door)
}

fn imds_v1(kind: &Kind, mut command: Command, world: &World) -> Cell {
    let pair = &world.lasting;
    let daemon = Daemon::with_credentials(&pair.ims.config());
    let (front, door) = (Front::start(daemon.address(), Tokens::Refused), world.door(&pair.ims));
    imds(&mut command, front.address, &door);
    // object_store falls back only if it is told that it may.
    command.env("AWS_IMDSV1_FALLBACK", "true");
    let cell = once(kind, command, &door);
    let gets: Vec<_> = front.take().into_iter().filter(|exchange| exchange.is("GET")).collect();
    assert!(!gets.iter().any(Exchange::has_token), "{}: a token, from nowhere: {gets:?}", kind.name);
    cell
}

/// Keeps calling until the client has worked with four sets, the first three of which are dead.
fn refresh(kind: &Kind, command: Command, world: &World) -> Cell {
    if kind.stretches { refresh_by_hours(kind, command, world) } else { refresh_by_seconds(kind, command, world) }
}

fn refresh_by_seconds(kind: &Kind, mut command: Command, world: &World) -> Cell {
    let pair = &world.fleeting;
    let door = world.door(&pair.ims);
    imds(&mut command, pair.daemon.address(), &door);
    let mut client = Client::start(command);
    let deadline = Instant::now() + 12 * FLEETING;
    let mut sets: Vec<String> = Vec::new();
    loop {
        let round = client.round();
        assert!(round.result.is_ok(), "{}: {round:?} after {} rollovers", kind.name, sets.len());
        assert_eq!(door.refusals(), [""; 0], "{}", kind.name);
        let key = door.last_key().expect("a call");
        let expires = pair.ims.handle.issued_with(&key).expect("it was let through").expiration;
        if sets.last() != Some(&key) {
            sets.push(key);
        }
        if sets.len() > 3 {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "{}: only {} rollovers", kind.name, sets.len());
        // What is tested takes time: either the set is good for another round, or its end is waited for.
        let left = expires.duration_since(Timestamp::now());
        let pause = if left > ROUND { SignedDuration::from_secs(1) } else { left + SignedDuration::from_millis(100) };
        thread::sleep(pause.try_into().unwrap_or_default());
    }
}

/// For a client that pushes short expirations away: sets for an hour, and after each round 50 minutes
/// pass at once, for the client (libfaketime), for the IMS's sets and for AWS. Only the daemon's clock
/// stays, so it sees sets that live for longer and longer.
fn refresh_by_hours(kind: &Kind, mut command: Command, world: &World) -> Cell {
    const STEP: SignedDuration = SignedDuration::from_mins(50);
    let life = Duration::from_hours(1);
    let Some(library) = faketime() else {
        support::skip(kind.name, "three rollovers need libfaketime");
        return Err("there is no libfaketime".to_owned());
    };
    let ims = Ims::start(Behaviour { lifetime: life, ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1s\n", ims.config()));
    let door = world.door(&ims);
    imds(&mut command, daemon.address(), &door);
    let clock = daemon.directory.path().join("clock");
    fs::write(&clock, "+0").expect("a file");
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", &clock);
    command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");

    let mut client = Client::start(command);
    let mut sets: Vec<String> = Vec::new();
    for step in 0..4 {
        let ahead = STEP * step;
        ims.handle.update(|behaviour| behaviour.lifetime = life + Duration::try_from(ahead).expect("ahead"));
        let needed = Timestamp::now() + ahead + SignedDuration::from_mins(59);
        wait_until_serving(&daemon, needed);
        door.set_ahead(ahead);
        fs::write(&clock, format!("+{}", ahead.as_secs())).expect("a file");

        let round = client.round();
        assert!(round.result.is_ok(), "{}: {round:?} after {} rollovers", kind.name, sets.len());
        assert_eq!(door.refusals(), [""; 0], "{}", kind.name);
        let key = door.last_key().expect("a call");
        assert!(!sets.contains(&key), "{}: it did not refresh a set that ends in 10 minutes", kind.name);
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
