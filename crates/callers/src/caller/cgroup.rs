//! Control groups: from the path of one to the systemd unit, the slices and the container.
//!
//! Only what the host itself has named counts. Below a unit that manages its own subtree (`user@1000.service`) every
//! user makes directories of any name, `nginx.service` or `docker-….scope`: those prove nothing.

use std::{fs, io, path::PathBuf};

use super::containers::ContainerId;

/// What runtimes put in front of a container's id in the name of its scope.
const RUNTIMES: [&str; 4] = ["docker-", "libpod-", "cri-containerd-", "crio-"];
/// Directories that runtimes without systemd make in the root of the hierarchy.
const PARENTS: [&str; 4] = ["docker", "libpod_parent", "kubepods", "machine"];

/// A control group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cgroup {
    /// Its path from the root of the hierarchy.
    pub path: Box<str>,
    /// The unit of the system's service manager.
    pub unit: Option<Box<str>>,
    /// The slices around the unit, the outermost first.
    pub slices: Box<[Box<str>]>,
    /// The containers that its path names, the outermost first. A name is no proof: the user who starts a container may put
    /// it below the group of another, and a container may name groups below its own.
    pub containers: Box<[Mention]>,
}

/// A container that is named by a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    /// Its id.
    pub id: ContainerId,
    /// The part of the path up to and including its name.
    pub group: Box<str>,
}

impl Cgroup {
    /// Reads a path such as `/system.slice/nginx.service`.
    pub fn parse(path: &str) -> Self {
        let mut rest = path.split('/').filter(|part| !part.is_empty()).peekable();
        let mut slices = Vec::new();
        while let Some(slice) = rest.next_if(|part| is_unit(part, ".slice")) {
            slices.push(slice.into());
        }
        let unit =
            rest.peek().map(|part| unescape(part)).filter(|part| is_unit(part, ".service") || is_unit(part, ".scope"));
        let of_runtime = match (rest.next(), &unit) {
            (Some(scope), Some(_)) => container_id(scope).is_some(),
            (Some(parent), None) => slices.is_empty() && PARENTS.contains(&parent),
            _ => false,
        };
        let containers = if of_runtime { mentions(path).collect() } else { Box::default() };
        Self { path: path.into(), unit: unit.map(Into::into), slices: slices.into(), containers }
    }

    /// Whether it is the root. The kernel also reports what it cannot place there; systemd places nothing there.
    pub fn is_root(&self) -> bool {
        &*self.path == "/"
    }
}

/// Names that could be taken for something else are written with an underscore in front.
fn unescape(part: &str) -> &str {
    part.strip_prefix('_').unwrap_or(part)
}

fn is_unit(part: &str, kind: &str) -> bool {
    part.len() > kind.len() && part.ends_with(kind)
}

/// The id in the name of a container's control group: as it is, after the name of its runtime, and as a scope.
fn container_id(part: &str) -> Option<ContainerId> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    RUNTIMES.iter().find_map(|runtime| part.strip_prefix(runtime)).unwrap_or(part).parse().ok()
}

fn mentions(path: &str) -> impl Iterator<Item = Mention> {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    ends.filter_map(|end| {
        let group = path.get(..end)?;
        let id = container_id(group.rsplit('/').next()?)?;
        Some(Mention { id, group: group.into() })
    })
}

/// The group of the container with this id, if that is where a path leads.
pub(super) fn group_of(path: &str, id: &ContainerId) -> Option<Box<str>> {
    mentions(path).find(|mention| mention.id == *id && is_inside(path)).map(|mention| mention.group)
}

/// From `/proc/<pid>/cgroup`: whether a process is in a container with this id.
pub(super) fn is_in_container(text: &str, id: &ContainerId) -> bool {
    text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| group_of(path, id).is_some())
}

/// From `/proc/<pid>/cgroup`: the group of the container with this id in the unified hierarchy.
pub(super) fn group_in_container(text: &str, id: &ContainerId) -> Option<Box<str>> {
    text.lines().find_map(|line| group_of(line.strip_prefix("0::")?, id))
}

/// From `/proc/<pid>/cgroup`: the path in the unified hierarchy, or, where that says nothing (cgroup v1), in systemd's,
/// or in the first that says something.
pub fn parse_membership(text: &str) -> Option<Cgroup> {
    let lines = || {
        text.lines().filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            Some((parts.next()?, parts.next()?, parts.next()?))
        })
    };
    let unified = lines().find(|(number, ..)| *number == "0");
    let systemd = lines().find(|(_, controllers, _)| *controllers == "name=systemd");
    let all = unified.into_iter().chain(systemd).chain(lines());
    let paths = || all.clone().map(|(_, _, path)| path).filter(|path| is_inside(path));
    paths().find(|path| *path != "/").or_else(|| paths().next()).map(Cgroup::parse)
}

/// Whether a path locates a process. Seen from within a control group, what is outside begins with `/..`.
fn is_inside(path: &str) -> bool {
    path.starts_with('/') && !path.split('/').any(|part| part == "..")
}

