//! The unified hierarchy of control groups as the tree of directories that it is: which group has an id.
//!
//! The owner of a directory may make as many groups in it as there is room for. So what the host has made is looked at
//! for itself, and each subtree that it has given away is a walk of its own, which can be interrupted.

use std::{
    collections::HashMap,
    fs::{self, DirEntry, ReadDir},
    io,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::cgroup::Cgroup;

/// The most groups of the host's own that are looked at.
const MAX_GROUPS: usize = 200_000;
/// The most groups that are looked at below one that was given away.
pub(super) const MAX_BELOW: usize = 10_000;

/// Groups by their ids. The id of a group is the inode of its directory, for the whole of its life.
pub(super) type Groups = HashMap<u64, Arc<Cgroup>>;

/// What the host has made.
#[derive(Debug, Default)]
pub(super) struct HostMade {
    /// Its groups. Those that it has given away are among them, but not what is below those.
    pub(super) groups: Groups,
    /// Those that it has given away: their owner is not that of the hierarchy itself.
    pub(super) delegated: Vec<Subtree>,
}

/// A directory of the hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subtree {
    /// Where it is.
    pub(super) directory: PathBuf,
    /// Its path from the root of the hierarchy.
    pub(super) path: String,
    /// Its id.
    pub(super) id: u64,
}

/// Goes through all groups that the host has made below `root`.
pub(super) fn host_made(root: &Path) -> io::Result<HostMade> {
    let metadata = fs::metadata(root)?;
    let mut found = HostMade::default();
    found.groups.insert(metadata.ino(), Arc::new(Cgroup::parse("/")));
    let mut open = vec![(root.to_owned(), String::new())];
    while let Some((directory, path)) = open.pop() {
        // It may have been removed meanwhile.
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten().filter(is_directory) {
            if found.groups.len() >= MAX_GROUPS {
                return Ok(found);
            }
            let (Ok(below), Some(path)) = (entry.metadata(), join(&path, &entry)) else { continue };
            found.groups.insert(below.ino(), Arc::new(Cgroup::parse(&path)));
            if below.uid() == metadata.uid() {
                open.push((entry.path(), path));
            } else {
                found.delegated.push(Subtree { directory: entry.path(), path, id: below.ino() });
            }
        }
    }
    Ok(found)
}

/// A walk through all groups below one, whatever their owner.
#[derive(Debug)]
pub(super) struct Walk {
    /// The directory that is being read, which may be a large one, and its path.
    reading: Option<(ReadDir, String)>,
    open: Vec<(PathBuf, String)>,
    /// How many groups it may still look at.
    budget: usize,
}

impl Walk {
    /// One that looks at no more than `budget` groups.
    pub(super) fn below(subtree: &Subtree, budget: usize) -> Self {
        Self { reading: None, open: vec![(subtree.directory.clone(), subtree.path.clone())], budget }
    }

    /// Reads at most this number of further directory entries. Returns whether there may be more.
    pub(super) fn go_on(&mut self, entries: usize, mut seen: impl FnMut(u64, &str)) -> bool {
        for _ in 0..entries {
            if self.budget == 0 || (self.reading.is_none() && !self.read_next()) {
                return false;
            }
            let Some((reading, path)) = &mut self.reading else { continue };
            match reading.next() {
                None => self.reading = None,
                Some(Ok(entry)) if is_directory(&entry) => {
                    self.budget -= 1;
                    if let Some(path) = join(path, &entry) {
                        seen(entry.ino(), &path);
                        self.open.push((entry.path(), path));
                    }
                }
                Some(_) => {}
            }
        }
        true
    }

    fn read_next(&mut self) -> bool {
        while let Some((directory, path)) = self.open.pop() {
            // It may have been removed meanwhile.
            if let Ok(reading) = fs::read_dir(&directory) {
                self.reading = Some((reading, path));
                return true;
            }
        }
        false
    }
}

/// Most entries are files: the kind is known without a look at them.
fn is_directory(entry: &DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

fn join(path: &str, entry: &DirEntry) -> Option<String> {
    Some(format!("{path}/{}", entry.file_name().to_str()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    fn id(path: &Path) -> u64 {
        fs::metadata(path).expect("made").ino()
    }

    /// A hierarchy with these groups, made by the owner of the test.
    fn hierarchy(groups: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a directory");
        for group in groups {
            fs::create_dir_all(root.path().join(group)).expect("made");
        }
        root
    }

    #[test]
    fn groups_of_the_host_are_found_by_their_ids() {
        let root = hierarchy(&["system.slice/a.service/x", "user.slice"]);
        fs::write(root.path().join("cgroup.procs"), "").expect("written");
        let found = host_made(root.path()).expect("readable");
        let group = &found.groups[&id(&root.path().join("system.slice/a.service/x"))];
        assert_eq!((&*group.path, group.unit.as_deref()), ("/system.slice/a.service/x", Some("a.service")));
        assert!(found.groups[&id(root.path())].is_root());
        assert_eq!((found.groups.len(), found.delegated.len()), (5, 0));
        assert!(host_made(&root.path().join("none")).is_err());
    }

    #[test]
    fn what_was_given_away_is_a_walk_of_its_own_with_a_budget() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = hierarchy(&["user.slice/user@1.service"]);
        let given = root.path().join("user.slice/user@1.service");
        for group in 0..10 {
            fs::create_dir_all(given.join(format!("{group}/nginx.service"))).expect("made");
        }
        chown(&given, Some(1), None).expect("root may");
        let found = host_made(root.path()).expect("readable");
        assert_eq!(found.groups.len(), 3, "{found:?}");
        let [subtree] = found.delegated.as_slice() else { panic!("{found:?}") };
        assert_eq!((subtree.path.as_str(), subtree.id), ("/user.slice/user@1.service", id(&given)));
        let mut seen = Groups::new();
        let mut walk = Walk::below(subtree, 100);
        let mut parts = 1;
        while walk.go_on(4, |id, path| drop(seen.insert(id, Arc::new(Cgroup::parse(path))))) {
            parts += 1;
        }
        assert!(seen.len() == 20 && parts >= 5, "{parts} {seen:?}");
        let group = &seen[&id(&given.join("7/nginx.service"))];
        assert_eq!(group.unit.as_deref(), Some("user@1.service"));
        let mut count = 0;
        let mut walk = Walk::below(subtree, 7);
        while walk.go_on(100, |_, _| count += 1) {}
        assert_eq!(count, 7);
    }
}
