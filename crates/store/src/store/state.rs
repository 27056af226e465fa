//! What the store has for a role, and the named state that this is at a moment.

use std::sync::Arc;

use super::Published;
use crate::clock::Moment;

/// What the store has for a role. Together with the time this gives the [`RoleState`].
#[derive(Debug, Clone)]
pub enum Slot {
    /// Nothing, and nothing is fetched until a caller asks for it.
    Idle,
    /// Nothing yet: the first fetch is still under way, or has failed in a way that says nothing.
    Warming,
    /// A set, which may have expired meanwhile.
    Held {
        /// The set.
        set: Arc<Published>,
        /// How the refreshing goes.
        phase: Phase,
    },
    /// The upstream refuses the role; its document with the refusal.
    Denied(Arc<[u8]>),
}

/// How the refreshing of a set goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The newest that there is.
    Fresh,
    /// A newer one is being fetched.
    Refreshing,
    /// The last attempt to fetch a newer one failed.
    Stale,
}

/// The named states of a role, as status, metrics and the log show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleState {
    /// No set, and none is fetched until a caller asks for it.
    Idle,
    /// No set yet.
    Warming,
    /// A valid set, the newest that there is.
    Fresh,
    /// A valid set, and a newer one is being fetched.
    Refreshing,
    /// A valid set, but the last refresh failed.
    Stale,
    /// The set has expired and there is nothing newer.
    Expired,
    /// The upstream refuses.
    Denied,
    /// The upstream has taken the role away.
    Withdrawn,
}

impl Slot {
    /// The named state at the moment `now`.
    pub fn state(&self, now: Moment) -> RoleState {
        match self {
            Self::Idle => RoleState::Idle,
            Self::Warming => RoleState::Warming,
            Self::Denied(_) => RoleState::Denied,
            Self::Held { set, .. } if !set.is_valid(now) => RoleState::Expired,
            Self::Held { phase: Phase::Fresh, .. } => RoleState::Fresh,
            Self::Held { phase: Phase::Refreshing, .. } => RoleState::Refreshing,
            Self::Held { phase: Phase::Stale, .. } => RoleState::Stale,
        }
    }
}

impl RoleState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Warming => "warming",
            Self::Fresh => "fresh",
            Self::Refreshing => "refreshing",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
        }
    }
}
