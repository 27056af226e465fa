//! What is remembered of one key, and when it is looked at again. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{age::Held, calendar::Calendar, queue::Urgency};
use crate::clock::{BootTime, Moment};

/// So long a key is remembered for which there is no set.
const REMEMBERED: Duration = Duration::from_hours(1);
/// The wait after a failed call doubles up to this.
const LONGEST_WAIT: Duration = Duration::from_mins(1);
/// A refusal is believed for this long: a person has to change something.
const REFUSED: Duration = Duration::from_mins(1);
/// A key that cannot be forgotten yet is looked at again after this.
const LOOK_PAUSE: Duration = Duration::from_mins(1);
/// How often in a row a client has to come back in time before sets are made ahead again.
const TRUSTED: u8 = 2;

/// Where the call for a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// None is due.
    Idle,
    /// It waits for its turn.
    Queued(Urgency),
    /// It failed, and is repeated before all others.
    Again,
    /// It runs; for a client, or ahead of its time.
    Running {
        /// No client has asked for it.
        ahead: bool,
    },
}

/// Why there was no set, and until when it is not asked for.
#[derive(Debug, Clone)]
pub(super) struct Bad {
    pub(super) why: Arc<str>,
    pub(super) refused: bool,
    pub(super) until: BootTime,
}

/// One key.
#[derive(Debug)]
pub(super) struct Entry<O, S> {
    pub(super) owner: O,
    pub(super) held: Option<Held<S>>,
    pub(super) stage: Stage,
    pub(super) bad: Option<Bad>,
    pub(super) failures: u32,
    /// How often the present call was begun.
    pub(super) attempts: u32,
    /// How many clients wait for the present call.
    pub(super) waiting: usize,
    /// Whether a client has had the set that is held.
    pub(super) handed: bool,
    /// A set was made ahead and no client came for it.
    missed: bool,
    timely: u8,
    pub(super) last_used: BootTime,
    /// Its place among all, by last use.
    pub(super) turn: u64,
    pub(super) event: Option<Event>,
}

/// When it is looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) at: BootTime,
    number: u64,
    /// To make a set ahead; otherwise to forget it.
    pub(super) ahead: bool,
}

/// What all entries share: the order of their use, and when each is looked at.
#[derive(Debug)]
pub(super) struct Agenda<K> {
    pub(super) uses: BTreeMap<u64, Arc<K>>,
    events: BTreeMap<(BootTime, u64), Arc<K>>,
    calendar: Calendar,
    pub(super) random: fastrand::Rng,
    numbers: u64,
}

impl<K> Agenda<K> {
    pub(super) fn new(random: fastrand::Rng) -> Self {
        let calendar = Calendar::default();
        Self { uses: BTreeMap::new(), events: BTreeMap::new(), calendar, random, numbers: 0 }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// The next that is due at `now`, if one is.
    pub(super) fn due(&mut self, now: BootTime) -> Option<Arc<K>> {
        self.events.first_key_value().filter(|((at, _), _)| *at <= now)?;
        self.events.pop_first().map(|(_, key)| key)
    }

    /// When the next is due.
    pub(super) fn next(&self) -> Option<BootTime> {
        self.events.first_key_value().map(|((at, _), _)| *at)
    }
}

impl<O, S> Entry<O, S> {
    pub(super) fn new<K>(key: &Arc<K>, owner: O, now: Moment, agenda: &mut Agenda<K>) -> Self {
        let mut entry = Self {
            owner,
            held: None,
            stage: Stage::Idle,
            bad: None,
            failures: 0,
            attempts: 0,
            waiting: 0,
            handed: false,
            missed: false,
            timely: 0,
            last_used: now.boot,
            turn: agenda.number(),
            event: None,
        };
        agenda.uses.insert(entry.turn, Arc::clone(key));
        entry.forget_later(key, now, agenda);
        entry
    }

    /// A client asks for it.
    pub(super) fn used<K>(&mut self, now: Moment, agenda: &mut Agenda<K>) {
        self.last_used = now.boot;
        if let Some(key) = agenda.uses.remove(&self.turn) {
            self.turn = agenda.number();
            agenda.uses.insert(self.turn, key);
        }
    }

