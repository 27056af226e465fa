//! What follows from the records that there are. An approval counts only with two of them, the request and the answer, so
//! that no record that is lost, altered or taken away gives anybody anything.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{
    record::{Answer, Id, Record, Request, Word},
    seal::Key,
};
use crate::{
    identity::Identity,
    rules::{Approved, Grant, SHORTEST_SESSION},
};

/// How long a request waits for its answer.
pub const OPEN: Duration = Duration::from_hours(4);
/// How long a request is kept when it is over.
const KEPT: Duration = Duration::from_hours(24);
/// By how much the clocks of replicas may differ.
const SKEW: Duration = Duration::from_mins(1);
/// How many requests may be open, of one person and of all.
const MOST_OPEN: (usize, usize) = (5, 200);
/// How many are kept, of one person and of all: each costs two files.
const MOST_KEPT: (usize, usize) = (50, 2000);

/// A request, with its answer if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The request.
    pub request: Request,
    /// The answer.
    pub answer: Option<Answer>,
}

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It waits for an answer.
    Open,
    /// Nobody has answered in time.
    Lapsed,
    /// The person may have the role.
    Approved,
    /// The approval has ended.
    Ended,
    /// It was refused.
    Refused,
    /// It was revoked.
    Revoked,
}

impl State {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Lapsed => "lapsed",
            Self::Approved => Word::Approved.as_str(),
            Self::Ended => "ended",
            Self::Refused => Word::Refused.as_str(),
            Self::Revoked => Word::Revoked.as_str(),
        }
    }
}

/// A file that does not count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Its name.
    pub file: String,
    /// Why.
    pub problem: String,
}

/// The revocations that were seen: an approval that was put back in their place does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked(BTreeMap<Id, Timestamp>);

impl Revoked {
    /// A revocation was seen: it counts for as long as the approval could have lasted.
    pub fn note(&mut self, revocation: &Answer) {
        self.0.insert(revocation.id.clone(), revocation.until);
    }
}

/// All requests, and what does not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The requests.
    pub entries: BTreeMap<Id, Entry>,
    /// The files that do not count.
    pub faults: Vec<Fault>,
}

impl Entry {
    /// How it stands at `now`.
    pub fn state(&self, now: Timestamp) -> State {
        match &self.answer {
            None if now < later(self.request.at, OPEN) => State::Open,
            None => State::Lapsed,
            Some(Answer { word: Word::Approved, until, .. }) if now < *until => State::Approved,
            Some(Answer { word: Word::Approved, .. }) => State::Ended,
            Some(Answer { word: Word::Refused, .. }) => State::Refused,
            Some(Answer { word: Word::Revoked, .. }) => State::Revoked,
        }
    }

    /// When it is over, or was.
    pub fn end(&self) -> Timestamp {
        match &self.answer {
            None => later(self.request.at, OPEN),
            Some(answer) if answer.word == Word::Approved => answer.until,
            Some(answer) => answer.at,
        }
    }

    /// When the approval ends, if there is one, and the rule now gives approvals of this life.
    fn until(&self, life: Duration, now: Timestamp) -> Option<Timestamp> {
        let answer = self.answer.as_ref().filter(|answer| answer.word == Word::Approved)?;
        let until = answer.until.min(later(answer.at, life));
        (now < until).then_some(until)
    }
}

