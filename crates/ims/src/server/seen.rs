//! What the status page remembers of the last hours, bounded: how requests ended, and only where it is wanted who asked, and
//! what was refused. Pure.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use super::counters::{Ending, WORDS};
use crate::{identity::Identity, open_metrics::Recent, rules::Grant, text::printable};

/// How many hosts and people are remembered: those that asked last.
const MOST_CALLERS: usize = 500;
/// How many refusals and emergencies.
const MOST_EVENTS: usize = 30;
/// How many rules. A configuration seldom has more.
const MOST_RULES: usize = 500;
/// How much of a name is kept, and of a reason.
const NAME: usize = 120;
const REASON: usize = 240;

/// What is remembered.
#[derive(Debug)]
pub(super) struct Seen {
    /// Whether hosts and people are remembered by name.
    callers: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How often requests ended in which way.
    endings: Recent<{ WORDS.len() }>,
    rules: BTreeMap<Box<str>, u64>,
    callers: HashMap<Box<str>, Caller>,
    refusals: VecDeque<Event>,
    emergencies: VecDeque<Event>,
}

/// A host or a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// How it proved that.
    pub(super) method: &'static str,
    /// When it asked last.
    pub(super) last: Timestamp,
    /// How often it got credentials.
    pub(super) handed_out: u64,
    /// How often it was denied something.
    pub(super) denied: u64,
}

/// A refusal, or an emergency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// When.
    pub(super) at: Timestamp,
    /// By whom, where that is remembered.
    pub(super) who: Option<Box<str>>,
    /// Of what, by which rule, and why.
    pub(super) what: Box<str>,
}

/// A request that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) at: Timestamp,
    pub(super) ending: Ending,
    pub(super) identity: Option<&'a Identity>,
    pub(super) grant: Option<&'a Grant>,
    pub(super) reason: Option<&'a str>,
}

impl Seen {
    /// Nothing yet. `callers`: whether hosts and people are remembered by name.
    pub(super) fn new(callers: bool) -> Self {
        Self { callers, state: Mutex::default() }
    }

    /// Whether hosts and people are remembered by name.
    pub(super) fn has_callers(&self) -> bool {
        self.callers
    }

    /// A request was answered.
    pub(super) fn note(&self, request: Request<'_>) {
        let mut state = self.state();
        state.endings.count(request.at, request.ending as usize);
        if let (Ending::HandedOut, Some(grant)) = (request.ending, request.grant) {
            state.by_rule(grant);
            if grant.emergency.is_some() {
                let who = request.identity.filter(|_| self.callers).map(name_of);
                let what = format!("{} by rule {}", grant.label(), grant.rule).into();
                push(&mut state.emergencies, Event { at: request.at, who, what });
            }
        }
        if !self.callers {
            return;
        }
        if let Some(identity) = request.identity {
            state.by_caller(identity, request.at, request.ending);
        }
        if let (Ending::Denied | Ending::Unproven | Ending::Unavailable, Some(reason)) =
            (request.ending, request.reason)
        {
            let who = request.identity.map(name_of);
            push(&mut state.refusals, Event { at: request.at, who, what: printable(reason, REASON).into() });
        }
    }

    /// How requests ended in each piece of time of the last hours, the oldest first.
    pub(super) fn pieces(&self, now: Timestamp) -> Vec<(Timestamp, [u64; WORDS.len()])> {
        self.state().endings.pieces(now)
    }

    /// How often each rule has given credentials.
    pub(super) fn rules(&self) -> Vec<(Box<str>, u64)> {
        self.state().rules.iter().map(|(rule, count)| (rule.clone(), *count)).collect()
    }

    /// The hosts and people, those that asked last first.
    pub(super) fn callers(&self) -> Vec<(Box<str>, Caller)> {
        let mut callers: Vec<_> =
            self.state().callers.iter().map(|(name, caller)| (name.clone(), caller.clone())).collect();
        callers.sort_by(|(name, one), (other_name, other)| (other.last, name).cmp(&(one.last, other_name)));
        callers
    }

    /// The last refusals, the newest first.
    pub(super) fn refusals(&self) -> Vec<Event> {
        self.state().refusals.iter().rev().cloned().collect()
    }

    /// The last emergencies, the newest first.
    pub(super) fn emergencies(&self) -> Vec<Event> {
        self.state().emergencies.iter().rev().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn by_rule(&mut self, grant: &Grant) {
        if let Some(count) = self.rules.get_mut(grant.rule.as_str()) {
            *count += 1;
        } else if self.rules.len() < MOST_RULES {
            self.rules.insert(printable(&grant.rule, NAME).into(), 1);
        }
    }

    fn by_caller(&mut self, identity: &Identity, at: Timestamp, ending: Ending) {
        let name = name_of(identity);
        if !self.callers.contains_key(&name) && self.callers.len() >= MOST_CALLERS {
            let oldest = self.callers.iter().min_by_key(|(_, caller)| caller.last).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.callers.remove(&oldest));
        }
        let new = Caller { method: identity.method, last: at, handed_out: 0, denied: 0 };
        let caller = self.callers.entry(name).or_insert(new);
        (caller.last, caller.method) = (at, identity.method);
        match ending {
            Ending::HandedOut => caller.handed_out += 1,
            Ending::Denied => caller.denied += 1,
            Ending::Answered | Ending::Unproven | Ending::Unavailable | Ending::Unknown => {}
        }
    }
}

fn name_of(identity: &Identity) -> Box<str> {
    printable(&identity.name, NAME).into()
}

fn push(events: &mut VecDeque<Event>, event: Event) {
    if events.len() >= MOST_EVENTS {
        events.pop_front();
    }
    events.push_back(event);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_428_000 + second).expect("in range")
    }

    fn identity(name: &str) -> Identity {
        Identity::new(name, "mtls", "hosts")
    }

    fn request(second: i64, ending: Ending, identity: Option<&Identity>) -> Request<'_> {
        Request { at: at(second), ending, identity, grant: None, reason: Some("because") }
    }

    #[test]
    fn callers_are_remembered_only_where_that_is_wanted() {
        let alice = identity("alice");
        for (wanted, count) in [(false, 0), (true, 1)] {
            let seen = Seen::new(wanted);
            seen.note(request(1, Ending::HandedOut, Some(&alice)));
            seen.note(request(2, Ending::Denied, Some(&alice)));
            assert_eq!((seen.callers().len(), seen.refusals().len()), (count, count));
            let shown = format!("{seen:?}");
            assert_eq!(shown.contains("alice"), wanted, "{shown}");
        }
    }

    #[test]
    fn however_many_ask_the_last_ones_are_remembered() {
        let seen = Seen::new(true);
        for number in 0..2000 {
            seen.note(request(number, Ending::Denied, Some(&identity(&format!("{number}-{}", "x".repeat(500))))));
        }
        let callers = seen.callers();
        assert_eq!((callers.len(), seen.refusals().len()), (MOST_CALLERS, MOST_EVENTS));
        assert!(callers[0].0.starts_with("1999-") && callers[0].0.chars().count() == NAME);
        assert_eq!(seen.refusals()[0].at, at(1999));
    }
}
