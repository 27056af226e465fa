//! What happened in the last hours to each role and each source, for a page that shows it. It is kept only where there is such
//! a page, and bounded: [`MOST`] entries of 16 bytes each, so that a thousand roles have 1 MB at most.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use jiff::Timestamp;

use super::lock;
use crate::credentials::RoleId;

/// How far back it goes.
pub const REMEMBERED: Duration = Duration::from_hours(6);
/// How much is remembered of one role. Credentials that live for an hour come 18 times in six hours.
const MOST: usize = 64;

/// Something that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// A set came.
    Set {
        /// When.
        at: Timestamp,
        /// When AWS begins to refuse it.
        end: Timestamp,
        /// When the next one was to be fetched, at the latest.
        again: Timestamp,
    },
    /// The same came of several calls in a row.
    Calls(Calls),
}

/// Calls of which the same came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calls {
    /// What.
    pub outcome: Outcome,
    /// When the first one ended.
    pub from: Timestamp,
    /// When the last one ended.
    pub to: Timestamp,
    /// How many there were.
    pub times: u16,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer. That of a role is a [set](Happening::Set).
    Answer,
    /// Nothing: a time-out, a reset, 5xx, garbage.
    Failure,
    /// A no.
    Refusal,
}

/// The same in 16 bytes.
#[derive(Debug, Clone, Copy)]
enum Packed {
    Set { at: u32, end: u32, again: u32 },
    Calls { outcome: Outcome, times: u16, from: u32, to: u32 },
}

/// What happened.
#[derive(Debug, Default)]
pub(super) struct History {
    roles: Mutex<HashMap<RoleId, Ring>>,
    sources: Mutex<BTreeMap<Arc<str>, Source>>,
}

#[derive(Debug, Default)]
struct Source {
    ring: Ring,
    failure: Option<(Timestamp, Box<str>)>,
}

/// How a source has been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceHistory {
    /// Its name.
    pub source: Arc<str>,
    /// What came of its calls, the oldest first.
    pub calls: Vec<Calls>,
    /// The last call that failed or was refused, and why.
    pub failure: Option<(Timestamp, Box<str>)>,
}

impl History {
    pub(super) fn set(&self, id: &RoleId, at: Timestamp, end: Timestamp, again: Timestamp) {
        let set = Packed::Set { at: pack(at), end: pack(end), again: pack(again) };
        lock(&self.roles).entry(id.clone()).or_default().push(set, at);
    }

    pub(super) fn failed(&self, id: &RoleId, at: Timestamp, refused: bool) {
        let outcome = if refused { Outcome::Refusal } else { Outcome::Failure };
        lock(&self.roles).entry(id.clone()).or_default().call(outcome, at);
    }

    pub(super) fn called(&self, source: &Arc<str>, at: Timestamp, outcome: Outcome, failure: Option<&str>) {
        let mut sources = lock(&self.sources);
        let known = sources.entry(Arc::clone(source)).or_default();
        known.ring.call(outcome, at);
        if let Some(message) = failure {
            known.failure = Some((at, message.into()));
        }
    }

    pub(super) fn of(&self, id: &str) -> Vec<Happening> {
        lock(&self.roles)
            .get(id)
            .map(|ring| ring.0.iter().map(|packed| packed.unpacked()).collect())
            .unwrap_or_default()
    }

    /// The sources that were called in the last hours.
    pub(super) fn sources(&self, now: Timestamp) -> Vec<SourceHistory> {
        let mut sources = lock(&self.sources);
        sources.retain(|_, known| known.ring.0.back().is_some_and(|last| !last.is_over(now)));
        let one = |(source, known): (&Arc<str>, &Source)| SourceHistory {
            source: Arc::clone(source),
            calls: known.ring.0.iter().filter_map(|packed| packed.calls()).collect(),
            failure: known.failure.clone(),
        };
        sources.iter().map(one).collect()
    }

    pub(super) fn forget(&self, id: &str) {
        lock(&self.roles).remove(id);
    }

    pub(super) fn retain(&self, keep: impl Fn(&str) -> bool) {
        lock(&self.roles).retain(|id, _| keep(id.as_str()));
    }
}

#[derive(Debug, Default)]
struct Ring(VecDeque<Packed>);

