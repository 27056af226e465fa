//! Who may change the files that the daemon relies on, and who may read its secrets: only root, and the account that it runs
//! as. The rules are those of sshd and sudo.
//!
//! A file is judged where it really is, with the directory that it is in, and the directory of each symbolic link that leads
//! there. Directories above these are the administrator's.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use alppaca_settings::NamedFile;
use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::sandbox::Identity;

const STICKY: u32 = 0o1000;
const ROOT: Uid = Uid::from_raw(0);

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Whoever can change it decides what the daemon does: a configuration, a program, a certificate authority.
    Obeyed,
    /// It holds a secret. Another service may own it and write it anew; nobody else may, and others should not read it.
    Secret,
}

/// The accounts that may change files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    uids: Vec<Uid>,
    /// The daemon's groups: through these it may have been given a secret.
    groups: Vec<Gid>,
    /// The uid of files whose owner this user namespace does not show.
    unmapped: Option<Uid>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whether the file must not be used: others can change it. Otherwise they can only read it.
    pub refused: bool,
    message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A file that is judged: where it is, what it is to the daemon, and what it is for.
pub type File = (PathBuf, String, Purpose);

/// How a file is judged that a setting names.
pub fn named(file: NamedFile) -> File {
    (file.path, file.what, if file.secret { Purpose::Secret } else { Purpose::Obeyed })
}

/// What is wrong with files.
#[derive(Debug, Default)]
pub struct FileFaults {
    /// Files that others may change: the configuration is not used.
    pub refused: Vec<String>,
    /// Secrets that others may read.
    pub warnings: Vec<String>,
}

impl FileFaults {
    /// Judges `files`.
    pub fn find(files: Vec<File>, trust: &Trust) -> Self {
        let mut faults = Self::default();
        for (path, what, purpose) in files {
            for fault in trust.judge(&path, &what, purpose) {
                let list = if fault.refused { &mut faults.refused } else { &mut faults.warnings };
                let text = fault.to_string();
                if !list.contains(&text) {
                    list.push(text);
                }
            }
        }
        faults
    }

    /// The reason not to use the configuration, if there is one.
    pub fn refusal(&self) -> Option<String> {
        (!self.refused.is_empty()).then(|| self.refused.join("\n"))
    }
}

impl Trust {
    /// Trusts root and the daemon's account: `identity`, if the daemon becomes another, else the present one.
    pub fn of(identity: Option<&Identity>) -> Self {
        let (uid, groups) = match identity {
            Some(identity) => (identity.uid, identity.groups.clone()),
            None => (Uid::effective(), own_groups()),
        };
        Self { uids: vec![ROOT, uid], groups, unmapped: unmapped() }
    }

    /// Trusts the present account, too.
    #[must_use]
    pub fn and_present(mut self) -> Self {
        self.uids.push(Uid::effective());
        self.groups.extend(own_groups());
        self
    }

    /// What is wrong with the file at `path`, which is `what` to the daemon. Nothing if it is not there: that is told by
    /// who reads it.
    pub fn judge(&self, path: &Path, what: &str, purpose: Purpose) -> Vec<Fault> {
        let Ok(real) = fs::canonicalize(path) else { return Vec::new() };
        let Ok(file) = fs::metadata(&real) else { return Vec::new() };
        // A pipe or a device is no file that others could have written.
        if !file.is_file() && !file.is_dir() {
            return Vec::new();
        }
        let mut faults = Vec::new();
        if !is_read_only(&real) {
            faults.extend(
                self.written_by_others(&real, &file, purpose)
                    .map(|how| Fault { refused: true, message: format!("{what} {}: {how}", path.display()) }),
            );
        }
        for (directory, entry) in places(path, &real) {
            let Ok(found) = fs::metadata(&directory) else { continue };
            // In a sticky directory nobody can remove or rename what belongs to another.
            let ours = || fs::symlink_metadata(&entry).is_ok_and(|entry| self.owns(&entry));
            let kept = found.mode() & STICKY != 0 && self.owns(&found) && (purpose == Purpose::Secret || ours());
            if kept || is_read_only(&directory) {
                continue;
            }
            faults.extend(self.written_by_others(&directory, &found, purpose).map(|how| Fault {
                refused: true,
                message: format!("{what} {}: it could be replaced in its directory: {how}", path.display()),
            }));
        }
        if purpose == Purpose::Secret
            && file.is_file()
            && let Some(who) = self.read_by_others(&file)
        {
            let message = format!(
                "{what} {}: it is a secret, and can be read by {who} (mode {:04o}); chmod 600, and let the daemon's account own it",
                path.display(),
                file.mode() & 0o7777
            );
            faults.push(Fault { refused: false, message });
        }
        faults
    }

