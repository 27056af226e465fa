//! One file: what should be in it, and the task that keeps it so. What touches the file system runs on a thread of its own, so
//! that a disk that hangs delays this file and nothing else.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rustix::process::geteuid;
use tokio::sync::Notify;

use crate::{
    clock::{self, BootTime, Moment, SharedClock},
    credentials::format_timestamp,
    file::{Command, Deed, File, Sink, Witness, WrittenSet},
    place::{FileError, Place, is_in_memory},
    render::render,
    report::{Report, Standing, lock},
    store::{Published, Slot, Store},
    trust::Trust,
};

/// A set may end, and the clock be set, without any change of the store.
const TICK: Duration = Duration::from_secs(15);
/// Many roles change in a row: one look for all of them.
const PACE: Duration = Duration::from_millis(100);
const NOT_YET: &str = "there are no credentials of the role yet";
const OUTDATED: &str = "newer credentials cannot be written, and these must not stay";
/// The longest pause between two attempts.
const LONGEST: Duration = Duration::from_mins(1);

/// A file at work.
pub(crate) struct Work {
    pub(crate) sink: Sink,
    pub(crate) trust: Trust,
    pub(crate) report: Report,
    /// Takes note of each change.
    pub(crate) witness: Witness,
    /// Held by whatever changes the file, also by the work that was there before for the same path.
    pub(crate) alone: Arc<Mutex<()>>,
    /// Whether this work must not change it any more.
    pub(crate) over: AtomicBool,
    /// Notified of each change, for the command.
    changed: Notify,
}

/// The sets that are to be in a file, each with the number of its profile.
type Sets = Vec<Numbered>;
type Numbered = (usize, Arc<Published>);

/// What should be in a file at a moment.
#[derive(Debug, Default)]
struct Due {
    sets: Sets,
    /// Whether something is missing of which it is not known yet whether it comes.
    pending: bool,
    /// Why nothing is there, if nothing is.
    why: &'static str,
}

/// What is in the file, as far as this process knows.
#[derive(Debug)]
enum Known {
    Nothing,
    Absent,
    Sets(Sets),
}

/// An attempt that failed: what it was for, and when the next one is due.
struct Failed {
    sets: Sets,
    count: u32,
    again: BootTime,
}

impl Work {
    pub(crate) fn new(sink: Sink, trust: Trust, report: Report, witness: Witness, alone: Arc<Mutex<()>>) -> Arc<Self> {
        let (over, changed) = (AtomicBool::new(false), Notify::new());
        Arc::new(Self { sink, trust, report, witness, alone, over, changed })
    }

    /// Changes nothing from now on, once what is under way is over.
    pub(crate) fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// Removes the file, for good. May block.
    pub(crate) fn remove(&self, why: &'static str) -> Result<bool, FileError> {
        self.stop();
        let _alone = lock(&self.alone);
        remove(&self.sink.file.path, why, &self.witness)
    }

    /// Has these sets in the file, or without any no file; whether that is a change. May block.
    fn change(&self, sets: &Sets, why: &'static str) -> Result<bool, FileError> {
        let file = &self.sink.file;
        let _alone = lock(&self.alone);
        if self.over.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let parts: Vec<_> = sets.iter().filter_map(|(index, set)| Some((file.profiles.get(*index)?, &**set))).collect();
        if parts.is_empty() {
            return remove(&file.path, why, &self.witness);
        }
        let text = render(file.format, &parts);
        let readers = file.access.look_up()?;
        let place = Place::to_write(file, &self.trust)?;
        lock(&self.report).on_disk = is_in_memory(file.directory()) == Some(false);
        place.write(&text, &readers, || {
            let sets: Vec<_> = parts
                .iter()
                .map(|(profile, set)| WrittenSet {
                    role: &profile.role,
                    access_key_id: &set.access_key_id,
                    expiration: set.expiration,
                })
                .collect();
            (self.witness)(Deed::Written { file, owner: geteuid().as_raw(), sets: &sets })
        })
    }

