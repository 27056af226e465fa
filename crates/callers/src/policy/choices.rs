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

/// The choices, read lock-free.
#[derive(Debug, Default)]
pub struct Choices {
    by_user: ArcSwap<BTreeMap<u32, RoleName>>,
    version: AtomicU64,
}

impl Choices {
    /// What user `uid` has chosen.
    pub fn of(&self, uid: u32) -> Option<RoleName> {
        self.by_user.load().get(&uid).cloned()
    }

    /// Notes what user `uid` has chosen; `None` takes a choice back. It counts for connections that are open, too.
    pub fn set(&self, uid: u32, role: Option<&RoleName>) {
        self.by_user.rcu(|before| {
            let mut choices = BTreeMap::clone(before);
            match role {
                Some(role) => drop(choices.insert(uid, role.clone())),
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

    pub(super) fn are_none(&self) -> bool {
        self.by_user.load().is_empty()
    }

    /// What a caller was granted, in the order of its choice.
    pub(super) fn order(&self, grant: Grant, peer: &Peer) -> Grant {
        let Origin::Process(process) = &peer.origin else { return grant };
        match self.by_user.load().get(&process.uid) {
            Some(chosen) => grant.led_by(RoleId::named(chosen)),
            None => grant,
        }
    }
}

impl Grant {
    /// The same roles, this one first, if it is among them.
    fn led_by(self, chosen: RoleId) -> Self {
        match self {
            Self::Everything | Self::EverythingLedBy(_) => Self::EverythingLedBy(chosen),
            Self::Roles(roles) if roles.contains(&chosen) => {
                let others = roles.iter().filter(|role| **role != chosen).cloned();
                Self::Roles([chosen.clone()].into_iter().chain(others).collect())
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
        assert_eq!(roles(&["a", "b", "c"]).led_by(id("c")), roles(&["c", "a", "b"]));
        assert_eq!(roles(&["a", "b"]).led_by(id("x")), roles(&["a", "b"]));
        assert_eq!(Grant::Everything.led_by(id("x")), Grant::EverythingLedBy(id("x")));
        for nothing in [Grant::Denied, Grant::Pending, Grant::Unknown] {
            assert_eq!(nothing.clone().led_by(id("x")), nothing);
        }
    }

    #[test]
    fn a_choice_is_one_users_and_can_be_taken_back() {
        let choices = Choices::default();
        let role: RoleName = "web".parse().expect("a role name");
        let (before, grant) = (choices.version(), || Grant::Everything);
        choices.set(1000, Some(&role));
        assert!(choices.version() > before && !choices.are_none());
        assert_eq!((choices.of(1000), choices.of(1001)), (Some(role), None));
        let nobody = Peer { address: None, origin: Origin::Unknown };
        assert_eq!(choices.order(grant(), &nobody), Grant::Everything);
        choices.set(1000, None);
        assert!(choices.are_none());
    }
}
