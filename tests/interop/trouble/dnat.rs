//! Clients that find the daemon by the address of the metadata service alone, and it stops and starts.

use std::time::Duration;

use tempfile::TempDir;

use crate::rig::{
    client::Client,
    gate::Door,
    kinds::{KINDS, Kind},
    tools::Tools,
    world::{Place, Site},
};
use crate::support::{Daemon, Ims};

/// Nobody retries a refused connection for longer.
const AT_ONCE: Duration = Duration::from_secs(15);

/// To be run in a namespace with the rule.
pub fn a_stop_and_a_start(tools: &Tools) {
    let site = Site::start(&tools.python, Place::Anywhere);
    let ims = &site.lasting.ims;
    let (home, door) = (TempDir::new().expect("a directory"), site.door(ims));
    let here = |kind: &&Kind| kind.command(tools, home.path()).is_ok() && !kind.by_hand;
    let kinds: Vec<_> = KINDS.iter().filter(here).collect();
    let start = || -> Vec<_> { kinds.iter().map(|kind| Client::start(command(kind, tools, &home, &door))).collect() };

    let mut daemon = start_daemon(ims);
    let mut old = start();
    check(&kinds, &mut old, true, "with the daemon");

    daemon.stop();
    check(&kinds, &mut start(), false, "without the daemon");

    let _daemon = start_daemon(ims);
    check(&kinds, &mut start(), true, "with the new daemon");
    check(&kinds, &mut old, true, "from before");
    assert_eq!(door.refusals(), [""; 0]);
}

fn start_daemon(ims: &Ims) -> Daemon {
    Daemon::with_credentials(&format!("{}bind_port: 25772\n", ims.config()))
}

fn command(kind: &Kind, tools: &Tools, home: &TempDir, door: &Door) -> std::process::Command {
    kind.at(door, tools, home.path()).expect("it was there before")
}

/// A round of each, side by side.
fn check(kinds: &[&Kind], clients: &mut [Client], works: bool, when: &str) {
    let began: Vec<_> = clients.iter_mut().map(Client::begin).collect();
    for ((kind, client), began) in kinds.iter().zip(clients).zip(began) {
        let round = client.finish(began);
        assert!(round.result.is_ok() == works && (works || round.took < AT_ONCE), "{}, {when}: {round:?}", kind.name);
    }
}