    /// Runs the command after each change, once for all changes that come while it runs.
    pub(crate) async fn run_commands(self: Arc<Self>, command: Command) {
        loop {
            self.changed.notified().await;
            let ended = (command.run)().await;
            let mut report = lock(&self.report);
            match &ended {
                Ok(()) => report.commands[0] += 1,
                Err(error) => {
                    report.commands[1] += 1;
                    tracing::warn!("file {}: the command after a change ({}): {error}", report.path, command.name);
                }
            }
            report.command_error = ended.err().map(|error| format!("{}: {error}", command.name));
        }
    }

    /// Notes what came of an attempt, and logs what is new of it.
    fn note(&self, ended: &Result<bool, FileError>, due: &Due, now: Timestamp) {
        let mut report = lock(&self.report);
        let path = &self.sink.file.path;
        let path = path.display();
        let standing = if due.sets.is_empty() { Standing::Absent } else { Standing::Written };
        let (before, failed) = (report.standing, report.error.is_some());
        match ended {
            Err(error) => {
                report.failures += 1;
                report.standing = Standing::Failing;
                let what = if due.sets.is_empty() { "removed" } else { "written" };
                let text = error.to_string();
                if report.error.as_ref() == Some(&text) {
                    tracing::debug!("file {path}: still not {what}: {text}");
                } else {
                    tracing::error!("file {path}: it cannot be {what}: {text}");
                }
                report.error = Some(text);
            }
            Ok(changed) => {
                report.changes += u64::from(*changed);
                (report.standing, report.success, report.error) = (standing, Some(now), None);
                let roles = self.sink.file.roles();
                match (standing, *changed) {
                    (Standing::Written, _) if before != standing || failed => {
                        notice!("file {path}: has credentials of {roles}{}", until(&due.sets));
                    }
                    (Standing::Written, true) => {
                        tracing::info!("file {path}: has newer credentials of {roles}{}", until(&due.sets));
                    }
                    (Standing::Absent, true) => notice!("file {path}: removed: {}", due.why),
                    _ => {}
                }
            }
        }
    }
}

/// Removes the file at that path if there is one of ours.
pub(crate) fn remove(path: &Path, why: &'static str, witness: &Witness) -> Result<bool, FileError> {
    let noted = || {
        // It is gone, whether that is recorded or not.
        let _leave = witness(Deed::Removed { path, why });
    };
    Place::of_former(path)?.map_or(Ok(false), |place| place.remove(noted))
}

fn until(sets: &Sets) -> String {
    let first = sets.iter().map(|(_, set)| set.expiration).min();
    first.map(|end| format!(", until {}", format_timestamp(end))).unwrap_or_default()
}

/// Keeps the file as the store has its roles, for ever. A file that was there before is left as it is until it is known what
/// becomes of its roles, but no longer than until `settled`.
pub(crate) async fn follow(work: Arc<Work>, store: Arc<Store>, clock: SharedClock, settled: BootTime) {
    let (mut known, mut failed): (Known, Option<Failed>) = (Known::Nothing, None);
    let mut looked = clock.boot();
    loop {
        let changed = store.changed();
        let now = clock.now();
        let due = due(&work.sink.file, &store, now);
        let mut pause = pause(&due.sets, now);
        let waits = due.pending && now.boot < settled && matches!(known, Known::Nothing) && is_there(&work).await;
        if waits {
            pause = pause.min(settled.since(now.boot));
        } else if !is_as(&known, &due.sets) || (!due.sets.is_empty() && now.boot.since(looked) >= TICK) {
            // Others may have removed it.
            looked = now.boot;
            let left = failed
                .as_ref()
                .filter(|failed| same(&failed.sets, &due.sets))
                .map(|failed| failed.again.since(now.boot));
            if let Some(left) = left.filter(|left| !left.is_zero()) {
                pause = pause.min(left);
            } else {
                let ended = attempt(&work, &due.sets, due.why).await;
                work.note(&ended, &due, now.wall);
                if let Ok(changed) = ended {
                    failed = None;
                    known = if due.sets.is_empty() { Known::Absent } else { Known::Sets(due.sets) };
                    if changed {
                        work.changed.notify_one();
                    }
                } else {
                    let count = failed
                        .as_ref()
                        .filter(|failed| same(&failed.sets, &due.sets))
                        .map_or(0, |failed| failed.count + 1);
                    let again = Duration::from_secs(1 << count.min(6)).min(LONGEST);
                    pause = pause.min(again);
                    failed = Some(Failed { sets: due.sets, count, again: now.boot + again });
                }
            }
        }
        if let (Known::Sets(old), Some(Failed { sets, .. })) = (&known, &failed)
            && is_outdated(old, sets, now)
            && matches!(attempt(&work, &Sets::new(), OUTDATED).await, Ok(true))
        {
            // What should be there instead cannot be written, but what must not be there is gone.
            known = Known::Absent;
            work.changed.notify_one();
        }
        tokio::select! {
            () = changed => {}
            () = clock::sleep(pause) => {}
        }
        clock::sleep(PACE).await;
    }
}

