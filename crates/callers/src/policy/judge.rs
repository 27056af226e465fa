//! Finds the rule that applies to a caller. Pure.
//!
//! What is not known is neither true nor false. The first rule of which it is not certain that it does *not* apply ends
//! the search: if it applies, it decides; if that cannot be determined, the caller gets nothing. So a caller cannot
//! get past a rule by hiding its identity.

use std::{net::IpAddr, sync::Arc};

use super::rules::{Condition, Effect, Rule, Rules};
use crate::caller::{
    Known,
    cgroup::Cgroup,
    containers::{Container, ContainerFacts},
};

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It will be known in a moment.
    Pending,
    /// It cannot be determined.
    Unknown,
}

/// What rules ask of a caller. Asked only as far as a rule needs it.
pub trait Facts {
    /// Its address.
    fn address(&self) -> Known<IpAddr>;
    /// Whether it is this user of this host, by name or number.
    fn is_user(&self, user: &str) -> Truth;
    /// Whether it is in this group of this host, by name or number.
    fn is_in_group(&self, group: &str) -> Truth;
    /// Its control group on this host.
    fn cgroup(&self) -> Known<Arc<Cgroup>>;
    /// The container in which it is.
    fn container(&self) -> Known<Arc<Container>>;
}

/// What the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// The number of the rule, from 0; `None` is the default.
    pub rule: Option<usize>,
    /// What the caller gets, or why that is not said.
    pub outcome: Outcome<'a>,
}

/// What comes of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// This.
    Effect(&'a Effect),
    /// Nothing yet: this will be known in a moment.
    Pending(&'a Condition),
    /// Nothing: this cannot be determined.
    Unknown(&'a Condition),
}

/// How one rule looks at a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look<'a> {
    /// Whether it applies.
    pub truth: Truth,
    /// The condition that made it so; none if all hold.
    pub because: Option<&'a Condition>,
}

impl Rules {
    /// What a caller gets.
    pub fn judge(&self, facts: &impl Facts) -> Verdict<'_> {
        for (index, rule) in self.rules.iter().enumerate() {
            let Look { truth, because } = rule.look(facts);
            let outcome = match (truth, because) {
                (Truth::No, _) => continue,
                (Truth::Pending, Some(condition)) => Outcome::Pending(condition),
                (Truth::Unknown, Some(condition)) => Outcome::Unknown(condition),
                (Truth::Yes | Truth::Pending | Truth::Unknown, _) => Outcome::Effect(&rule.effect),
            };
            return Verdict { rule: Some(index), outcome };
        }
        Verdict { rule: None, outcome: Outcome::Effect(&self.default) }
    }
}

impl Rule {
    /// Whether it applies to a caller, and why.
    pub fn look(&self, facts: &impl Facts) -> Look<'_> {
        let when = all(&self.when, facts);
        if when.truth == Truth::No || self.unless.is_empty() {
            return when;
        }
        let unless = all(&self.unless, facts);
        let exception = match unless.truth {
            Truth::Yes => Look { truth: Truth::No, because: self.unless.first() },
            Truth::No => Look { truth: Truth::Yes, because: None },
            _ => unless,
        };
        match (when.truth, exception.truth) {
            (_, Truth::No) | (Truth::Yes, _) => exception,
            _ => when,
        }
    }
}

/// Whether all hold. One that does not settles it, whatever is not known of the others.
fn all<'a>(conditions: &'a [Condition], facts: &impl Facts) -> Look<'a> {
    let mut worst = Look { truth: Truth::Yes, because: None };
    for condition in conditions {
        match condition.holds(facts) {
            Truth::Yes => {}
            Truth::No => return Look { truth: Truth::No, because: Some(condition) },
            Truth::Pending => worst = Look { truth: Truth::Pending, because: Some(condition) },
            Truth::Unknown if worst.truth != Truth::Yes => {}
            Truth::Unknown => worst = Look { truth: Truth::Unknown, because: Some(condition) },
        }
    }
    worst
}

impl Condition {
    /// Whether it holds for a caller.
    pub fn holds(&self, facts: &impl Facts) -> Truth {
        match self {
            Self::User(users) => any(users.iter().map(|user| facts.is_user(user))),
            Self::Group(groups) => any(groups.iter().map(|group| facts.is_in_group(group))),
            Self::Unit(units) => of_cgroup(facts, |group| {
                group.unit.as_ref().is_some_and(|unit| units.iter().any(|pattern| pattern.matches(unit)))
            }),
            Self::Slice(slices) => of_cgroup(facts, |group| {
                group.slices.iter().any(|slice| slices.iter().any(|pattern| pattern.matches(slice)))
            }),
            Self::Container(names) => {
                of_container(facts, |container| names.iter().any(|pattern| pattern.matches(&container.name)))
            }
            Self::Image(images) => {
                of_container(facts, |container| images.iter().any(|pattern| pattern.matches(&container.image)))
            }
            Self::Label(key, pattern) => {
                of_container(facts, |container| container.labels.get(key).is_some_and(|value| pattern.matches(value)))
            }
            Self::Address(ranges) => {
                Truth::of(facts.address(), |address| ranges.iter().any(|range| range.contains(address)))
            }
        }
    }
}

fn of_cgroup(facts: &impl Facts, holds: impl FnOnce(&Cgroup) -> bool) -> Truth {
    match facts.cgroup() {
        // The kernel also reports processes that it cannot place as being there.
        Known::Yes(group) if group.is_root() => Truth::Unknown,
        known => Truth::of(known, |group| holds(&group)),
    }
}

fn of_container(facts: &impl Facts, holds: impl FnOnce(&ContainerFacts) -> bool) -> Truth {
    Truth::of(facts.container(), |container| holds(container.facts()))
}

/// Whether one of them holds.
fn any(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut best = Truth::No;
    for truth in truths {
        match truth {
            Truth::Yes => return Truth::Yes,
            Truth::No => {}
            Truth::Pending => best = Truth::Pending,
            Truth::Unknown if best == Truth::Pending => {}
            Truth::Unknown => best = Truth::Unknown,
        }
    }
    best
}

impl Truth {
    /// Whether something holds for what is known.
    pub fn of<T>(known: Known<T>, holds: impl FnOnce(T) -> bool) -> Self {
        match known {
            Known::Yes(value) => holds(value).into(),
            Known::No => Self::No,
            Known::Pending => Self::Pending,
            Known::Unknown => Self::Unknown,
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

#[cfg(test)]
mod tests;
