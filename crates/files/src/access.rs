//! Who may read a file: its mode, and an access control list for other accounts, which an owner may set without privileges.

use std::os::fd::{AsFd, BorrowedFd};

use nix::unistd::{Group, User};
use rustix::{
    fs::{Mode, XattrFlags, fchmod, fgetxattr, fsetxattr, fstat},
    io::Errno,
};

use crate::place::FileError;

/// The name under which the kernel has the access control list of a file.
const ACL: &str = "system.posix_acl_access";

/// What the list begins with, and its tags: `include/uapi/linux/posix_acl.h` and `posix_acl_xattr.h`.
const VERSION: u32 = 2;
const OWNER: u16 = 0x01;
const USER: u16 = 0x02;
const OWNING_GROUP: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const READ: u16 = 4;
const NO_ID: u32 = u32::MAX;

/// Who may read a file, beside the account of the daemon, which owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// The mode.
    pub mode: u32,
    /// Users who may read it, by name or number.
    pub users: Vec<String>,
    /// Groups who may.
    pub groups: Vec<String>,
}

impl Default for Access {
    fn default() -> Self {
        Self { mode: 0o600, users: Vec::new(), groups: Vec::new() }
    }
}

impl Access {
    /// Whether every account of the host may read the file.
    pub fn is_for_everybody(&self) -> bool {
        self.mode & 0o004 != 0
    }

    /// The users and groups as numbers. Looking up names may take a while.
    pub(crate) fn look_up(&self) -> Result<Readers, FileError> {
        Ok(Readers {
            mode: self.mode,
            users: self.users.iter().map(|name| user(name)).collect::<Result<_, _>>()?,
            groups: self.groups.iter().map(|name| group(name)).collect::<Result<_, _>>()?,
        })
    }

    /// What is wrong with each name that is none on this host. Looking them up may take a while.
    pub fn unknown(&self) -> Vec<String> {
        let users = self.users.iter().filter_map(|name| user(name).err());
        let groups = self.groups.iter().filter_map(|name| group(name).err());
        users.chain(groups).map(|error| error.to_string()).collect()
    }
}

fn user(name: &str) -> Result<u32, FileError> {
    let known = || User::from_name(name).ok().flatten().map(|user| user.uid.as_raw());
    name.parse().ok().or_else(known).ok_or_else(|| FileError::NoUser(name.to_owned()))
}

fn group(name: &str) -> Result<u32, FileError> {
    let known = || Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw());
    name.parse().ok().or_else(known).ok_or_else(|| FileError::NoGroup(name.to_owned()))
}

/// Whether a mode only says who reads: others never write, and nobody executes.
pub fn legal_mode(mode: u32) -> bool {
    mode & !0o644 == 0 && mode & 0o400 != 0
}

/// The same with numbers.
pub(crate) struct Readers {
    mode: u32,
    users: Vec<u32>,
    groups: Vec<u32>,
}

impl Readers {
    /// Sets it.
    pub(crate) fn apply(&self, file: BorrowedFd) -> Result<(), FileError> {
        let mode = Mode::from_bits_truncate(self.mode);
        fchmod(file.as_fd(), mode).map_err(|error| FileError::io("its mode cannot be set", error))?;
        if !self.has_list() {
            return Ok(());
        }
        fsetxattr(file, ACL, &self.list(), XattrFlags::empty()).map_err(|error| match error {
            Errno::OPNOTSUPP => FileError::NoLists,
            error => FileError::io("its access control list cannot be set", error),
        })
    }

    /// Whether it is so already.
    pub(crate) fn is_applied(&self, file: BorrowedFd) -> bool {
        let list = self.list();
        let mut found = vec![0; list.len() + 1];
        let found = fgetxattr(file, ACL, &mut found[..]).map(|length| found.truncate(length)).map(|()| found);
        let mode = |mask| fstat(file).is_ok_and(|found| found.st_mode & mask == self.mode & mask);
        match found {
            // The kernel shows the mask in the place of the group's bits.
            Ok(found) => self.has_list() && found == list && mode(0o7707),
            Err(_) => !self.has_list() && mode(0o7777),
        }
    }

    fn has_list(&self) -> bool {
        !self.users.is_empty() || !self.groups.is_empty()
    }

    /// The access control list as the kernel takes it: sorted, with the mask that lets readers read.
    fn list(&self) -> Vec<u8> {
        let bits = |shift: u32| u16::try_from(self.mode >> shift & 7).unwrap_or_default();
        let sorted = |ids: &[u32]| {
            let mut ids = ids.to_vec();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        let mut entries = vec![(OWNER, bits(6), NO_ID)];
        entries.extend(sorted(&self.users).into_iter().map(|id| (USER, READ, id)));
        entries.push((OWNING_GROUP, bits(3), NO_ID));
        entries.extend(sorted(&self.groups).into_iter().map(|id| (GROUP, READ, id)));
        entries.extend([(MASK, READ, NO_ID), (OTHER, bits(0), NO_ID)]);
        let mut list = VERSION.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            list.extend_from_slice(&tag.to_le_bytes());
            list.extend_from_slice(&permissions.to_le_bytes());
            list.extend_from_slice(&id.to_le_bytes());
        }
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_only_says_who_reads() {
        for (mode, legal) in [
            (0o600, true),
            (0o400, true),
            (0o440, true),
            (0o640, true),
            (0o644, true),
            (0o660, false),
            (0o602, false),
            (0o700, false),
            (0o4600, false),
            (0o040, false),
            (0, false),
        ] {
            assert_eq!(legal_mode(mode), legal, "{mode:o}");
        }
    }

    #[test]
    fn names_that_nobody_has_are_told() {
        let access = |users: &[&str], groups: &[&str]| Access {
            users: users.iter().map(ToString::to_string).collect(),
            groups: groups.iter().map(ToString::to_string).collect(),
            ..Access::default()
        };
        let found = access(&["root", "4242"], &["root", "4343"]).look_up().expect("known");
        assert_eq!((found.users, found.groups), (vec![0, 4242], vec![0, 4343]));
        assert!(access(&["root", "4242"], &["root"]).unknown().is_empty());
        assert_eq!(access(&["root", "nobody-a", "nobody-b"], &["none-c"]).unknown().len(), 3);
        let error = access(&["no-such-user"], &[]).look_up().map(|_| ()).expect_err("unknown");
        assert_eq!(error.to_string(), "there is no user \"no-such-user\" on this host (`users`)");
        let error = access(&[], &["no-such-group"]).look_up().map(|_| ()).expect_err("unknown");
        assert_eq!(error.to_string(), "there is no group \"no-such-group\" on this host (`groups`)");
    }
}
