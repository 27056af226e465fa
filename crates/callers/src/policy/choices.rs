//! Which role each user has chosen to be served first. A choice puts what a caller was granted in another order; it grants
//! nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::Grant;
use crate::{
    caller::{Origin, Peer},
    credentials::{RoleId, RoleName},
};

/// What a user has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The role.
    pub role: RoleName,
    /// The id of the sets that the user has of it for itself, if it does not share those of all.
    pub own: Option<RoleId>,
}

/// The choices, read lock-free.
#[derive(Debug, Default)]
pub struct Choices {
    by_user: ArcSwap<BTreeMap<u32, Choice>>,
    version: AtomicU64,
}

impl Choices {
    /// What user `uid` has chosen.
    pub fn of(&self, uid: u32) -> Option<Choice> {
        self.by_user.load().get(&uid).cloned()
    }

    /// Notes what user `uid` has chosen; `None` takes a choice back. It counts for connections that are open, too.
    pub fn set(&self, uid: u32, choice: Option<&Choice>) {
        self.by_user.rcu(|before| {
            let mut choices = BTreeMap::clone(before);
            match choice {
                Some(choice) => drop(choices.insert(uid, choice.clone())),
                None => drop(choices.remove(&uid)),
            }
            Arc::new(choices)
        });
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// Grows with each change.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// This is asked for each request, and hardly any host has a choice at all.
    pub(super) fn are_none(&self) -> bool {
        self.version() == 0 || self.by_user.load().is_empty()
    }

    /// What a caller was granted, in the order of its choice.
    pub(super) fn order(&self, grant: Grant, peer: &Peer) -> Grant {
        let Origin::Process(process) = &peer.origin else { return grant };
        match self.by_user.load().get(&process.uid) {
            Some(Choice { role, own }) => grant.led_by(RoleId::named(role), own.as_ref()),
            None => grant,
        }
    }
}

impl Grant {
    /// The same roles, this one first, if it is among them, and before it the sets of it that are the caller's own.
    fn led_by(self, chosen: RoleId, own: Option<&RoleId>) -> Self {
        match self {
            Self::Everything | Self::EverythingLedBy { .. } => {
                Self::EverythingLedBy { role: chosen, own: own.cloned() }
            }
            Self::Roles(roles) if roles.contains(&chosen) => {
                let others = roles.iter().filter(|role| **role != chosen).cloned();
                Self::Roles(own.cloned().into_iter().chain([chosen.clone()]).chain(others).collect())
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> RoleId {
        RoleId::named(&name.parse().expect("a role name"))
    }

    #[test]
    fn a_choice_changes_the_order_and_grants_nothing() {
        let roles = |names: &[&str]| Grant::Roles(names.iter().map(|name| id(name)).collect());
        assert_eq!(roles(&["a", "b", "c"]).led_by(id("c"), None), roles(&["c", "a", "b"]));
        let own = id("own");
        assert_eq!(roles(&["a", "b"]).led_by(id("b"), Some(&own)), roles(&["own", "b", "a"]));
        assert_eq!(roles(&["a", "b"]).led_by(id("x"), Some(&own)), roles(&["a", "b"]));
        let led = Grant::EverythingLedBy { role: id("x"), own: Some(own.clone()) };
        assert_eq!(Grant::Everything.led_by(id("x"), Some(&own)), led);
        for nothing in [Grant::Denied, Grant::Pending, Grant::Unknown] {
            assert_eq!(nothing.clone().led_by(id("x"), Some(&own)), nothing);
        }
    }

    #[test]
    fn a_choice_is_one_users_and_can_be_taken_back() {
        let choices = Choices::default();
        let role = Choice { role: "web".parse().expect("a role name"), own: None };
        let (before, grant) = (choices.version(), || Grant::Everything);
        choices.set(1000, Some(&role));
        assert!(choices.version() > before && !choices.are_none());
        assert_eq!((choices.of(1000), choices.of(1001)), (Some(role), None));
        let nobody = Peer { address: None, origin: Origin::Unknown { ours: true } };
        assert_eq!(choices.order(grant(), &nobody), Grant::Everything);
        choices.set(1000, None);
        assert!(choices.are_none());
    }
}
