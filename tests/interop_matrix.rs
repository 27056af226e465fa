//! Every client of the matrix, with its default chain, through every way that it knows; the result is
//! the table in `docs/clients.md`.
#![allow(unreachable_pub, missing_docs, reason = "a test, in several files")]
#![allow(clippy::disallowed_methods, reason = "the clients' clocks are real")]

mod support;

#[path = "interop/rig/mod.rs"]
mod rig;

#[path = "interop/matrix/gate.rs"]
mod gate;
#[path = "interop/matrix/refresh.rs"]
mod refresh;
#[path = "interop/matrix/table.rs"]
mod table;
#[path = "interop/matrix/vectors.rs"]
mod vectors;
#[path = "interop/matrix/ways.rs"]
mod ways;

use std::thread::{self, ScopedJoinHandle};

use rig::{
    kinds::{KINDS, Kind},
    tools::Tools,
    world::World,
};
use table::Line;
use tempfile::TempDir;
use ways::{Run, Way};

#[test]
fn clients_get_credentials_that_work_in_every_way_they_know() {
    let Some(tools) = Tools::find() else {
        support::skip("the matrix of clients", "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    let world = World::start(&tools.python);
    if let Err(why) = &world.captured {
        support::skip("clients at 169.254.169.254", why);
    }
    let runs: Vec<_> = thread::scope(|scope| {
        let begin = |kind: &'static Kind| {
            let thread = thread::Builder::new().name(kind.name.to_owned());
            thread.spawn_scoped(scope, || run(kind, &tools, &world)).expect("a thread")
        };
        let runs: Vec<_> = KINDS.iter().map(begin).collect();
        runs.into_iter().map(ScopedJoinHandle::join).collect()
    });
    let broken = runs.iter().filter(|run| run.is_err()).count();
    assert_eq!(broken, 0, "clients did what they must not; see above");
    let lines: Vec<_> = runs.into_iter().flatten().flatten().collect();
    table::check(&lines);
}

/// One client through all ways: those that wait for sets to end beside the others, which come one after the other.
/// None if it is not on this machine.
fn run(kind: &Kind, tools: &Tools, world: &World) -> Option<Line> {
    let home = TempDir::new().expect("a directory");
    if let Err(why) = kind.command(tools, home.path()) {
        support::skip(kind.name, &why);
        return None;
    }
    let run = Run { kind, tools, world, home: home.path() };
    let ways = || Way::TABLES.into_iter().flatten().copied();
    let cells = thread::scope(|scope| {
        let begin = |way| {
            let (run, thread) = (&run, thread::Builder::new().name(kind.name.to_owned()));
            thread.spawn_scoped(scope, move || (way, run.go(way))).expect("a thread")
        };
        let waiting: Vec<_> = ways().filter(|way| way.takes_its_time()).map(begin).collect();
        let mut cells: Vec<_> = ways().filter(|way| !way.takes_its_time()).map(|way| (way, run.go(way))).collect();
        cells.extend(waiting.into_iter().map(|thread| thread.join().expect("see above")));
        cells
    });
    Some(Line { client: format!("{} {}", kind.name, (kind.version)()), cells })
}
