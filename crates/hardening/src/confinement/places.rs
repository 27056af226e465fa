//! Where a path leads, now and later: a rule is about the file or directory that has the name now, and files are replaced.

use std::{
    ffi::OsString,
    fs,
    path::{Component, Path, PathBuf},
};

use nix::unistd::{User, geteuid};

/// As many links as the kernel follows.
const LINKS: usize = 40;

/// Accounts of persons begin here (`UID_MIN` of `login.defs(5)`).
const FIRST_PERSON: u32 = 1000;

/// Directories in which many programs or users have something.
const SHARED: &[&str] = &[
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/dev/shm",
    "/etc",
    "/home",
    "/lib",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/cache",
    "/var/home",
    "/var/lib",
    "/var/log",
    "/var/spool",
    "/var/tmp",
];

/// The places at which a file is read: its directory, since it is replaced by others of that name, and those to which
/// links on the way to it will lead when they are switched. Of a home only the file. Empty if there is none.
pub(super) fn read(path: &Path) -> Vec<PathBuf> {
    let path = absolute(path);
    if is_device(&path) {
        return path.canonicalize().into_iter().collect();
    }
    let mut all: Vec<PathBuf> = directory_of(&path).into_iter().chain(of_name(&path)).chain(switched(&path)).collect();
    if all.is_empty() && path.is_file() {
        all.extend(path.canonicalize());
    }
    if !path.is_dir() && all.iter().any(|place| is_home(place)) {
        all.retain(|place| !is_home(place));
        all.extend(path.canonicalize());
    }
    all.iter_mut().for_each(widen_in_run);
    all.sort();
    all.dedup();
    all
}

/// The directories in which a file is written: that of its name and, if that is a link, that of the file.
pub(super) fn written(path: &Path) -> Vec<PathBuf> {
    let path = absolute(path);
    if is_device(&path) {
        return path.canonicalize().into_iter().collect();
    }
    let mut all: Vec<PathBuf> = directory_of(&path).into_iter().chain(of_name(&path)).collect();
    if all.is_empty() && path.is_file() {
        all.extend(path.canonicalize());
    }
    all.sort();
    all.dedup();
    all
}

/// Whether many have something in a directory: one of the system's, or somebody's home.
pub(super) fn is_shared(directory: &Path) -> bool {
    SHARED.iter().any(|shared| is_same(Path::new(shared), directory)) || is_home(directory)
}

/// Whether a directory is the one of that name: by the name itself, or by where it leads (`/home -> /data/home`).
fn is_same(name: &Path, directory: &Path) -> bool {
    name == directory || name.canonicalize().is_ok_and(|real| real == directory)
}

fn is_home(directory: &Path) -> bool {
    let person = |user: &User| user.uid.is_root() || user.uid.as_raw() >= FIRST_PERSON;
    let own = User::from_uid(geteuid()).ok().flatten().filter(person);
    is_same(Path::new("/root"), directory)
        || is_below_one_of(&["/home", "/var/home"].map(Path::new), directory)
        || own.is_some_and(|user| is_same(&user.dir, directory) && directory != Path::new("/"))
}

fn is_below_one_of(homes: &[&Path], directory: &Path) -> bool {
    directory.parent().is_some_and(|parent| homes.iter().any(|home| is_same(home, parent)))
}