    fn owns(&self, file: &fs::Metadata) -> bool {
        self.uids.contains(&owner(file)) || self.unmapped == Some(owner(file))
    }

    /// Who else may write, and what to do about it.
    fn written_by_others(&self, place: &Path, file: &fs::Metadata, purpose: Purpose) -> Option<String> {
        let (name, mode) = (place.display(), file.mode() & 0o7777);
        let facts = format!("mode {mode:04o}, owner {}:{}", file.uid(), file.gid());
        if purpose == Purpose::Obeyed && !self.owns(file) {
            return Some(format!(
                "{name} can be changed by its owner ({facts}), who is neither root nor the daemon's account; chown root {name}"
            ));
        }
        let bits = if mode & 0o002 != 0 {
            "o-w"
        } else if mode & 0o020 != 0 && !self.is_of_the_trusted(Gid::from_raw(file.gid())) {
            "g-w"
        } else if mode & 0o020 != 0 && has_access_list(place) {
            return Some(format!(
                "{name} may be changed by others through its access control list ({facts}); setfacl -b {name}"
            ));
        } else {
            return None;
        };
        let who = if bits == "o-w" { "every user" } else { "its group" };
        if file.is_dir() && mode & STICKY != 0 {
            return Some(format!(
                "{name} can be changed by {who} ({facts}), as it is meant to be; use another directory"
            ));
        }
        Some(format!("{name} can be changed by {who} ({facts}); chmod {bits} {name}"))
    }

    /// Root's group, and the private group of a trusted account.
    fn is_of_the_trusted(&self, gid: Gid) -> bool {
        gid == Gid::from_raw(0) || self.uids.iter().any(|uid| is_private(gid, *uid))
    }

    fn read_by_others(&self, file: &fs::Metadata) -> Option<String> {
        let (mode, gid) = (file.mode(), Gid::from_raw(file.gid()));
        if mode & 0o004 != 0 {
            return Some("every account of this host".to_owned());
        }
        // A group by which the daemon reads what another owns.
        let given = !self.uids[1..].contains(&owner(file)) && self.groups.contains(&gid);
        (mode & 0o040 != 0 && !given && !self.is_of_the_trusted(gid)).then(|| format!("group {gid}"))
    }
}

/// The directories in which `path`, or what it leads to, could be replaced, and what has its name there.
fn places(path: &Path, real: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut places: Vec<_> = real.parent().map(|parent| (parent.to_owned(), real.to_owned())).into_iter().collect();
    let mut link = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // As many as the kernel follows.
    for _ in 0..40 {
        let Ok(target) = fs::read_link(&link) else { break };
        let parent = link.parent().unwrap_or(Path::new("/")).to_owned();
        if let Ok(directory) = fs::canonicalize(&parent) {
            places.push((directory, link));
        }
        link = parent.join(target);
    }
    places
}

/// Whether nobody can write there at all, such as in a volume that a container has read-only.
fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn has_access_list(path: &Path) -> bool {
    rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0_u8; 0][..]).is_ok_and(|length| length > 0)
}

/// Whether the group has its only member's name, as many systems make one for each account.
fn is_private(gid: Gid, uid: Uid) -> bool {
    let (Ok(Some(group)), Ok(Some(user))) = (Group::from_gid(gid), User::from_uid(uid)) else { return false };
    group.name == user.name && user.gid == gid && group.mem.iter().all(|member| *member == user.name)
}

fn own_groups() -> Vec<Gid> {
    let own = nix::unistd::getgroups().unwrap_or_default();
    own.into_iter().chain([Gid::effective()]).collect()
}

fn owner(file: &fs::Metadata) -> Uid {
    Uid::from_raw(file.uid())
}

