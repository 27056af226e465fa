//! What one caller sees of the store: what it was granted, as if there was nothing else.

use std::{borrow::Cow, sync::Arc};

use super::held::Standing;
use crate::{
    clock::Moment,
    credentials::{RoleId, RoleName},
    http::denial::Denial,
    policy::Grant,
    store::{Role, Snapshot},
};

/// The roles that a caller sees.
#[derive(Debug, Clone, Copy)]
pub struct VisibleRoles<'a> {
    snapshot: &'a Snapshot,
    grant: &'a Grant,
    now: Moment,
}

impl<'a> VisibleRoles<'a> {
    /// What of `snapshot` a caller with that grant sees at the moment `now`.
    pub fn new(snapshot: &'a Snapshot, grant: &'a Grant, now: Moment) -> Self {
        Self { snapshot, grant, now }
    }

    /// Whether it is known which roles the caller sees. If not, that may change in a moment.
    pub fn settled(&self) -> bool {
        match self.grant {
            Grant::Everything | Grant::EverythingLedBy { .. } => self.snapshot.answered(),
            Grant::Roles(ids) => self.snapshot.answered() || ids.iter().any(|id| self.snapshot.by_id(id).is_some()),
            Grant::Denied => true,
            Grant::Pending | Grant::Unknown => false,
        }
    }

    /// The one that a listing shows; `None` if the caller sees none.
    pub fn first(&self) -> Option<&'a Arc<Role>> {
        match self.grant {
            Grant::Everything => self.snapshot.roles().first(),
            Grant::EverythingLedBy { role, own } => {
                self.chosen(role, own.as_ref()).or_else(|| self.snapshot.roles().first())
            }
            Grant::Roles(ids) => self.granted(ids).next(),
            Grant::Denied | Grant::Pending | Grant::Unknown => None,
        }
    }

    /// The listed role that the caller has chosen, if it is still there, with sets of the caller's own, if there are any.
    fn chosen(&self, id: &RoleId, own: Option<&RoleId>) -> Option<&'a Arc<Role>> {
        let listed = self.snapshot.role(id.as_str())?;
        let own = own.and_then(|own| self.snapshot.by_id(own)).filter(|own| self.is_served(own, listed));
        Some(own.unwrap_or(listed))
    }

    /// Whether sets of the caller's own are served in the place of those that all share: not if they are refused, or have
    /// expired, and those of all are valid.
    fn is_served(&self, own: &Role, listed: &Role) -> bool {
        match Standing::of(&own.slot(), self.now) {
            Standing::Warming | Standing::Valid(_) => true,
            Standing::Refused(_) => false,
            Standing::Expired(_) => !matches!(Standing::of(&listed.slot(), self.now), Standing::Valid(_)),
        }
    }

    /// The roles with these ids. The caller's own sets come with the listed role.
    fn granted(self, ids: &'a [RoleId]) -> impl Iterator<Item = &'a Arc<Role>> {
        let roles = ids.iter().filter_map(move |id| self.snapshot.by_id(id));
        roles.filter(move |role| {
            let shared = || self.snapshot.role(role.name().as_str()).filter(|shared| ids.contains(&shared.id()));
            role.listed() || shared().is_none_or(|shared| self.is_served(role, shared))
        })
    }

    /// Whether the caller sees no role.
    pub(super) fn is_empty(&self) -> bool {
        self.first().is_none()
    }

    /// Why the caller does not see a role that it asked for: to a caller who may see everything, a role that is not
    /// there is not denied.
    pub(super) fn why_missing(&self) -> Option<Denial> {
        match self.grant {
            Grant::Everything | Grant::EverythingLedBy { .. } => None,
            Grant::Roles(_) | Grant::Denied | Grant::Pending => Some(Denial::Policy),
            Grant::Unknown => Some(Denial::Unidentified),
        }
    }

    /// The role of that name. What was not granted is not looked for.
    pub fn role(&self, name: &str) -> Option<&'a Arc<Role>> {
        match self.grant {
            Grant::EverythingLedBy { role, own } if role.as_str() == name => self.chosen(role, own.as_ref()),
            Grant::Everything | Grant::EverythingLedBy { .. } => self.snapshot.role(name),
            Grant::Roles(ids) => self.granted(ids).find(|role| role.name().as_str() == name),
            Grant::Denied | Grant::Pending | Grant::Unknown => None,
        }
    }

    /// Whether the caller may have the role of that name, whether or not there is a set of it that callers share.
    pub(super) fn may_have(&self, name: &RoleName) -> bool {
        match self.grant {
            Grant::Everything | Grant::EverythingLedBy { .. } => true,
            Grant::Roles(ids) => ids.iter().any(|id| id.as_str() == name.as_str()),
            Grant::Denied | Grant::Pending | Grant::Unknown => false,
        }
    }

    /// The role with this id, to which the caller has proved its right. Roles that were not granted are not looked up.
    pub(super) fn by_id(&self, id: &RoleId) -> Option<&'a Arc<Role>> {
        match self.grant {
            Grant::Everything | Grant::EverythingLedBy { .. } => self.snapshot.by_id(id),
            Grant::Roles(ids) => ids.contains(id).then(|| self.snapshot.by_id(id))?,
            Grant::Denied | Grant::Pending | Grant::Unknown => None,
        }
    }

    /// All of them, the one that a listing shows first.
    pub fn roles(&self) -> Vec<&'a Arc<Role>> {
        match self.grant {
            Grant::Everything => self.snapshot.roles().iter().collect(),
            Grant::EverythingLedBy { role, own } => {
                let chosen = self.chosen(role, own.as_ref());
                let others = self.snapshot.roles().iter().filter(|other| other.name().as_str() != role.as_str());
                chosen.into_iter().chain(others).collect()
            }
            Grant::Roles(ids) => self.granted(ids).collect(),
            Grant::Denied | Grant::Pending | Grant::Unknown => Vec::new(),
        }
    }

    /// All names, one a line, without a final newline.
    pub(super) fn names(&self) -> Cow<'a, [u8]> {
        match self.grant {
            Grant::Everything => Cow::Borrowed(self.snapshot.names()),
            Grant::EverythingLedBy { .. } => Cow::Owned(joined(&self.roles())),
            Grant::Roles(_) => {
                let mut roles: Vec<&Arc<Role>> = Vec::new();
                for role in self.roles() {
                    // Two roles may have one name; only the first of them is found by it.
                    if !roles.iter().any(|other| other.name() == role.name()) {
                        roles.push(role);
                    }
                }
                Cow::Owned(joined(&roles))
            }
            Grant::Denied | Grant::Pending | Grant::Unknown => Cow::Borrowed(b""),
        }
    }
}

