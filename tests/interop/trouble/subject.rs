//! A client in the middle of its work, with an IMS, a daemon and a way to AWS of its own.

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    thread::{self, ScopedJoinHandle},
    time::Duration,
};

use alppaca::mock_ims::Behaviour;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use crate::rig::{
    client::Client,
    clock::{Clock, wait_until},
    front::{Front, Tokens},
    gate::Door,
    kinds::{KINDS, Kind, tell},
    tools::Tools,
    world::{Place, Site},
};
use crate::support::{self, Daemon, Ims, get};

const ROLE: &str = "/latest/meta-data/iam/security-credentials/test_role";
/// Longer than any client's own time-outs and retries together: `object_store`'s and minio-py's take 6 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough for a round before it ends; the end is waited for.
const LIFE: Duration = Duration::from_secs(20);
/// For a client that pushes short expirations away; its clock is set ahead.
const LONG_LIFE: Duration = Duration::from_hours(1);

pub struct Subject<'a> {
    pub kind: &'static Kind,
    pub front: Front,
    tools: &'a Tools,
    client: Client,
    door: Door,
    clock: Option<Clock>,
    daemon: Daemon,
    ims: Ims,
    healthy: Behaviour,
    broken: Behaviour,
    home: TempDir,
}

/// Runs `scenario` with each client that lives for longer than a call, all side by side.
pub fn with_each_client(scenario: fn(&mut Subject<'_>)) {
    let Some(tools) = Tools::find() else {
        support::skip("clients in trouble", "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    let site = Site::start(&tools.python, Place::Anywhere);
    let broken = thread::scope(|scope| {
        let begin = |kind: &'static Kind| {
            let thread = thread::Builder::new().name(kind.name.to_owned());
            let (tools, site) = (&tools, &site);
            let run = move || Subject::start(kind, tools, site).iter_mut().for_each(scenario);
            thread.spawn_scoped(scope, run).expect("a thread")
        };
        let kinds = KINDS.iter().filter(|kind| !kind.short_lived);
        let runs: Vec<_> = kinds.map(begin).collect();
        runs.into_iter().map(ScopedJoinHandle::join).filter(Result::is_err).count()
    });
    assert_eq!(broken, 0, "clients did not get through it; see above");
}

impl<'a> Subject<'a> {
    /// None if the client is not on this machine.
    fn start(kind: &'static Kind, tools: &'a Tools, site: &Site) -> Option<Self> {
        let home = TempDir::new().expect("a directory");
        let clock = if kind.stretches { Clock::new(home.path().join("clock")) } else { None };
        let missing = if kind.stretches && clock.is_none() {
            Some("there is no libfaketime".to_owned())
        } else {
            kind.command(tools, home.path()).err()
        };
        if let Some(why) = missing {
            support::skip(&format!("{} in trouble", kind.name), &why);
            return None;
        }
        let lifetime = if kind.stretches { LONG_LIFE } else { LIFE };
        let healthy = Behaviour { lifetime, ..Behaviour::default() };
        let ims = Ims::start(healthy.clone());
        let daemon = start_daemon(&ims, &home);
        let (front, door) = (Front::start(daemon.address(), Tokens::Passed), site.door(&ims));
        let client = Client::start(command(kind, tools, &home, &door, &front, clock.as_ref()));
        let broken = healthy.clone();
        Some(Self { kind, front, tools, client, door, clock, daemon, ims, healthy, broken, home })
    }

    /// A round without an error.
    pub fn works(&mut self, when: &str) {
        let round = self.client.round();
        let name = self.kind.name;
        let told = || format!("{:?}; {:?}", self.door.refusals(), self.front.take());
        assert!(round.result.is_ok() && round.took < PATIENCE, "{name}, {when}: {round:?}; {}", told());
    }

    /// A round that cannot work, and says so in time.
    pub fn fails(&mut self, when: &str) {
        let round = self.client.round();
        assert!(round.result.is_err() && round.took < PATIENCE, "{}, {when}: {round:?}", self.kind.name);
    }

    /// All is well again: for a new process, and for the running one unless it holds on to what it has, which
    /// is told from its refusals.
    pub fn recovers(&mut self) {
        if self.kind.holds_on {
            self.fails("while it holds on to its last set");
            assert_eq!(self.door.refusals().last(), Some(&"ExpiredToken"), "{}", self.kind.name);
            self.start_again();
        }
        self.works("after all");
    }

    /// A new process of the same client.
    pub fn start_again(&mut self) {
        let command = command(self.kind, self.tools, &self.home, &self.door, &self.front, self.clock.as_ref());
        self.client = Client::start(command);
    }

    /// Another daemon in place of the first.
    pub fn restart_daemon(&mut self) {
        self.daemon.stop();
        self.daemon = start_daemon(&self.ims, &self.home);
        self.front.set_daemon(self.daemon.address());
        self.front.take();
    }

    /// The next daemon will know no token of this one.
    pub fn forget_tokens(&self) {
        fs::remove_file(self.home.path().join("run/imds-token.key")).expect("the daemon has kept it");
    }

    /// How the daemon has answered since the restart.
    pub fn statuses(&self) -> BTreeSet<u16> {
        self.front.take().iter().map(|exchange| exchange.status).collect()
    }

    /// How often it has refused a token since the restart.
    pub fn refused_tokens(&self) -> usize {
        self.front.take().iter().filter(|exchange| exchange.status == 401).count()
    }

    /// Until the set that the client worked with has ended.
    pub fn outlive_its_set(&mut self) {
        if let Some(clock) = &mut self.clock {
            clock.advance(SignedDuration::from_mins(61), &self.door);
            clock.issue(&self.ims, &self.daemon, LONG_LIFE);
            return;
        }
        let key = self.door.last_key().expect("it has worked");
        let ends = self.ims.handle.issued_with(&key).expect("it was let through").expiration;
        let left = ends.duration_since(Timestamp::now()) + SignedDuration::from_millis(100);
        thread::sleep(left.try_into().unwrap_or_default());
    }

    pub fn break_upstream(&mut self, how: impl FnOnce(&mut Behaviour)) {
        how(&mut self.broken);
        self.ims.handle.set(self.broken.clone());
    }

    /// Until the daemon has nothing more to give, which it says with `status`, and the client's set has ended.
    pub fn wait_until_it_ends(&mut self, status: u16) {
        if let Some(clock) = &mut self.clock {
            // What this client holds would last for an hour, and so what the daemon holds: another takes its
            // place, and finds a set that ends soon and then nothing.
            self.ims.handle.set(Behaviour { lifetime: Duration::from_secs(3), ..self.healthy.clone() });
            self.daemon.stop();
            self.daemon = start_daemon(&self.ims, &self.home);
            self.ims.handle.set(self.broken.clone());
            self.front.set_daemon(self.daemon.address());
            clock.advance(SignedDuration::from_mins(61), &self.door);
        } else {
            self.outlive_its_set();
        }
        let daemon = self.daemon.address();
        wait_until("the daemon has no credentials", || (get(daemon, ROLE).status == status).then_some(()));
        self.front.take();
    }

    pub fn mend_upstream(&mut self) {
        self.ims.handle.set(self.healthy.clone());
        if let Some(clock) = &self.clock {
            clock.issue(&self.ims, &self.daemon, LONG_LIFE);
        }
        let daemon = self.daemon.address();
        wait_until("the daemon has credentials", || (get(daemon, ROLE).status == 200).then_some(()));
    }
}

fn start_daemon(ims: &Ims, home: &TempDir) -> Daemon {
    let run = home.path().join("run");
    Daemon::with_credentials(&format!("{}refresh_interval: 1s\nrun_dir: {}\n", ims.config(), run.display()))
}

fn command(kind: &Kind, tools: &Tools, home: &TempDir, door: &Door, front: &Front, clock: Option<&Clock>) -> Command {
    let mut command = kind.at(door, tools, home.path()).expect("it was there before");
    tell(&mut command, front.address);
    if let Some(clock) = clock {
        clock.show(&mut command);
    }
    command
}