/// In a user namespace, files of accounts outside it seem to belong to the overflow user.
fn unmapped() -> Option<Uid> {
    let map = fs::read_to_string("/proc/self/uid_map").ok()?;
    let whole = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").ok();
    let overflow = overflow.and_then(|text| text.trim().parse().ok()).unwrap_or(65534);
    (!whole).then_some(Uid::from_raw(overflow))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use tempfile::TempDir;

    use super::*;

    struct Place {
        directory: TempDir,
        trust: Trust,
    }

    impl Place {
        fn new() -> Self {
            let trust = Trust { uids: vec![ROOT, Uid::effective()], groups: vec![Gid::from_raw(4242)], unmapped: None };
            Self { directory: TempDir::new().expect("a directory"), trust }
        }

        fn file(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.directory.path().join(name);
            fs::write(&path, "x").expect("ours");
            set_mode(&path, mode);
            path
        }

        fn judge(&self, path: &Path, purpose: Purpose) -> Vec<(bool, String)> {
            let faults = self.trust.judge(path, "the file", purpose);
            faults.into_iter().map(|fault| (fault.refused, fault.to_string())).collect()
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    }

    fn is_root() -> bool {
        nix::unistd::geteuid().is_root()
    }

    #[test]
    fn a_file_that_others_may_change_is_refused_with_a_remedy() {
        let place = Place::new();
        for purpose in [Purpose::Obeyed, Purpose::Secret] {
            assert_eq!(place.judge(&place.file("f", 0o600), purpose), []);
            let all = place.file("f", 0o602);
            let faults = place.judge(&all, purpose);
            let [(true, said)] = &*faults else { panic!("{faults:?}") };
            assert!(said.starts_with(&format!("the file {}: ", all.display())), "{said}");
            assert!(said.contains("by every user (mode 0602, owner ") && said.contains("; chmod o-w /"), "{said}");
        }
        assert_eq!(place.judge(Path::new("/nonexistent/x"), Purpose::Obeyed), []);
        assert_eq!(place.judge(Path::new("/dev/null"), Purpose::Obeyed), []);
    }

    #[test]
    fn owners_and_groups_count() {
        if !is_root() {
            return;
        }
        let place = Place::new();
        let path = place.file("f", 0o660);
        assert_eq!(place.judge(&path, Purpose::Obeyed), [], "root's group");
        chown(&path, None, Some(4242)).expect("root may");
        let faults = place.judge(&path, Purpose::Obeyed);
        assert!(
            matches!(&*faults, [(true, said)] if said.contains("by its group (mode 0660, owner 0:4242)")),
            "{faults:?}"
        );
        set_mode(&path, 0o640);
        assert_eq!(place.judge(&path, Purpose::Obeyed), []);
        chown(&path, Some(61000), None).expect("root may");
        let faults = place.judge(&path, Purpose::Obeyed);
        assert!(
            matches!(&*faults, [(true, said)] if said.contains("by its owner") && said.contains("chown root")),
            "{faults:?}"
        );
        assert_eq!(place.judge(&path, Purpose::Secret), [], "another service's, for a group of ours");
        chown(&path, None, Some(4243)).expect("root may");
        let faults = place.judge(&path, Purpose::Secret);
        assert!(matches!(&*faults, [(false, said)] if said.contains("can be read by group 4243")), "{faults:?}");
        chown(&path, Some(0), Some(0)).expect("root may");
        assert_eq!(place.judge(&path, Purpose::Secret), []);
    }

    #[test]
    fn a_secret_that_everybody_may_read_is_warned_of() {
        let place = Place::new();
        let path = place.file("f", 0o644);
        let faults = place.judge(&path, Purpose::Secret);
        assert!(
            matches!(&*faults, [(false, said)] if said.contains("every account of this host (mode 0644); chmod 600")),
            "{faults:?}"
        );
        assert_eq!(place.judge(&path, Purpose::Obeyed), []);
    }

    #[test]
    fn the_directory_counts_and_that_of_a_link() {
        let place = Place::new();
        let inner = place.directory.path().join("inner");
        fs::create_dir(&inner).expect("ours");
        let path = inner.join("f");
        fs::write(&path, "x").expect("ours");
        set_mode(&inner, 0o777);
        let faults = place.judge(&path, Purpose::Obeyed);
        assert!(
            matches!(&*faults, [(true, said)] if said.contains("replaced in its directory: ") && said.contains("inner can be changed by every user")),
            "{faults:?}"
        );
        set_mode(&inner, 0o1777);
        assert_eq!(place.judge(&path, Purpose::Obeyed), [], "as /tmp is");
        let link = inner.join("link");
        let target = place.file("target", 0o600);
        symlink(&target, &link).expect("a link");
        assert_eq!(place.judge(&link, Purpose::Obeyed), []);
        set_mode(&inner, 0o777);
        assert_eq!(place.judge(&target, Purpose::Obeyed), []);
        let faults = place.judge(&link, Purpose::Obeyed);
        assert!(matches!(&*faults, [(true, said)] if said.contains("inner can be changed")), "{faults:?}");
    }
}