/// Writes the file with these sets, or removes it if there are none, on another thread.
async fn attempt(work: &Arc<Work>, sets: &Sets, why: &'static str) -> Result<bool, FileError> {
    let (work, sets) = (Arc::clone(work), sets.clone());
    let changed = tokio::task::spawn_blocking(move || work.change(&sets, why));
    changed
        .await
        .unwrap_or_else(|error| Err(FileError::io("the thread that writes has failed", std::io::Error::other(error))))
}

async fn is_there(work: &Arc<Work>) -> bool {
    let work = Arc::clone(work);
    let look = move || Place::of_former(&work.sink.file.path)?.map_or(Ok(false), |place| place.exists());
    matches!(tokio::task::spawn_blocking(look).await, Ok(Ok::<_, FileError>(true)))
}

/// What should be in a file. The file wants its roles, as a program does that asks for them.
fn due(file: &File, store: &Store, now: Moment) -> Due {
    let snapshot = store.snapshot();
    let mut due = Due::default();
    for (index, profile) in file.profiles.iter().enumerate() {
        let Some(role) = snapshot.role(profile.role.as_str()) else {
            due.pending |= !snapshot.answered();
            due.why = if snapshot.answered() { "there is no such role any more" } else { NOT_YET };
            continue;
        };
        role.ask(now.boot);
        match &**role.slot() {
            Slot::Held { set, .. } if set.is_valid(now) => due.sets.push((index, Arc::clone(set))),
            Slot::Held { .. } => due.why = "its credentials have expired",
            Slot::Denied(_) => due.why = "the upstream refuses the role",
            slot => {
                if matches!(slot, Slot::Idle) {
                    drop(store.awaited_change());
                }
                due.pending = true;
                due.why = NOT_YET;
            }
        }
    }
    due
}

/// How long nothing has to be looked at.
fn pause(sets: &Sets, now: Moment) -> Duration {
    let left = |(_, set): &Numbered| Duration::try_from(set.left(now)).unwrap_or_default();
    sets.iter().map(left).fold(TICK, Duration::min)
}

fn is_as(known: &Known, sets: &Sets) -> bool {
    match known {
        Known::Nothing => false,
        Known::Absent => sets.is_empty(),
        Known::Sets(known) => same(known, sets),
    }
}

fn same(known: &Sets, sets: &Sets) -> bool {
    let equal = |((one, old), (other, new)): (&Numbered, &Numbered)| {
        one == other
            && (Arc::ptr_eq(old, new) || (old.document() == new.document() && old.account_id == new.account_id))
    };
    known.len() == sets.len() && known.iter().zip(sets).all(equal)
}

/// Whether sets that were written must not be there any more: one has ended, or its role is gone.
fn is_outdated(written: &Sets, due: &Sets, now: Moment) -> bool {
    written.iter().any(|(index, set)| !set.is_valid(now) || due.iter().all(|(other, _)| other != index))
}

#[cfg(test)]
mod tests;