fn joined(roles: &[&Arc<Role>]) -> Vec<u8> {
    roles.iter().map(|role| role.name().as_str()).collect::<Vec<_>>().join("\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        faces::tests::{credentials, ended, held, name, now},
        store::{Slot, Store},
    };

    fn grant(ids: &[&RoleId]) -> Grant {
        Grant::Roles(ids.iter().map(|id| (*id).clone()).collect())
    }

    #[test]
    fn a_visitor_sees_what_it_was_granted_in_that_order_and_nothing_else() {
        let store = Store::shared();
        let own = RoleId::from_inputs("container", &[("arn", "x")]);
        store.publish_roles(&["a", "b", "c"].map(name));
        store.add_unlisted(&own, &name("a"));
        let [a, c, gone] = ["a", "c", "gone"].map(|role| RoleId::named(&name(role)));
        let snapshot = store.snapshot();
        let see = |grant: &Grant| {
            let visible = VisibleRoles::new(&snapshot, grant, now());
            let found: Vec<_> =
                ["a", "b", "c", "gone"].into_iter().filter(|role| visible.role(role).is_some()).collect();
            (String::from_utf8_lossy(&visible.names()).into_owned(), found, visible.settled())
        };
        assert_eq!(see(&Grant::Everything), ("a\nb\nc".to_owned(), vec!["a", "b", "c"], true));
        for (chosen, names) in [(&c, "c\na\nb"), (&gone, "a\nb\nc"), (&own, "a\nb\nc")] {
            let grant = Grant::EverythingLedBy { role: chosen.clone(), own: None };
            assert_eq!(see(&grant), (names.to_owned(), vec!["a", "b", "c"], true));
            let visible = VisibleRoles::new(&snapshot, &grant, now());
            assert_eq!(visible.first().map(|role| role.name()), visible.roles().first().map(|role| role.name()));
        }
        // Sets of the caller's own are in the place of those of all, as long as the role is there.
        let led = |role: &RoleId| Grant::EverythingLedBy { role: role.clone(), own: Some(own.clone()) };
        let (a_led, gone_led) = (led(&a), led(&gone));
        assert_eq!(see(&a_led), ("a\nb\nc".to_owned(), vec!["a", "b", "c"], true));
        let visible = VisibleRoles::new(&snapshot, &a_led, now());
        for role in [visible.first(), visible.role("a"), visible.roles().first().copied()] {
            assert_eq!(role.map(|role| role.id()), Some(own.clone()));
        }
        assert!(VisibleRoles::new(&snapshot, &gone_led, now()).first().expect("the default").listed());
        assert_eq!(see(&grant(&[&gone, &c, &a])), ("c\na".to_owned(), vec!["a", "c"], true));
        assert_eq!(see(&grant(&[&gone])), (String::new(), vec![], true));
        assert_eq!(see(&Grant::Denied), (String::new(), vec![], true));
        for grant in [Grant::Pending, Grant::Unknown] {
            assert_eq!(see(&grant), (String::new(), vec![], false));
        }
        assert_eq!(see(&grant(&[&own, &a])), ("a".to_owned(), vec!["a"], true));
        let own = grant(&[&own]);
        let role = VisibleRoles::new(&snapshot, &own, now()).role("a").expect("granted");
        assert!(!role.listed());
    }

    #[test]
    fn sets_of_ones_own_that_are_refused_or_expired_hide_no_valid_ones() {
        let (store, own) = (Store::shared(), RoleId::from_inputs("timed", &[("uid", "1000")]));
        let (a, b) = (RoleId::named(&name("a")), RoleId::named(&name("b")));
        store.publish_roles(&[name("a"), name("b")]);
        store.add_unlisted(&own, &name("a"));
        let valid = || held(&credentials());
        let denied = || Slot::Denied(b"{}".as_slice().into());
        let led = Grant::EverythingLedBy { role: a.clone(), own: Some(own.clone()) };
        let ruled = grant(&[&own, &a, &b]);
        let cases = [
            (Slot::Warming, valid(), &own),
            (valid(), valid(), &own),
            (denied(), valid(), &a),
            (denied(), denied(), &a),
            (ended(), valid(), &a),
            (ended(), ended(), &own),
            (ended(), Slot::Warming, &own),
        ];
        for (number, (of_own, of_all, served)) in cases.into_iter().enumerate() {
            store.publish(&own, of_own);
            store.publish(&a, of_all);
            let snapshot = store.snapshot();
            for grant in [&led, &ruled] {
                let visible = VisibleRoles::new(&snapshot, grant, now());
                for role in [visible.first(), visible.role("a"), visible.roles().first().copied()] {
                    assert_eq!(role.map(|role| role.id()).as_ref(), Some(served), "{number}");
                }
                assert_eq!(&*visible.names(), b"a\nb");
            }
        }
        // That of a container is no other name for what all share.
        store.publish(&own, denied());
        let (snapshot, container) = (store.snapshot(), grant(&[&own]));
        assert!(!VisibleRoles::new(&snapshot, &container, now()).first().expect("granted").listed());
    }

    #[test]
    fn before_the_first_answer_only_a_denial_is_certain() {
        let store = Store::shared();
        let snapshot = store.snapshot();
        let named = grant(&[&RoleId::named(&name("a"))]);
        for (grant, settled) in [(Grant::Everything, false), (named, false), (Grant::Denied, true)] {
            assert_eq!(VisibleRoles::new(&snapshot, &grant, now()).settled(), settled, "{grant:?}");
        }
    }
}
