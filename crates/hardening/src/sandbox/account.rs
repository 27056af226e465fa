//! Users and groups: looks them up, switches to them, and verifies the result.

use std::{ffi::CString, path::PathBuf};

use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgrouplist, getgroups, getresgid, getresuid, setgroups, setresgid,
    setresuid,
};

use super::{SandboxError, step};

/// Whom to become after binding (`user`, `group`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// A user name, or a number.
    pub user: Option<String>,
    /// A group name, or a number; by default the user's own.
    pub group: Option<String>,
}

/// Whom to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: Uid,
    /// The group.
    pub gid: Gid,
    /// All groups, in ascending order.
    pub groups: Vec<Gid>,
    /// The home directory of the user, if an entry says it.
    pub home: Option<PathBuf>,
}

/// Whom the daemon becomes with the account of the configuration; `None` if it stays what it is. A daemon that was started
/// as root switches by default to the account `usual`, if it exists.
pub fn resolve(account: &Account, usual: &str) -> Result<Option<Identity>, SandboxError> {
    if !geteuid().is_root() {
        let Some(wanted) = identify(account)? else { return Ok(None) };
        // We already run as the target account: started by a service manager that has done it.
        if (wanted.uid, wanted.gid) == (geteuid(), getegid()) {
            return Ok(None);
        }
        let name = account.user.as_ref().or(account.group.as_ref());
        return Err(SandboxError::NotRoot(name.cloned().unwrap_or_default()));
    }
    if account.user.is_some() {
        return identify(account);
    }
    let usual = Account { user: Some(usual.to_owned()), ..account.clone() };
    match identify(&usual) {
        Err(SandboxError::NoUser(_)) => identify(account),
        found => found,
    }
}

/// Looks up the account of the configuration; `None` if it names none.
pub fn identify(account: &Account) -> Result<Option<Identity>, SandboxError> {
    let user = account.user.as_deref().map(find_user).transpose()?;
    let group = account.group.as_deref().map(group).transpose()?;
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let uid = user.as_ref().map_or_else(geteuid, |user| user.uid);
    let gid = group.or(user.as_ref().map(|user| user.gid)).unwrap_or_else(getegid);
    let groups = match &user {
        Some(user) => supplementary(user, gid)?,
        None => vec![gid],
    };
    Ok(Some(Identity { uid, gid, groups: ascending(groups), home: user.and_then(|user| user.home) }))
}

struct Found {
    name: Option<String>,
    uid: Uid,
    gid: Gid,
    home: Option<PathBuf>,
}

fn find_user(name: &str) -> Result<Found, SandboxError> {
    let look_up = |error: nix::Error| SandboxError::LookUp { what: name.to_owned(), source: error.into() };
    let number = name.parse().ok().map(Uid::from_raw);
    let user = match number {
        Some(uid) => User::from_uid(uid),
        None => User::from_name(name),
    };
    match (user.map_err(look_up)?, number) {
        (Some(user), _) => {
            let home = Some(user.dir).filter(|home| home.is_absolute());
            Ok(Found { name: Some(user.name), uid: user.uid, gid: user.gid, home })
        }
        // A number needs no entry, as in containers; its group is then the same number.
        (None, Some(uid)) => Ok(Found { name: None, uid, gid: Gid::from_raw(uid.as_raw()), home: None }),
        (None, None) => Err(SandboxError::NoUser(name.to_owned())),
    }
}

/// The group with that name or number.
pub fn group(name: &str) -> Result<Gid, SandboxError> {
    if let Ok(gid) = name.parse() {
        return Ok(Gid::from_raw(gid));
    }
    let found = Group::from_name(name);
    let found = found.map_err(|error| SandboxError::LookUp { what: name.to_owned(), source: error.into() })?;
    found.map(|group| group.gid).ok_or_else(|| SandboxError::NoGroup(name.to_owned()))
}

fn supplementary(user: &Found, gid: Gid) -> Result<Vec<Gid>, SandboxError> {
    let Some(name) = user.name.as_deref().and_then(|name| CString::new(name).ok()) else {
        return Ok(vec![gid]);
    };
    step("reading the groups of the account", getgrouplist(&name, gid))
}

/// Each of the groups once.
fn ascending(mut groups: Vec<Gid>) -> Vec<Gid> {
    groups.sort_unstable_by_key(|gid| gid.as_raw());
    groups.dedup();
    groups
}

/// Becomes `identity` in the only order that works: groups while still allowed to.
pub(super) fn change(Identity { uid, gid, groups, .. }: &Identity) -> Result<(), SandboxError> {
    let (uid, gid) = (*uid, *gid);
    step("setting the supplementary groups", setgroups(groups))?;
    step("setting the group", setresgid(gid, gid, gid))?;
    step("setting the user", setresuid(uid, uid, uid))
}

/// Makes sure that nothing of the old account is left and that there is no way back.
pub(super) fn verify(identity: &Identity) -> Result<(), SandboxError> {
    let users = step("reading the user", getresuid())?;
    let groups = step("reading the group", getresgid())?;
    let supplementary = ascending(step("reading the groups", getgroups())?);
    if [users.real, users.effective, users.saved] != [identity.uid; 3] {
        return Err(SandboxError::NotDropped("the user is a different one"));
    }
    if [groups.real, groups.effective, groups.saved] != [identity.gid; 3] {
        return Err(SandboxError::NotDropped("the group is a different one"));
    }
    if supplementary != identity.groups {
        return Err(SandboxError::NotDropped("the supplementary groups are different"));
    }
    let root = Uid::from_raw(0);
    if identity.uid != root && setresuid(root, root, root).is_ok() {
        return Err(SandboxError::NotDropped("root could be regained"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = "daemon";

    fn account(user: Option<&str>, group: Option<&str>) -> Account {
        Account { user: user.map(str::to_owned), group: group.map(str::to_owned) }
    }

    #[test]
    fn an_account_that_does_not_exist_is_refused_by_name() {
        for (account, message) in [
            (account(Some("no-such-user"), None), "user: there is no account \"no-such-user\" on this host"),
            (account(None, Some("no-such-group")), "group: there is no group \"no-such-group\" on this host"),
        ] {
            assert_eq!(resolve(&account, USUAL).map_err(|error| error.to_string()), Err(message.to_owned()));
        }
        assert_eq!(identify(&account(None, None)).map_err(|error| error.to_string()), Ok(None));
        let usual = identify(&account(Some(USUAL), None)).ok().flatten().filter(|_| geteuid().is_root());
        assert_eq!(resolve(&account(None, None), USUAL).map_err(|error| error.to_string()), Ok(usual));
    }

    #[test]
    fn a_user_brings_the_own_group_unless_another_is_named() {
        if !geteuid().is_root() {
            assert!(matches!(resolve(&account(Some("daemon"), None), USUAL), Err(SandboxError::NotRoot(_))));
            return;
        }
        let found = |user, group| resolve(&account(user, group), USUAL).expect("known").expect("somebody");
        let daemon = found(Some("daemon"), None);
        assert_eq!((daemon.uid, daemon.gid), (Uid::from_raw(1), Gid::from_raw(1)));
        assert_eq!(daemon.home.as_deref(), Some("/usr/sbin".as_ref()));
        assert_eq!(found(Some("daemon"), Some("nogroup")).gid, Gid::from_raw(65534));
        let gid = Gid::from_raw(4242);
        let without_entry = Identity { uid: Uid::from_raw(4242), gid, groups: vec![gid], home: None };
        assert_eq!(found(Some("4242"), None), without_entry);
    }
}
