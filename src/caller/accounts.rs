//! Users and groups of this host, by the name service (`nsswitch.conf`). It may ask a server, so it is never asked on
//! the request path.

use std::{ffi::CString, io};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: Box<str>,
    /// All groups, the primary one among them, in ascending order.
    pub groups: Box<[u32]>,
}

/// Whoever knows users and groups. `None` is: there is none of that name or number.
pub trait Accounts: Send + 'static {
    /// The account with a number.
    fn account(&self, uid: u32) -> io::Result<Option<Account>>;
    /// The number of a user.
    fn uid(&self, name: &str) -> io::Result<Option<u32>>;
    /// The number of a group.
    fn gid(&self, name: &str) -> io::Result<Option<u32>>;
}

/// The name service of this host.
#[derive(Debug, Clone, Copy, Default)]
pub struct NameService;

impl Accounts for NameService {
    fn account(&self, uid: u32) -> io::Result<Option<Account>> {
        let Some(user) = User::from_uid(Uid::from_raw(uid))? else { return Ok(None) };
        let name = CString::new(user.name.as_bytes()).map_err(io::Error::other)?;
        let mut groups: Vec<u32> = getgrouplist(&name, user.gid)?.into_iter().map(Gid::as_raw).collect();
        groups.push(user.gid.as_raw());
        groups.sort_unstable();
        groups.dedup();
        Ok(Some(Account { name: user.name.into(), groups: groups.into() }))
    }

    fn uid(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))
    }

    fn gid(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_known_by_name_and_number() {
        let root = NameService.account(0).expect("readable").expect("there is a root");
        assert!(&*root.name == "root" && root.groups.contains(&0));
        assert_eq!(NameService.uid("root").expect("readable"), Some(0));
        assert_eq!(NameService.gid("no-such-group").expect("readable"), None);
        assert_eq!(NameService.uid("no-such-user").expect("readable"), None);
    }
}
