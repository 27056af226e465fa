//! What a directory has said of people, and how long that counts. Pure.

use std::{collections::HashMap, time::Duration};

use crate::{clock::BootTime, identity::Person};

/// The most people that are remembered.
const MAX_PEOPLE: usize = 100_000;
/// How long a directory is not asked after it has failed.
const PAUSE: Duration = Duration::from_secs(5);

/// How long something counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// While the directory answers.
    pub(crate) fresh: Duration,
    /// While it does not.
    pub(crate) kept: Duration,
}

/// What is known of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Known {
    /// This, and the directory need not be asked.
    Now(Person),
    /// The directory has to be asked. If it does not answer, this counts.
    Before(Option<Person>),
    /// Nothing that counts, and the directory has just failed for this reason.
    Failed(String),
}

/// What a directory has said.
#[derive(Debug)]
pub(crate) struct Memory {
    life: Life,
    people: HashMap<String, (Person, BootTime)>,
    failed: Option<(String, BootTime)>,
}

impl Memory {
    pub(crate) fn new(life: Life) -> Self {
        Self { life, people: HashMap::new(), failed: None }
    }

    /// The same people, for another life.
    pub(crate) fn living(&self, life: Life) -> Self {
        Self { life, people: self.people.clone(), failed: None }
    }

    /// What is known of the person of this name.
    pub(crate) fn get(&self, name: &str, now: BootTime) -> Known {
        let known = self.people.get(name).map(|(person, since)| (person, now.since(*since)));
        if let Some((person, _)) = known.filter(|(_, age)| *age < self.life.fresh) {
            return Known::Now(person.clone());
        }
        let kept = known.filter(|(_, age)| *age < self.life.kept).map(|(person, _)| person.clone());
        match (&self.failed, kept) {
            (Some((_, at)), Some(person)) if now.since(*at) < PAUSE => Known::Now(person),
            (Some((why, at)), None) if now.since(*at) < PAUSE => Known::Failed(why.clone()),
            (_, kept) => Known::Before(kept),
        }
    }

    /// The directory has said this.
    pub(crate) fn learn(&mut self, name: &str, person: Person, now: BootTime) {
        if self.people.len() >= MAX_PEOPLE && !self.people.contains_key(name) {
            self.people.retain(|_, (_, since)| now.since(*since) < self.life.fresh);
            if self.people.len() >= MAX_PEOPLE {
                // More people within a minute than anything else here could serve.
                self.people.clear();
            }
        }
        self.people.insert(name.to_owned(), (person, now));
    }

    /// Whether the directory has failed, and not answered since.
    pub(crate) fn is_failing(&self) -> bool {
        self.failed.is_some()
    }

    /// The directory answers. Whether it did not before.
    pub(crate) fn works(&mut self) -> bool {
        self.failed.take().is_some()
    }

    /// The directory does not answer, for this reason. Whether that is news.
    pub(crate) fn fails(&mut self, why: &str, now: BootTime) -> bool {
        let before = self.failed.replace((why.to_owned(), now));
        before.is_none_or(|(before, _)| before != why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Life = Life { fresh: Duration::from_mins(1), kept: Duration::from_mins(10) };

    fn at(seconds: u64) -> BootTime {
        BootTime::from_uptime(Duration::from_secs(seconds))
    }

    fn person(group: &str) -> Person {
        Person { groups: vec![group.to_owned()], ..Person::default() }
    }

    #[test]
    fn what_was_said_counts_for_its_life_and_no_longer() {
        let mut memory = Memory::new(LIFE);
        assert_eq!(memory.get("alice", at(0)), Known::Before(None));
        memory.learn("alice", person("ops"), at(0));
        assert_eq!(memory.get("alice", at(59)), Known::Now(person("ops")));
        assert_eq!(memory.get("alice", at(60)), Known::Before(Some(person("ops"))));
        assert_eq!(memory.get("bob", at(0)), Known::Before(None));
        // The directory has the last word.
        memory.learn("alice", Person::default(), at(61));
        assert_eq!(memory.get("alice", at(62)), Known::Now(Person::default()));
    }

    #[test]
    fn in_an_outage_it_is_kept_for_a_time_and_not_asked_for_at_each_request() {
        let mut memory = Memory::new(LIFE);
        memory.learn("alice", person("ops"), at(0));
        assert!(memory.fails("it is gone", at(100)));
        assert!(!memory.fails("it is gone", at(101)) && memory.fails("it is slow", at(102)));
        assert_eq!(memory.get("alice", at(106)), Known::Now(person("ops")));
        assert_eq!(memory.get("bob", at(106)), Known::Failed("it is slow".to_owned()));
        // Then it is tried again.
        assert_eq!(memory.get("alice", at(107)), Known::Before(Some(person("ops"))));
        assert_eq!(memory.get("bob", at(107)), Known::Before(None));
        memory.fails("it is slow", at(599));
        assert_eq!(memory.get("alice", at(599)), Known::Now(person("ops")));
        assert_eq!(memory.get("alice", at(600)), Known::Failed("it is slow".to_owned()));
        assert!(memory.works() && !memory.works());
        assert_eq!(memory.get("alice", at(600)), Known::Before(None));
    }

    #[test]
    fn another_life_counts_from_when_it_was_said() {
        let mut memory = Memory::new(LIFE);
        memory.learn("alice", person("ops"), at(0));
        memory.fails("it is gone", at(100));
        let shorter = memory.living(Life { kept: Duration::from_mins(2), ..LIFE });
        assert_eq!(shorter.get("alice", at(101)), Known::Before(Some(person("ops"))), "it is asked at once");
        assert_eq!(shorter.get("alice", at(120)), Known::Before(None));
        assert_eq!(shorter.get("bob", at(101)), Known::Before(None));
    }

    #[test]
    fn it_does_not_grow_without_an_end() {
        let mut memory = Memory::new(LIFE);
        for number in 0..=MAX_PEOPLE {
            memory.learn(&number.to_string(), Person::default(), at(if number < 10 { 0 } else { 100 }));
        }
        assert!(memory.people.len() <= MAX_PEOPLE);
        assert_eq!(memory.get("5", at(101)), Known::Before(None));
    }
}