    /// It is about to be removed.
    pub(super) fn leave<K>(&mut self, agenda: &mut Agenda<K>) {
        agenda.uses.remove(&self.turn);
        self.plan(None, agenda);
    }

    fn plan<K>(&mut self, event: Option<(Event, &Arc<K>)>, agenda: &mut Agenda<K>) {
        if let Some(old) = self.event.take() {
            agenda.events.remove(&(old.at, old.number));
            if old.ahead {
                agenda.calendar.leave(old.at);
            }
        }
        if let Some((event, key)) = event {
            agenda.events.insert((event.at, event.number), Arc::clone(key));
            self.event = Some(event);
        }
    }

    /// No client comes back for it.
    pub(super) fn expect_no_return(&mut self) {
        (self.missed, self.timely) = (true, 0);
    }

    /// A client gets what is held: when to renew it, so that it finds a fresh one the next time.
    pub(super) fn hand_out<K>(&mut self, key: &Arc<K>, now: Moment, agenda: &mut Agenda<K>) {
        self.handed = true;
        let planned = self.event.is_some_and(|event| event.ahead);
        let window = self.held.as_ref().and_then(|held| held.renewal(now));
        let Some((earliest, latest)) = window.filter(|_| !planned && !self.missed) else { return };
        let random = agenda.random.f64();
        let at = agenda.calendar.place(now.boot + earliest, now.boot + latest, random);
        let event = Event { at, number: agenda.number(), ahead: true };
        self.plan(Some((event, key)), agenda);
    }

    /// A set ahead could not be made: when to try again.
    pub(super) fn try_later<K>(&mut self, key: &Arc<K>, now: Moment, wait: Duration, agenda: &mut Agenda<K>) {
        let at = agenda.calendar.place(now.boot + wait, now.boot + wait * 2, agenda.random.f64());
        let event = Event { at, number: agenda.number(), ahead: true };
        self.plan(Some((event, key)), agenda);
    }

    /// It is looked at again when it has not been used for one life.
    pub(super) fn forget_later<K>(&mut self, key: &Arc<K>, now: Moment, agenda: &mut Agenda<K>) {
        // What is under way then is looked at once more, and not without pause.
        let at = self.forgotten().max(now.boot + LOOK_PAUSE);
        let event = Event { at, number: agenda.number(), ahead: false };
        self.plan(Some((event, key)), agenda);
    }

    /// When it is forgotten, unless it is used before.
    pub(super) fn forgotten(&self) -> BootTime {
        self.last_used + self.held.as_ref().map_or(REMEMBERED, |held| held.life().max(Duration::from_secs(1)))
    }

    /// A client comes for a set that is no longer fresh. Whether clients come back here, and for what was made ahead, is
    /// what decides whether sets are made ahead: behind a load balancer they may come back to another replica.
    pub(super) fn came_back(&mut self, now: Moment) {
        let Some(held) = &self.held else { return };
        if !self.handed {
            (self.missed, self.timely) = (true, 0);
            return;
        }
        self.timely = if held.is_timely(now) { self.timely.saturating_add(1) } else { 0 };
        if self.timely >= TRUSTED {
            self.missed = false;
        }
    }

    /// Nothing came of a call, for this reason.
    pub(super) fn fail(&mut self, why: &str, refused: bool, now: Moment, random: f64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let usual = || Duration::from_secs(1 << (self.failures - 1).min(6)).min(LONGEST_WAIT);
        let wait = if refused { REFUSED } else { usual() }.mul_f64(0.75 + random / 2.0);
        self.bad = Some(Bad { why: why.into(), refused, until: now.boot + wait });
        wait
    }

    /// Why it is not asked for at the moment, and for how long.
    pub(super) fn barred(&self, now: Moment) -> Option<(&Bad, Duration)> {
        let bad = self.bad.as_ref()?;
        let left = bad.until.since(now.boot);
        (!left.is_zero()).then_some((bad, left))
    }
}
