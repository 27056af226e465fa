//! A client whose clock can be set ahead, by libfaketime, with that of its AWS and its IMS.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use super::gate::Door;
use crate::support::{Daemon, Ims, PATIENCE};

/// How far, and where that is told.
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
    ahead: SignedDuration,
}

impl Clock {
    /// None without libfaketime. `file` is free for use.
    pub fn new(file: PathBuf) -> Option<Self> {
        let folders = fs::read_dir("/usr/lib").ok()?.flatten();
        let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
        let library = libraries.find(|library| library.exists())?;
        fs::write(&file, "+0").expect("a file");
        Some(Self { library, file, ahead: SignedDuration::ZERO })
    }

    /// Makes `command` look at this clock. Waiting is not faked, so its time-outs are true.
    pub fn show(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("FAKETIME_TIMESTAMP_FILE", &self.file);
        command.env("FAKETIME_NO_CACHE", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    /// From now on `ims` issues sets that live for `life` by this clock. `daemon`, whose own clock does
    /// not move, sees sets that live for longer and longer, and has such a one when this returns.
    pub fn issue(&self, ims: &Ims, daemon: &Daemon, life: Duration) {
        let roles = std::cell::Cell::new(Vec::new());
        ims.handle.update(|behaviour| {
            behaviour.lifetime = life + Duration::try_from(self.ahead).expect("ahead");
            roles.set(std::mem::take(&mut behaviour.roles));
            behaviour.headers = decided();
        });
        // A set is fetched by its age by the daemon's clock: only a role that comes back is fetched at once.
        let role = "/latest/meta-data/iam/security-credentials/test_role";
        wait_until("the role is gone", || (daemon.get(role).status == 404).then_some(()));
        ims.handle.update(|behaviour| behaviour.roles = roles.take());
        wait_until_serving(daemon, Timestamp::now() + self.ahead + SignedDuration::try_from(life / 2).expect("short"));
    }

    /// For the client and for AWS, so much time has passed.
    pub fn advance(&mut self, by: SignedDuration, door: &Door) {
        self.ahead += by;
        door.set_ahead(self.ahead);
        fs::write(&self.file, format!("+{}", self.ahead.as_secs())).expect("a file");
    }
}

/// What an IMS adds to its answers whose word withdraws a role.
pub fn decided() -> Vec<(String, String)> {
    vec![("Alppaca-IMS".to_owned(), "1".to_owned())]
}

/// Waits until the daemon serves a set that ends after that.
pub fn wait_until_serving(daemon: &Daemon, ends_after: Timestamp) {
    wait_until("the daemon serves a newer set", || {
        let answer = daemon.get("/latest/meta-data/iam/security-credentials/test_role");
        let document = (answer.status == 200).then(|| answer.json())?;
        let expiration: Timestamp = document["Expiration"].as_str()?.parse().ok()?;
        (expiration > ends_after).then_some(())
    });
}

/// Waits for what nobody announces.
pub fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + 4 * PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "in vain waited until {what}");
        thread::sleep(Duration::from_millis(100));
    }
}