impl Ring {
    fn call(&mut self, now: Outcome, at: Timestamp) {
        if let Some(Packed::Calls { outcome, times, to, .. }) = self.0.back_mut()
            && *outcome == now
        {
            (*times, *to) = (times.saturating_add(1), pack(at));
            return;
        }
        self.push(Packed::Calls { outcome: now, times: 1, from: pack(at), to: pack(at) }, at);
    }

    fn push(&mut self, packed: Packed, now: Timestamp) {
        while self.0.len() >= MOST || self.0.front().is_some_and(|first| first.is_over(now)) {
            self.0.pop_front();
        }
        self.0.push_back(packed);
    }
}

impl Packed {
    /// Whether nothing of it is in the last hours.
    fn is_over(&self, now: Timestamp) -> bool {
        let last = match self {
            Self::Set { at, end, .. } => *at.max(end),
            Self::Calls { to, .. } => *to,
        };
        pack(now).saturating_sub(last) > u32::try_from(REMEMBERED.as_secs()).unwrap_or(u32::MAX)
    }

    fn calls(self) -> Option<Calls> {
        match self {
            Self::Set { .. } => None,
            Self::Calls { outcome, times, from, to } => {
                Some(Calls { outcome, from: unpack(from), to: unpack(to), times })
            }
        }
    }

    fn unpacked(self) -> Happening {
        match self {
            Self::Set { at, end, again } => Happening::Set { at: unpack(at), end: unpack(end), again: unpack(again) },
            Self::Calls { outcome, times, from, to } => {
                Happening::Calls(Calls { outcome, from: unpack(from), to: unpack(to), times })
            }
        }
    }
}

/// Whole seconds, which end in the year 2106; what is later is then.
fn pack(time: Timestamp) -> u32 {
    u32::try_from(time.as_second().max(0)).unwrap_or(u32::MAX)
}

fn unpack(seconds: u32) -> Timestamp {
    Timestamp::from_second(seconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_428_000 + second).expect("in range")
    }

    fn id(name: &str) -> RoleId {
        RoleId::named(&name.parse().expect("a name"))
    }

    #[test]
    fn calls_of_which_the_same_came_are_one_entry() {
        let history = History::default();
        history.set(&id("web"), at(0), at(3600), at(1200));
        for (second, refused) in [(1200, false), (1210, false), (1230, true), (1300, true)] {
            history.failed(&id("web"), at(second), refused);
        }
        let calls = |outcome, from, to| Happening::Calls(Calls { outcome, from: at(from), to: at(to), times: 2 });
        let expected = [
            Happening::Set { at: at(0), end: at(3600), again: at(1200) },
            calls(Outcome::Failure, 1200, 1210),
            calls(Outcome::Refusal, 1230, 1300),
        ];
        assert_eq!(history.of("web"), expected);
        history.retain(|id| id != "web");
        assert_eq!(history.of("web"), []);
    }

    #[test]
    fn it_is_bounded_in_time_and_in_memory() {
        assert_eq!(size_of::<Packed>(), 16);
        let history = History::default();
        for minute in 0..1000 {
            history.set(&id("web"), at(minute * 60), at(minute * 60 + 900), at(minute * 60 + 300));
        }
        assert_eq!(history.of("web").len(), MOST);
        assert!(lock(&history.roles)["web"].0.capacity() <= MOST);
        history.set(&id("web"), at(100_000), at(100_900), at(100_300));
        assert_eq!(history.of("web").len(), 1, "what ended more than six hours ago is forgotten");
        history.failed(&id("odd"), Timestamp::MAX, false);
        history.failed(&id("odd"), Timestamp::MIN, true);
        assert_eq!(history.of("odd").len(), 2);
    }

    #[test]
    fn a_source_is_shown_while_it_is_called_with_its_last_failure() {
        let (history, ims) = (History::default(), Arc::<str>::from("ims"));
        history.called(&ims, at(0), Outcome::Failure, Some("down"));
        history.called(&ims, at(60), Outcome::Answer, None);
        let [shown] = &*history.sources(at(61)) else { panic!("one source") };
        assert_eq!((&*shown.source, shown.calls.len()), ("ims", 2));
        assert_eq!(shown.failure, Some((at(0), "down".into())));
        assert_eq!(history.sources(at(7 * 3600)), []);
    }
}
