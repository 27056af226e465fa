//! Which call begins, and what follows from its end.

use std::{hash::Hash, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Desk, Held, Trouble, entry::Stage, queue::Urgency};
use crate::clock::Moment;

/// A call is begun at most so often before its clients are told that there is nothing.
const ATTEMPTS: u32 = 3;

/// A call that begins now.
#[derive(Debug)]
pub(in crate::sts) struct Job<K> {
    /// What for.
    pub(in crate::sts) key: Arc<K>,
    /// In which region.
    pub(in crate::sts) region: usize,
}

/// How a call ended.
#[derive(Debug)]
pub(in crate::sts) enum Outcome<S> {
    /// With a set, which ends then.
    Made(S, Timestamp),
    /// AWS refuses this.
    Refused(String),
    /// AWS gets too many calls.
    Throttled(String),
    /// The region, or the way to it, is broken.
    Failed(String),
    /// The answer makes no sense, though the region works.
    Odd(String),
    /// The credentials that sign the call do not work.
    Unsigned(String),
}

impl<K: Eq + Hash, O: Clone + Eq + Hash, S: Clone> Desk<K, O, S> {
    /// The next call that may begin; or after how long to look again, if nothing else happens before.
    pub(in crate::sts) fn next(&mut self, now: Moment) -> Result<Job<K>, Duration> {
        while let Some(key) = self.agenda.due(now.boot) {
            self.look_at(&key, now);
        }
        loop {
            let waiting = if self.again.is_empty() { self.queue.first() } else { Some(Urgency::Bare) };
            let Some(urgency) = waiting.filter(|_| self.blocked.is_none()) else { return Err(self.pause(now, None)) };
            let hurry = urgency != Urgency::Ahead;
            let Some(region) = self.places.iter_mut().position(|place| place.region.take(now.boot, hurry)) else {
                return Err(self.pause(now, Some(hurry)));
            };
            if let Some(key) = self.begin(urgency) {
                return Ok(Job { key, region });
            }
            // All that waited had been done, or forgotten, meanwhile.
            if let Some(place) = self.places.get_mut(region) {
                place.region.unsent();
            }
        }
    }

    /// Takes the next out of the queue; `None` if what is in it is not wanted any more.
    fn begin(&mut self, least: Urgency) -> Option<Arc<K>> {
        while let Some(key) = self.again.pop_front() {
            if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.stage == Stage::Again) {
                entry.stage = Stage::Running { ahead: false };
                entry.attempts += 1;
                return Some(key);
            }
        }
        while let Some((urgency, key)) = self.queue.pop(least) {
            if let Some(entry) = self.entries.get_mut(&key).filter(|entry| entry.stage == Stage::Queued(urgency)) {
                let ahead = urgency == Urgency::Ahead;
                entry.stage = Stage::Running { ahead };
                entry.attempts += 1;
                self.counts.ahead += u64::from(ahead);
                return Some(key);
            }
        }
        None
    }

    fn pause(&self, now: Moment, hurry: Option<bool>) -> Duration {
        let event = self.agenda.next().map(|at| at.since(now.boot));
        let token =
            hurry.and_then(|hurry| self.places.iter().filter_map(|place| place.region.pause(now.boot, hurry)).min());
        event.into_iter().chain(token).min().unwrap_or(Duration::MAX)
    }

    /// It is time to make a set ahead, or to forget the key.
    fn look_at(&mut self, key: &Arc<K>, now: Moment) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let ahead = entry.event.is_some_and(|event| event.ahead);
        if !ahead && entry.stage == Stage::Idle && entry.forgotten() <= now.boot {
            return self.forget(key);
        }
        entry.forget_later(key, now, &mut self.agenda);
        if ahead && entry.held.is_some() && entry.forgotten() > now.boot {
            self.request(key, Urgency::Ahead);
        }
    }

    /// A call has ended. What its clients get; `None` if it is repeated.
    pub(in crate::sts) fn finished(
        &mut self,
        key: &Arc<K>,
        region: usize,
        outcome: Outcome<S>,
        now: Moment,
    ) -> Option<Result<S, Trouble>> {
        self.note(region, &outcome, now);
        match outcome {
            Outcome::Made(set, expiration) => {
                self.made(key, set.clone(), expiration, now);
                Some(Ok(set))
            }
            Outcome::Refused(why) => Some(Err(self.failed(key, why, true, now))),
            Outcome::Odd(why) => Some(Err(self.failed(key, why, false, now))),
            Outcome::Unsigned(why) => {
                self.block(Some(&why));
                self.repeat(key);
                None
            }
            Outcome::Throttled(why) | Outcome::Failed(why) => {
                let attempts = self.entries.get(key).map_or(ATTEMPTS, |entry| entry.attempts);
                if attempts < ATTEMPTS {
                    self.repeat(key);
                    return None;
                }
                Some(Err(self.failed(key, why, false, now)))
            }
        }
    }

    /// What an end says of the region.
    fn note(&mut self, region: usize, outcome: &Outcome<S>, now: Moment) {
        let Some(place) = self.places.get_mut(region) else { return };
        let tally = &mut place.tally;
        // As in `ENDS`.
        let end = match outcome {
            Outcome::Made(..) => 0,
            Outcome::Refused(_) => 1,
            Outcome::Throttled(_) => 2,
            Outcome::Odd(_) | Outcome::Unsigned(_) | Outcome::Failed(_) => 3,
        };
        place.recent.count(now.wall, end);
        match outcome {
            Outcome::Made(..) => {
                tally.made += 1;
                place.region.answered();
                place.trouble = None;
            }
            Outcome::Refused(_) => {
                tally.refused += 1;
                place.region.answered();
            }
            Outcome::Odd(_) | Outcome::Unsigned(_) => {
                tally.failed += 1;
                place.region.answered();
            }
            Outcome::Throttled(why) => {
                tally.throttled += 1;
                place.region.throttled(now.boot);
                place.trouble = Some(why.as_str().into());
            }
            Outcome::Failed(why) => {
                tally.failed += 1;
                place.region.failed(now.boot, self.agenda.random.f64());
                place.trouble = Some(why.as_str().into());
            }
        }
    }

    fn repeat(&mut self, key: &Arc<K>) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.stage = Stage::Again;
            self.again.push_back(Arc::clone(key));
        }
    }

    fn made(&mut self, key: &Arc<K>, set: S, expiration: Timestamp, now: Moment) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.held = Some(Held::new(set, now, expiration));
        entry.stage = Stage::Idle;
        (entry.bad, entry.failures, entry.attempts) = (None, 0, 0);
        entry.handed = false;
        entry.forget_later(key, now, &mut self.agenda);
        if std::mem::take(&mut entry.waiting) > 0 {
            entry.hand_out(key, now, &mut self.agenda);
        }
    }

    fn failed(&mut self, key: &Arc<K>, why: String, refused: bool, now: Moment) -> Trouble {
        let random = self.agenda.random.f64();
        let mut again = Duration::from_secs(1);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.stage = Stage::Idle;
            entry.waiting = 0;
            again = entry.fail(&why, refused, now, random).max(again);
            if entry.held.as_ref().is_some_and(|held| !held.rest(now).is_zero()) && entry.handed {
                entry.try_later(key, now, again, &mut self.agenda);
            }
        }
        if refused { Trouble::Refused { why, again } } else { Trouble::Unavailable { why, again } }
    }
}