/// Whether it is a file of somebody's home, and in no directory there.
pub(super) fn is_directly_in_a_home(path: &Path) -> bool {
    let directory = path.parent().and_then(|directory| directory.canonicalize().ok());
    path.is_file() && directory.is_some_and(|directory| is_home(&directory))
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// A device, or another thing that nobody replaces.
fn is_device(path: &Path) -> bool {
    path.exists() && !path.is_file() && !path.is_dir()
}

/// The directory in which a file is, and will be when it is replaced. Where neither is there, that above them, unless that
/// is a directory of many.
fn directory_of(path: &Path) -> Option<PathBuf> {
    let (depth, existing) =
        path.ancestors().enumerate().find_map(|(depth, ancestor)| Some((depth, ancestor.canonicalize().ok()?)))?;
    let directory = if existing.is_dir() { existing } else { existing.parent()?.to_owned() };
    // Nothing is confined by what allows everything.
    let fits = directory != Path::new("/") && (depth < 2 || is_in_run(&directory) || !is_shared(&directory));
    fits.then_some(directory)
}

/// The directory in which the name of a file is, wherever that leads. One that is not there is none.
fn of_name(path: &Path) -> Option<PathBuf> {
    if path.is_dir() { None } else { path.parent().filter(|parent| parent.exists()).and_then(directory_of) }
}

/// Where the file will be when a link on the way to it is made to lead elsewhere: that is how certificates and mounted
/// secrets are replaced as a whole. A directory to which such a link leads is followed by one beside it
/// (`..data -> ..2026_11_27`, `current -> releases/7`), a file by whatever has the link's name.
fn switched(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut rest: Vec<OsString> = parts(path);
    let (mut reached, mut links) = (PathBuf::from("/"), 0);
    while let Some(name) = rest.pop() {
        if name == ".." {
            reached.pop();
            continue;
        }
        let here = reached.join(&name);
        let Some(target) = fs::read_link(&here).ok().filter(|_| links < LINKS) else {
            reached = here;
            continue;
        };
        links += 1;
        if let Ok(to) = here.canonicalize() {
            let beside =
                if to.is_dir() { to.parent().filter(|parent| is_switch(&target, parent, &reached)) } else { None };
            let replaced = (!to.is_dir()).then_some(&*reached);
            let places = beside.into_iter().chain(replaced).filter(|place| *place != Path::new("/"));
            found.extend(places.map(Path::to_owned));
        }
        if target.is_absolute() {
            reached = PathBuf::from("/");
        }
        rest.extend(parts(&target));
    }
    found
}

/// Whether a link in the directory `of_link` to a directory in `parent` is one that is switched, and no fixture of the host
/// such as `/home -> /data/home`: what it leads to is below the link's directory or, by a relative link such as
/// `current -> ../releases/7`, below the one above it.
fn is_switch(target: &Path, parent: &Path, of_link: &Path) -> bool {
    let is_own = |directory: &Path| directory != Path::new("/") && !is_shared(directory);
    let above = of_link.parent().filter(|above| target.is_relative() && is_own(above));
    let near = parent.starts_with(of_link) || above.is_some_and(|above| parent.starts_with(above));
    near && of_link != Path::new("/") && !is_shared(parent)
}

/// The names in a path, the last one first.
fn parts(path: &Path) -> Vec<OsString> {
    let name = |part: Component| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}

fn is_in_run(place: &Path) -> bool {
    place.starts_with("/run")
}

/// Directories of `/run` come and go with their services, and a rule would not be about the next one of that name.
fn widen_in_run(place: &mut PathBuf) {
    if is_in_run(place) {
        *place = PathBuf::from("/run");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_allowed_with_its_directory_and_never_with_the_root() {
        let directory = tempfile::tempdir().expect("a directory");
        let real = directory.path().canonicalize().expect("there");
        assert_eq!(directory_of(&directory.path().join("not/there")), Some(real.clone()));
        let link = directory.path().join("link");
        symlink("/etc/passwd", &link).expect("a link");
        assert_eq!(directory_of(&link), Some("/etc".into()));
        for nowhere in ["/no-such-directory/file", "/tmp/no-such-directory/file", "/var/lib/no/such"] {
            assert_eq!(directory_of(Path::new(nowhere)), None, "{nowhere}");
        }
        assert_eq!(directory_of(Path::new("/tmp/file-that-is-not-there-yet")), Some("/tmp".into()));
    }

    #[test]
    fn what_a_switched_link_will_lead_to_is_allowed_and_fixtures_are_not_taken_for_switches() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("there");
        let file = |path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().expect("in one")).expect("ours");
            fs::write(&path, "").expect("a file");
            path
        };
        let link = |to: &str, at: &str| {
            let at = root.join(at);
            fs::create_dir_all(at.parent().expect("in one")).expect("ours");
            symlink(to, &at).expect("a link");
        };
        // As Kubernetes mounts secrets.
        file("mount/..2026_1/token");
        link("..2026_1", "mount/..data");
        link("..data/token", "mount/token");
        let (mount, first) = (root.join("mount"), root.join("mount/..2026_1"));
        assert_eq!(read(&root.join("mount/token")), [mount.clone(), first.clone()]);
        // Past the link that stands for the file.
        assert_eq!(read(&root.join("mount/..data/token")), [mount, first]);
        // As certbot keeps certificates.
        file("archive/host/cert1.pem");
        link("../../archive/host/cert1.pem", "live/host/cert.pem");
        assert_eq!(read(&root.join("live/host/cert.pem")), [root.join("archive/host"), root.join("live/host")]);
        // As releases are put in place.
        file("app/releases/1/cert.pem");
        link(root.join("app/releases/1").to_str().expect("text"), "app/current");
        let releases = [root.join("app/releases"), root.join("app/releases/1")];
        assert_eq!(read(&root.join("app/current/cert.pem")), releases);
        // A home on another disk: those of others beside it are none of ours.
        file("disk/users/me/token");
        link(root.join("disk/users/me").to_str().expect("text"), "homes/me");
        assert_eq!(read(&root.join("homes/me/token")), [root.join("disk/users/me")]);
        assert_eq!(read(Path::new("/lib/no-such-file")), [Path::new("/lib").canonicalize().expect("there")]);
        // A circle leads nowhere.
        link("b", "a");
        link("a", "b");
        assert_eq!(read(&root.join("a/x")), [root]);
    }

    #[test]
    fn of_a_home_only_the_file_is_read() {
        // That of root, as whom tests run, or of the person who runs them.
        let home = User::from_uid(geteuid()).ok().flatten().map(|user| user.dir).filter(|home| is_home(home));
        let Some(home) = home else { return };
        assert_eq!(read(&home.join("no-such-file-of-alppaca")), [""; 0].map(PathBuf::from));
        let directory = tempfile::tempdir_in(&home).expect("a directory");
        let file = directory.path().join("file");
        fs::write(&file, "").expect("ours");
        assert_eq!(read(&file), [directory.path().canonicalize().expect("there")]);
        let own = tempfile::NamedTempFile::new_in(&home).expect("a file");
        assert_eq!(read(own.path()), [own.path().canonicalize().expect("there")]);
        assert!(is_directly_in_a_home(own.path()) && !is_directly_in_a_home(&file));
        assert_eq!(read(&home), [home.canonicalize().expect("there")]);
    }

    #[test]
    fn a_file_whose_directory_is_not_there_opens_no_directory_of_many() {
        let nowhere = [""; 0].map(PathBuf::from);
        for path in ["/srv/no-such-directory/key.pem", "/var/lib/no-such-directory/x", "/var/lib/no/such/x"] {
            let path = Path::new(path);
            assert_eq!((read(path), written(path)), (nowhere.to_vec(), nowhere.to_vec()), "{}", path.display());
        }
        let directory = tempfile::tempdir().expect("a directory");
        let real = directory.path().canonicalize().expect("there");
        let path = directory.path().join("not/there");
        assert_eq!((read(&path), written(&path)), (vec![real.clone()], vec![real]));
        assert_eq!(written(Path::new("/tmp/file-that-is-not-there-yet")), [PathBuf::from("/tmp")]);
    }

    #[test]
    fn a_home_is_known_by_where_the_directory_of_homes_leads() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("there");
        fs::create_dir_all(root.join("data/home/me")).expect("ours");
        symlink("data/home", root.join("home")).expect("a link");
        let homes = [&*root.join("home")];
        assert!(is_below_one_of(&homes, &root.join("data/home/me")) && is_below_one_of(&homes, &root.join("home/me")));
        assert!(!is_below_one_of(&homes, &root.join("data/home/me/file")));
        assert!(!is_below_one_of(&homes, &root.join("data/home")));
    }

    #[test]
    fn directories_of_many_are_known() {
        for (directory, shared) in
            [("/tmp", true), ("/home/somebody", true), ("/root", true), ("/var/log", true), ("/var/log/alppaca", false)]
        {
            assert_eq!(is_shared(Path::new(directory)), shared, "{directory}");
        }
    }
}
