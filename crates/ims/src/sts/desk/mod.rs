//! Decides what a client gets and which call to STS begins when: the cache, the queue, the rates. No clock and no I/O, so
//! that the simulation runs this very code.
//!
//! There is one call at a time for a key, however many clients wait for it, and it goes on when they leave. A set with
//! three quarters of its life left is handed out as it is. An older one is renewed first, if that is quick; while STS
//! does not work, it is handed out to its end. What clients came back for is renewed before they do, evenly spread.

mod age;
mod calendar;
mod calls;
mod entry;
mod queue;
mod region;

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
    time::Duration,
};

pub(super) use calls::{Job, Outcome};
use jiff::Timestamp;

use super::Trouble;
use crate::{clock::Moment, open_metrics::Recent};
use age::Held;
use entry::{Agenda, Entry, Stage};
use queue::{Queue, Urgency};
use region::Region;

/// A client that has something usable waits no longer than this for something fresher.
const QUICK: Duration = Duration::from_secs(1);
/// How many calls may wait.
const MOST_WAITING: usize = 200_000;
/// How many of them for the keys of one caller.
const MOST_OF_ONE: usize = 256;
/// How many keys are looked at to find one that can be forgotten.
const MOST_LOOKED_AT: usize = 1_000;
/// No client is told to come back sooner or later than this.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(5)];

/// The bounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    /// How many keys are remembered.
    pub(super) capacity: usize,
    /// How long a client waits.
    pub(super) patience: Duration,
    /// How many calls may begin in a second in each region.
    pub(super) rate: f64,
}

/// What a client gets.
#[derive(Debug)]
pub(super) enum Ask<K, S> {
    /// This.
    Ready(S),
    /// What the call for this key brings; if that takes too long or fails, what there is.
    Wait(Arc<K>, Option<S>),
    /// Nothing now.
    No(Trouble),
}

/// A region, what was counted there, and what it said last when it failed.
#[derive(Debug)]
struct Place {
    region: Region,
    tally: Tally,
    recent: Recent<{ ENDS.len() }>,
    trouble: Option<Arc<str>>,
}

/// What can come of a call, in the order in which it is counted.
pub const ENDS: [&str; 4] = ["made", "refused", "throttled", "failed"];

/// What came of the calls to one region in the last hours: when each piece of time began, and how often each of [`ENDS`] was.
pub type History = Vec<(Timestamp, [u64; ENDS.len()])>;

/// What came of the calls to one region.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sets.
    pub made: u64,
    /// AWS's refusals.
    pub refused: u64,
    /// Calls of which AWS had too many.
    pub throttled: u64,
    /// Calls without a usable answer.
    pub failed: u64,
}

/// What clients got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that got a fresh set at once.
    pub fresh: u64,
    /// Requests that got an older set, because a fresher one would have taken long.
    pub older: u64,
    /// Requests that waited for a call.
    pub waited: u64,
    /// Requests that got nothing, because no call was possible or would have taken too long.
    pub turned_away: u64,
    /// Calls ahead of their time.
    pub ahead: u64,
    /// Keys that were forgotten to make room.
    pub evicted: u64,
}

/// One region as it is reported.
#[derive(Debug, Clone, PartialEq)]
pub struct RegionReport {
    /// Its calls.
    pub tally: Tally,
    /// How many calls may begin in a second now.
    pub rate: f64,
    /// Why it is not used, if it is not.
    pub trouble: Option<String>,
}

/// The desk. `K`: the key, `O`: whose it is, `S`: a set.
#[derive(Debug)]
pub(super) struct Desk<K, O, S> {
    bounds: Bounds,
    entries: HashMap<Arc<K>, Entry<O, S>>,
    agenda: Agenda<K>,
    queue: Queue<O, Arc<K>>,
    /// Calls that failed and go to the next region that there is, before all others.
    again: VecDeque<Arc<K>>,
    places: Vec<Place>,
    /// Why no call can be made anywhere.
    blocked: Option<Arc<str>>,
    counts: Counts,
}

