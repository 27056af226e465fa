//! What becomes of each role when one configuration takes the place of another: at a reload, or over a restart. Pure.

use std::collections::HashMap;

use crate::{
    config::{Role, Upstreams},
    credentials::RoleId,
    plan,
    refresh::Carryover,
};

/// What becomes of each node of the new graph.
pub(super) fn of_roles(old: &Upstreams, new: &Upstreams) -> HashMap<RoleId, Carryover> {
    let (old_roles, new_roles) = (old.roles(), new.roles());
    let changes = Changes { old, new, old_roles: &old_roles, new_roles: &new_roles };
    let mut carryovers = HashMap::new();
    for role in &new_roles {
        carryovers.insert(RoleId::named(&role.name), changes.role(role.name.as_str(), 0));
        for source in &role.sources {
            // Whether there is such a node is not asked here.
            let id = plan::signer_id(source, role.upstream_role.as_deref());
            carryovers.insert(id, changes.origin(source, 0));
        }
    }
    carryovers
}

/// What becomes of the roles that an upstream lists.
pub(super) fn of_listed(old: &Upstreams, new: &Upstreams) -> Carryover {
    match (old.first_ims(), new.first_ims()) {
        (old, new) if old == new => Carryover::Unchanged,
        (Some(old), Some(new)) if old.kind.word() != new.kind.word() => Carryover::Discard,
        _ => Carryover::Refetch,
    }
}

/// What becomes of the sets that users have of a role which the configuration does not name: one that is listed, if none is
/// named at all.
pub(super) fn of_others(old: &Upstreams, new: &Upstreams) -> Carryover {
    let all_are_listed = old.roles().is_empty() && new.roles().is_empty();
    if all_are_listed { of_listed(old, new) } else { Carryover::Discard }
}

struct Changes<'a> {
    old: &'a Upstreams,
    new: &'a Upstreams,
    old_roles: &'a [Role],
    new_roles: &'a [Role],
}

impl Changes<'_> {
    /// What has that name, a source or a role. Roles are no circle: that was checked, and the depth is bounded anyway.
    fn origin(&self, name: &str, depth: usize) -> Carryover {
        match (self.old.source(name), self.new.source(name)) {
            (Some(old), Some(new)) if old == new => Carryover::Unchanged,
            // Another address of the same kind of upstream: as long as it does not answer, what is held is served on.
            (Some(old), Some(new)) if old.kind.word() == new.kind.word() => Carryover::Refetch,
            (None, None) => self.role(name, depth + 1),
            _ => Carryover::Discard,
        }
    }

    fn role(&self, name: &str, depth: usize) -> Carryover {
        let find = |roles: &'_ [Role]| roles.iter().find(|role| role.name.as_str() == name).cloned();
        let (Some(old), Some(new)) = (find(self.old_roles), find(self.new_roles)) else { return Carryover::Discard };
        if depth > self.new_roles.len() || identity(&old) != identity(&new) {
            return Carryover::Discard;
        }
        let same_call = old == new && self.old.sts(old.via.as_deref()) == self.new.sts(new.via.as_deref());
        let own = if same_call { Carryover::Unchanged } else { Carryover::Refetch };
        new.sources.iter().map(|source| self.origin(source, depth)).fold(own, worse)
    }
}

/// A role without what only says how its credentials are got, or how long they live.
fn identity(role: &Role) -> Role {
    let mut role = role.clone();
    role.via = None;
    role.session.duration = None;
    role.shared = true;
    role
}

fn worse(a: Carryover, b: Carryover) -> Carryover {
    match (a, b) {
        (Carryover::Discard, _) | (_, Carryover::Discard) => Carryover::Discard,
        (Carryover::Refetch, _) | (_, Carryover::Refetch) => Carryover::Refetch,
        _ => Carryover::Unchanged,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config;

    fn upstreams(text: &str) -> Upstreams {
        let parsed = config::parse(vec![(PathBuf::from("test"), text.to_owned())]);
        parsed.unwrap_or_else(|errors| panic!("{errors}")).config.upstreams
    }

    #[test]
    fn a_role_that_is_not_named_is_a_listed_one_only_where_none_is_named() {
        let listed = upstreams("ims_host: x\n");
        let one = upstreams("ims_host: x\nroles:\n  a: {source: ims}\n");
        let two = upstreams("ims_host: x\nroles:\n  a: {source: ims}\n  b: {source: ims}\n");
        assert_eq!(of_others(&listed, &listed), Carryover::Unchanged);
        assert_eq!(of_others(&listed, &upstreams("ims_host: y\n")), Carryover::Refetch);
        for (old, new) in [(&listed, &one), (&two, &one), (&one, &listed)] {
            assert_eq!(of_others(old, new), Carryover::Discard);
        }
    }
}