impl Ledger {
    /// What `files`, names with contents, say at `now`. What was revoked is noted in `revoked`.
    pub fn read<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        key: &Key,
        now: Timestamp,
        revoked: &mut Revoked,
    ) -> Self {
        let mut ledger = Self::default();
        let mut answers = Vec::new();
        for (name, content) in files {
            let read = match name.rsplit_once('.').map(|(_, ending)| ending) {
                Some(Request::ENDING) => current(name, content, key, now).map(|request: Request| {
                    let entry = Entry { request, answer: None };
                    ledger.entries.insert(entry.request.id.clone(), entry);
                }),
                Some(Answer::ENDING) => {
                    current(name, content, key, now).map(|answer: Answer| answers.push((name, answer)))
                }
                _ => Err("it is no record".to_owned()),
            };
            if let Err(problem) = read {
                ledger.faults.push(Fault { file: name.to_owned(), problem });
            }
        }
        for (name, answer) in answers {
            if let Err(problem) = ledger.answered(answer, revoked) {
                ledger.faults.push(Fault { file: name.to_owned(), problem });
            }
        }
        revoked.0.retain(|_, until| *until > now);
        ledger.faults.sort();
        ledger
    }

    fn answered(&mut self, mut answer: Answer, revoked: &mut Revoked) -> Result<(), String> {
        let Some(entry) = self.entries.get_mut(&answer.id) else {
            return Err("it answers a request that is not there".to_owned());
        };
        let at = entry.request.at;
        if answer.word == Word::Approved && !(earlier(at, SKEW)..=later(at, OPEN + SKEW)).contains(&answer.at) {
            return Err("it approves a request that was not open then".to_owned());
        }
        let mut verdict = Ok(());
        if answer.word == Word::Revoked {
            revoked.note(&answer);
        } else if revoked.0.contains_key(&answer.id) {
            answer.word = Word::Revoked;
            verdict = Err("it was put back after the approval had been revoked".to_owned());
        }
        entry.answer = Some(answer);
        verdict
    }

    /// The approval by which `identity` may have the role of `grant`, which lasts for `life` by the rule. It has to last
    /// for a session, so that none outlives it.
    pub fn approval(&self, identity: &Identity, grant: &Grant, life: Duration, now: Timestamp) -> Option<Approved> {
        let approvals = self.of(identity, grant).filter_map(|entry| Some((entry, entry.until(life, now)?)));
        let (entry, until) = approvals.max_by_key(|(_, until)| *until)?;
        let enough = later(now, SHORTEST_SESSION) <= until;
        enough.then(|| Approved { id: entry.request.id.as_str().to_owned(), until })
    }

    /// The requests of `identity` for the role of `grant`.
    fn of(&self, identity: &Identity, grant: &Grant) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(move |Entry { request, .. }| {
            request.by.is(identity) && request.rule == grant.rule && request.arn == grant.arn.as_str()
        })
    }

    /// The newest request of `identity` for the role of `grant`.
    pub fn newest(&self, identity: &Identity, grant: &Grant) -> Option<&Entry> {
        self.of(identity, grant).max_by_key(|entry| entry.request.at)
    }

    /// Why there is no room for another request of `identity`, if there is none.
    pub fn full(&self, identity: &Identity, now: Timestamp) -> Option<&'static str> {
        let counts = |entries: &mut dyn Iterator<Item = &Entry>| {
            let (mut open, mut kept) = (0, 0);
            for entry in entries {
                open += usize::from(entry.state(now) == State::Open);
                kept += 1;
            }
            (open, kept)
        };
        let own = counts(&mut self.entries.values().filter(|entry| entry.request.by.is(identity)));
        let all = counts(&mut self.entries.values());
        if own.0 >= MOST_OPEN.0 {
            Some("you have five open requests already")
        } else if own.1 >= MOST_KEPT.0 {
            Some("you have made fifty requests within a day")
        } else if all.0 >= MOST_OPEN.1 || all.1 >= MOST_KEPT.1 {
            Some("there are too many requests already")
        } else {
            None
        }
    }

    /// The requests that need not be kept any longer.
    pub fn old(&self, now: Timestamp) -> Vec<&Entry> {
        self.entries.values().filter(|entry| later(entry.end(), KEPT) < now).collect()
    }
}

/// A record that is signed, and not from the future.
fn current<R: Record>(name: &str, content: &[u8], key: &Key, now: Timestamp) -> Result<R, String> {
    let record = R::open(name, content, key)?;
    if record.at() > later(now, SKEW) {
        return Err(format!("it is from the future ({}): a clock is wrong", record.at()));
    }
    Ok(record)
}

/// So much later, or at the end of time.
pub(super) fn later(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

fn earlier(time: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| time.checked_sub(by).ok()).unwrap_or(Timestamp::MIN)
}