impl<K: Eq + Hash, O: Clone + Eq + Hash, S: Clone> Desk<K, O, S> {
    /// A desk for so many regions.
    pub(super) fn new(bounds: Bounds, regions: usize, now: Moment, random: fastrand::Rng) -> Self {
        let place = |_| Place {
            region: Region::new(bounds.rate, now.boot),
            tally: Tally::default(),
            recent: Recent::default(),
            trouble: None,
        };
        Self {
            bounds,
            entries: HashMap::new(),
            agenda: Agenda::new(random),
            queue: Queue::new(),
            again: VecDeque::new(),
            places: (0..regions).map(place).collect(),
            blocked: None,
            counts: Counts::default(),
        }
    }

    /// From now on no call can be made, for this reason; or calls can be made again.
    pub(super) fn block(&mut self, why: Option<&str>) {
        self.blocked = why.map(Into::into);
    }

    /// Why STS cannot be used, if it cannot.
    pub(super) fn down(&self) -> Option<Arc<str>> {
        if self.blocked.is_some() {
            return self.blocked.clone();
        }
        let open = self.places.iter().any(|place| place.region.is_open());
        let why = || self.places.iter().find_map(|place| place.trouble.clone());
        (!open).then(|| why().unwrap_or_else(|| "no region works".into()))
    }

