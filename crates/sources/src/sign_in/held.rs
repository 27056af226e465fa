//! The tokens of one sign-in, and when they are renewed (pure).

use std::time::Duration;

use jiff::Timestamp;

use super::person::Person;
use crate::{
    clock::{BootTime, Moment, until},
    credentials::Secret,
};

/// A token is not sent any more when it ends so soon.
pub(super) const MARGIN: Duration = Duration::from_secs(10);
/// The pause after the first failure to renew tokens, and the longest one.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);
/// What no repetition should change is repeated so often, since a clock may be set, or a provider repaired.
const WRONG: u32 = 5;

/// The tokens of a sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tokens {
    /// What the person has signed in for: it says who asks.
    pub(super) bearer: Secret,
    /// Brings the next ones.
    pub(super) refresh: Option<Secret>,
    /// What else the provider wants to see then.
    pub(super) client: Option<Secret>,
}

/// What is held of one sign-in.
pub(super) struct Held {
    pub(super) tokens: Tokens,
    pub(super) person: Person,
    pub(super) since: Timestamp,
    /// When the ID token came, by both clocks.
    pub(super) arrived: Moment,
    /// No attempt to renew it before.
    pub(super) not_before: BootTime,
    pub(super) failures: u32,
    /// How many of the attempts failed by what no repetition should change.
    pub(super) wrong: u32,
    /// Why the last attempt failed.
    pub(super) problem: Option<String>,
    /// When it was last renewed because a site refused it.
    pub(super) refused: Option<BootTime>,
}

impl Held {
    pub(super) fn new(tokens: Tokens, person: Person, since: Timestamp, now: Moment) -> Self {
        Self {
            tokens,
            person,
            since,
            arrived: now,
            not_before: now.boot,
            failures: 0,
            wrong: 0,
            problem: None,
            refused: None,
        }
    }

    pub(super) fn left(&self, now: Moment) -> Duration {
        until(self.person.until, now.wall)
    }

    pub(super) fn has_ended(&self, now: Moment) -> bool {
        self.left(now) <= MARGIN
    }

    /// How long until it is renewed: when two thirds of its life are over, since an idle refresh token may end earlier than
    /// the ID token. One that cannot be renewed is looked at when it ends.
    pub(super) fn due_in(&self, now: Moment) -> Duration {
        let life = until(self.person.until, self.arrived.wall);
        let rest = if self.tokens.refresh.is_some() { (life / 3).max(MARGIN) } else { MARGIN };
        self.left(now).saturating_sub(rest).max(self.not_before.since(now.boot))
    }

    /// Whether it is tried once more what has failed in a way that no repetition should change.
    pub(super) fn is_worth_another(&self, now: Moment) -> bool {
        !self.has_ended(now) || self.wrong < WRONG
    }

    pub(super) fn failed(&mut self, problem: String, now: Moment) {
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.failures.min(6));
        self.not_before = now.boot + pause.min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        if self.failures.is_power_of_two() {
            tracing::warn!("the sign-in could not be renewed: {problem}");
        }
        self.problem = Some(problem);
    }
}
