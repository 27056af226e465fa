//! Users and groups of this host, by the name service (`nsswitch.conf`). It may query a server, so it is never used on
//! the request path.

use std::{ffi::CString, fs, io};

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

/// A user of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: Box<str>,
    /// All groups, the primary one among them, in ascending order.
    pub groups: Box<[u32]>,
}

/// Looks up users and groups. `None` means that there is none of that name or number.
pub trait Accounts: Send + Sync + 'static {
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

/// The people who have an account in `/etc/passwd`.
pub fn human_users() -> Vec<String> {
    // Without it there are no users to name.
    parse_humans(&fs::read_to_string("/etc/passwd").unwrap_or_default())
}

/// From `/etc/passwd` (passwd(5)): those with a number of the range for people (`useradd`'s, login.defs(5)) and a shell.
fn parse_humans(text: &str) -> Vec<String> {
    let human = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, _, _, _, shell] = fields.as_slice() else { return None };
        let person = uid.parse().is_ok_and(|uid: u32| (1000..=60_000).contains(&uid));
        (person && !shell.ends_with("/nologin") && !shell.ends_with("/false")).then(|| (*name).to_owned())
    };
    text.lines().filter_map(human).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_from_services() {
        let text = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000:,,,:/home/ann:/bin/bash\nwww:x:33:33::/:/bin/sh\n\
                    svc:x:1001:1001::/:/usr/sbin/nologin\nnobody:x:65534:65534::/:/bin/sh\nbob:x:60000:1::/:/bin/zsh\nx:y\n";
        assert_eq!(parse_humans(text), ["ann", "bob"]);
    }

    #[test]
    fn root_is_known_by_name_and_number() {
        let root = NameService.account(0).expect("readable").expect("there is a root");
        assert!(&*root.name == "root" && root.groups.contains(&0));
        assert_eq!(NameService.uid("root").expect("readable"), Some(0));
        assert_eq!(NameService.gid("no-such-group").expect("readable"), None);
        assert_eq!(NameService.uid("no-such-user").expect("readable"), None);
    }
}