    /// Nothing is made ahead for this key: what was made for an emergency is not asked for again, and
    /// what was approved may be revoked.
    pub(super) fn expect_no_return(&mut self, key: &K) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.expect_no_return();
        }
    }

    /// The set of a key, if there is one: it may have been made meanwhile, or be all that there is.
    pub(super) fn held(&self, key: &K, now: Moment) -> Option<S> {
        let held = self.entries.get(key)?.held.as_ref()?;
        (!held.rest(now).is_zero()).then(|| held.set.clone())
    }

    /// How many keys are remembered, and how many calls wait.
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.queue.len() + self.again.len())
    }

    /// What was counted.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Each region.
    pub(super) fn regions(&self) -> Vec<RegionReport> {
        let report = |place: &Place| RegionReport {
            tally: place.tally,
            rate: place.region.rate(),
            trouble: place.trouble.as_deref().filter(|_| !place.region.is_open()).map(str::to_owned),
        };
        self.places.iter().map(report).collect()
    }

    /// What came of the calls to each region in the last hours.
    pub(super) fn history(&self, now: Timestamp) -> Vec<History> {
        self.places.iter().map(|place| place.recent.pieces(now)).collect()
    }

    /// A client of `owner` asks for the set of `key`.
    pub(super) fn ask(&mut self, key: K, owner: &O, now: Moment) -> Ask<K, S> {
        let key = self.remember(key, owner, now);
        let down = self.down();
        let Some(entry) = self.entries.get_mut(&key) else { return Ask::No(self.turn_away(None, now, owner)) };
        entry.used(now, &mut self.agenda);
        let Some(held) = entry.held.clone().filter(|held| !held.rest(now).is_zero()) else {
            entry.held = None;
            return self.bare(key, owner, down, now);
        };
        if held.is_fresh(now) {
            entry.hand_out(&key, now, &mut self.agenda);
            self.counts.fresh += 1;
            return Ask::Ready(held.set);
        }
        entry.came_back(now);
        let decent = held.is_decent(now);
        let (urgency, limit) = if decent { (Urgency::Stale, QUICK) } else { (Urgency::Bare, self.bounds.patience) };
        let due = entry.barred(now).is_none() && self.request(&key, urgency);
        if due && down.is_none() && self.estimate(urgency, owner) <= limit {
            return self.wait(key, Some(held.set));
        }
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.handed = true;
        }
        self.counts.older += 1;
        Ask::Ready(held.set)
    }

    /// The client has nothing that it could use.
    fn bare(&mut self, key: Arc<K>, owner: &O, down: Option<Arc<str>>, now: Moment) -> Ask<K, S> {
        if let Some((bad, again)) = self.entries.get(&key).and_then(|entry| entry.barred(now)) {
            let (why, again) = (bad.why.to_string(), again.max(AGAIN[0]));
            let trouble =
                if bad.refused { Trouble::Refused { why, again } } else { Trouble::Unavailable { why, again } };
            self.counts.turned_away += 1;
            return Ask::No(trouble);
        }
        let queued = self.request(&key, Urgency::Bare);
        let fits = queued && down.is_none() && self.estimate(Urgency::Bare, owner) <= self.bounds.patience;
        if fits { self.wait(key, None) } else { Ask::No(self.turn_away(down, now, owner)) }
    }

    fn wait(&mut self, key: Arc<K>, held: Option<S>) -> Ask<K, S> {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.waiting += 1;
        }
        self.counts.waited += 1;
        Ask::Wait(key, held)
    }

    fn turn_away(&mut self, down: Option<Arc<str>>, now: Moment, owner: &O) -> Trouble {
        self.counts.turned_away += 1;
        let estimate = self.estimate(Urgency::Bare, owner);
        let again = match &down {
            Some(_) => self.places.iter().map(|place| place.region.reopens(now.boot)).min().unwrap_or_default(),
            None => Duration::ZERO,
        };
        let [least, most] = AGAIN;
        let again = (again + estimate.min(most)).clamp(least, most);
        let busy = || format!("{} calls to STS wait for their turn", self.queue.len());
        Trouble::Unavailable { why: down.map_or_else(busy, |why| why.to_string()), again }
    }

    /// When a call that is queued now begins.
    fn estimate(&self, urgency: Urgency, owner: &O) -> Duration {
        let open = self.places.iter().filter(|place| place.region.is_open());
        let rate: f64 = open.map(|place| place.region.rate()).sum();
        let before = self.queue.before(urgency, owner) + self.again.len();
        let seconds = f64::from(u32::try_from(before).unwrap_or(u32::MAX)) / rate.max(0.1);
        Duration::from_secs_f64(seconds)
    }

    /// Finds a key, or makes room for it, if there can be any.
    fn remember(&mut self, key: K, owner: &O, now: Moment) -> Arc<K> {
        if let Some((key, _)) = self.entries.get_key_value(&key) {
            return Arc::clone(key);
        }
        let key = Arc::new(key);
        if self.entries.len() >= self.bounds.capacity && !self.evict() {
            return key;
        }
        let entry = Entry::new(&key, owner.clone(), now, &mut self.agenda);
        self.entries.insert(Arc::clone(&key), entry);
        key
    }

    /// Forgets the key that was not used for longest, of those that nothing is under way for. `false`: there is none.
    fn evict(&mut self) -> bool {
        let idle = |key: &&Arc<K>| {
            let under_way =
                |entry: &Entry<O, S>| matches!(entry.stage, Stage::Running { .. } | Stage::Again) || entry.waiting > 0;
            !self.entries.get(*key).is_some_and(under_way)
        };
        let Some(key) = self.agenda.uses.values().take(MOST_LOOKED_AT).find(idle).cloned() else { return false };
        self.counts.evicted += 1;
        self.forget(&key);
        true
    }

    fn forget(&mut self, key: &Arc<K>) {
        if let Some(mut entry) = self.entries.remove(key) {
            entry.leave(&mut self.agenda);
        }
    }

    /// Has a call for the key queued, so urgently at least. `false`: there are too many.
    fn request(&mut self, key: &Arc<K>, urgency: Urgency) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        match entry.stage {
            Stage::Running { .. } | Stage::Again => return true,
            Stage::Queued(queued) if queued <= urgency => return true,
            Stage::Queued(_) | Stage::Idle => {}
        }
        if self.queue.len() >= MOST_WAITING || self.queue.of(&entry.owner) >= MOST_OF_ONE {
            return false;
        }
        entry.stage = Stage::Queued(urgency);
        entry.attempts = 0;
        self.queue.push(urgency, &entry.owner, Arc::clone(key));
        true
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