/// The control group of a process.
pub fn of_process(pid: u32) -> io::Result<Cgroup> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    parse_membership(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Where the unified hierarchy is mounted, if it is.
pub fn mount_point() -> io::Result<Option<PathBuf>> {
    Ok(parse_mount_point(&fs::read_to_string("/proc/self/mountinfo")?))
}

/// From `/proc/self/mountinfo` (proc(5)): `36 35 98:0 /root /mount/point options - type source options`.
pub fn parse_mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let (root, point) = (mount.split(' ').nth(3)?, mount.split(' ').nth(4)?);
        (kind.split(' ').next() == Some("cgroup2") && root == "/").then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_path_tells_unit_slices_and_container() {
        for (path, unit, slices, container) in [
            ("/", None, "", false),
            ("/system.slice/nginx.service", Some("nginx.service"), "system.slice", false),
            (
                "/system.slice/system-getty.slice/getty@tty1.service/x",
                Some("getty@tty1.service"),
                "system.slice system-getty.slice",
                false,
            ),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                Some("session-3.scope"),
                "user.slice user-1000.slice",
                false,
            ),
            ("/system.slice/docker-ID.scope/init", Some("docker-ID.scope"), "system.slice", true),
            ("/machine.slice/libpod-ID.scope/container", Some("libpod-ID.scope"), "machine.slice", true),
            (
                "/kubepods.slice/kubepods-pod1.slice/cri-containerd-ID.scope",
                Some("cri-containerd-ID.scope"),
                "kubepods.slice kubepods-pod1.slice",
                true,
            ),
            ("/docker/ID", None, "", true),
            ("/kubepods/burstable/pod12/ID", None, "", true),
            ("/libpod_parent/libpod-ID", None, "", true),
            ("/_docker.service/x", Some("docker.service"), "", false),
            ("/init.scope", Some("init.scope"), "", false),
        ] {
            let group = Cgroup::parse(&path.replace("ID", ID));
            assert_eq!(group.unit.as_deref().map(str::to_owned), unit.map(|unit| unit.replace("ID", ID)), "{path}");
            assert_eq!(group.slices.join(" "), slices, "{path}");
            let named: Vec<&str> = group.containers.iter().map(|mention| mention.id.as_str()).collect();
            assert_eq!(named, if container { vec![ID] } else { vec![] }, "{path}");
        }
    }

    #[test]
    fn names_that_a_user_has_made_below_the_own_unit_tell_nothing() {
        let user = "/user.slice/user-1000.slice/user@1000.service";
        for below in ["app.slice/nginx.service", &format!("user.slice/docker-{ID}.scope"), &format!("docker/{ID}")] {
            let group = Cgroup::parse(&format!("{user}/{below}"));
            assert_eq!(group.unit.as_deref(), Some("user@1000.service"), "{below}");
            assert!(group.slices.len() == 2 && group.containers.is_empty(), "{below}");
        }
        assert!(Cgroup::parse(&format!("/system.slice/ci.service/docker-{ID}.scope")).containers.is_empty());
    }

    #[test]
    fn each_container_that_a_path_names_is_told_with_its_group() {
        let other = "f".repeat(64);
        for path in [
            "/docker/ID/OTHER/x",
            "/machine.slice/libpod-ID.scope/libpod-OTHER.scope",
            "/libpod_parent/ID/libpod-OTHER",
            "/docker/ID/docker/OTHER",
        ] {
            let path = path.replace("ID", ID).replace("OTHER", &other);
            let group = Cgroup::parse(&path);
            let named: Vec<&str> = group.containers.iter().map(|mention| mention.id.as_str()).collect();
            assert_eq!(named, [ID, &other], "{path}");
            for mention in &group.containers {
                assert!(path.starts_with(&*mention.group) && mention.group.contains(mention.id.as_str()), "{path}");
            }
        }
    }

    #[test]
    fn a_process_is_in_a_container_if_a_group_has_exactly_its_name() {
        let id: ContainerId = ID.parse().expect("an id");
        for (text, expected) in [
            ("0::/docker/ID/init\n", (true, Some("/docker/ID"))),
            ("4:memory:/docker/ID\n0::/\n", (true, None)),
            ("4:memory:/docker/ID\n0::/docker/ID\n", (true, Some("/docker/ID"))),
            ("0::/user.slice/a.service/libpod-ID.scope\n", (true, Some("/user.slice/a.service/libpod-ID.scope"))),
            ("0::/system.slice/my-ID.service\n", (false, None)),
            ("0::/../docker/ID\n", (false, None)),
            ("0::/\n", (false, None)),
        ] {
            let text = text.replace("ID", ID);
            let expected = (expected.0, expected.1.map(|group| group.replace("ID", ID).into_boxed_str()));
            assert_eq!((is_in_container(&text, &id), group_in_container(&text, &id)), expected, "{text}");
        }
    }

    #[test]
    fn a_membership_is_read_from_every_kind_of_hierarchy() {
        for (text, path) in [
            ("0::/system.slice/a.service\n", "/system.slice/a.service"),
            ("5:devices:/x\n1:name=systemd:/system.slice/b.service\n0::/\n", "/system.slice/b.service"),
            ("4:memory:/docker/abc\n1:name=systemd:/\n", "/docker/abc"),
            ("3:cpu:/\n0::/\n", "/"),
            ("1:name=systemd:/a:b/c.service\n", "/a:b/c.service"),
        ] {
            assert_eq!(parse_membership(text).map(|group| group.path.into_string()).as_deref(), Some(path), "{text}");
        }
        for text in ["", "x", "0:", "0::relative", "::", "0::/../b.service"] {
            assert_eq!(parse_membership(text), None, "{text}");
        }
        assert!(of_process(std::process::id()).is_ok());
    }

    #[test]
    fn the_unified_hierarchy_is_found_among_the_mounts() {
        let mounts = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(parse_mount_point(mounts), Some("/sys/fs/cgroup".into()));
        let hybrid = "30 25 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      31 25 0:27 / /sys/fs/cgroup/unified rw shared:1 - cgroup2 cgroup2 rw\n";
        assert_eq!(parse_mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(parse_mount_point("1 2 3:4 /part /x rw - cgroup2 a rw\n1 - cgroup2\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _anything = (Cgroup::parse(&text), parse_membership(&text), parse_mount_point(&text));
        }
    }
}
