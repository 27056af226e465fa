//! Needs as rules for directories and ports (pure, but for looking up paths).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::{landlock, places};
use crate::needs::{Need, Needed, Needs};

/// What may be done with files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// They are read.
    Read,
    /// They are written.
    Append,
    /// They are written and made.
    Follow,
    /// They are written, made, renamed and removed.
    Rotate,
    /// The same, and read, as are directories and sockets.
    Write,
}

impl Access {
    /// Whether all that `other` allows is allowed.
    fn includes(self, other: Self) -> bool {
        landlock::rights(self).contains(landlock::rights(other))
    }

    /// In words.
    fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Append => "append to",
            Self::Follow => "make files, and append to all, in",
            Self::Rotate => "make, append to, rename and remove files in",
            Self::Write => "write",
        }
    }
}

/// What may be done below a directory, or with a file, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The directory or file, without symbolic links.
    pub path: PathBuf,
    /// What may be done.
    pub access: Access,
    /// What for.
    pub reason: String,
}

/// Ports of TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// These, each with the reason.
    These(BTreeMap<u16, String>),
    /// All, for these reasons.
    Any(Vec<String>),
}

/// Rules for files and ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grants {
    /// Directories and files.
    pub files: Vec<Grant>,
    /// Where connections go.
    pub connect: Ports,
    /// Where sockets may be bound later.
    pub listen: BTreeMap<u16, String>,
    /// Whether abstract Unix sockets of other processes are used.
    pub abstract_sockets: bool,
    /// What could not be allowed, since it is nowhere: path and reason.
    pub missing: Vec<String>,
    /// What an administrator should know: files in directories of many.
    pub wide: Vec<String>,
}

impl Grants {
    /// Paths are looked up as they are now.
    pub(super) fn new(needs: &Needs) -> Self {
        let (mut files, mut missing, mut wide) = (Vec::new(), Vec::new(), Vec::new());
        // What will be in a directory that is yet to be made needs nothing above that.
        let own = of(needs, |need| if let Need::Own(path) = need { Some(path.as_path()) } else { None });
        let to_be_made = |path: &Path| own.iter().find(|(own, _)| path.starts_with(own) && !own.exists());
        for Needed { need, reason } in needs.iter() {
            let Some((path, access, mut found)) = of_files(need) else { continue };
            if let Some((own, _)) = to_be_made(path) {
                found = vec![(*own).to_owned()];
            }
            if found.is_empty() {
                missing.push(format!("{} ({reason})", path.display()));
            }
            if access == Access::Read && places::is_directly_in_a_home(path) {
                wide.push(format!(
                    "{reason} is {}, directly in a home, of which nothing else can be read: when another file takes its place, a \
                     restart is needed. Give it a directory of its own",
                    path.display()
                ));
            }
            for path in found {
                if access != Access::Read && path.is_dir() && places::is_shared(&path) {
                    let directory = path.display();
                    wide.push(format!(
                        "{reason} is in {directory}, in all of which the confined process may write files: give it a \
                         directory of its own"
                    ));
                }
                add(&mut files, Grant { path, access, reason: reason.clone() });
            }
        }
        let any: Vec<_> = of(needs, |need| matches!(need, Need::ConnectAnywhere).then_some(()));
        let connect = match any.as_slice() {
            [] => Ports::These(ports(needs, |need| if let Need::Connect(port) = need { Some(*port) } else { None })),
            any => Ports::Any(any.iter().map(|((), reason)| reason.clone()).collect()),
        };
        let listen = ports(needs, |need| if let Need::Listen(port) = need { Some(*port) } else { None });
        let abstract_sockets = needs.reason(&Need::AbstractSockets).is_some();
        Self { files, connect, listen, abstract_sockets, missing, wide }
    }

    /// What of `other` these do not allow, if the kernel `knows_ports` or only files.
    pub(super) fn lacks(&self, other: &Self, knows_ports: bool) -> Vec<String> {
        let files = other.files.iter().filter(|wanted| !self.covers(wanted));
        let mut lacking: Vec<String> =
            files.map(|Grant { path, reason, .. }| format!("{} ({reason})", path.display())).collect();
        if !knows_ports {
            return lacking;
        }
        match (&self.connect, &other.connect) {
            (Ports::Any(_), _) => {}
            (Ports::These(_), Ports::Any(reasons)) => {
                lacking.extend(reasons.iter().map(|reason| format!("any port ({reason})")));
            }
            (Ports::These(own), Ports::These(wanted)) => lacking.extend(new_ports(own, wanted)),
        }
        lacking.extend(new_ports(&self.listen, &other.listen));
        lacking
    }

    fn covers(&self, wanted: &Grant) -> bool {
        self.files.iter().any(|grant| wanted.path.starts_with(&grant.path) && grant.access.includes(wanted.access))
    }

    /// Line by line.
    pub(super) fn explain(&self) -> Vec<String> {
        let file =
            |Grant { path, access, reason }: &Grant| format!("  {} {} ({reason})", access.verb(), path.display());
        let port =
            |verb: &'static str| move |(port, reason): (&u16, &String)| format!("  {verb} port {port} ({reason})");
        let mut lines: Vec<String> = self.files.iter().map(file).collect();
        match &self.connect {
            Ports::These(ports) => lines.extend(ports.iter().map(port("connect to"))),
            Ports::Any(reasons) => {
                lines.extend(reasons.iter().map(|reason| format!("  connect to any port ({reason})")));
            }
        }
        lines.extend(self.listen.iter().map(port("listen at")));
        lines
    }
}

/// What a need says of files: the path, what is done with it, and the places of which that has to be allowed.
fn of_files(need: &Need) -> Option<(&Path, Access, Vec<PathBuf>)> {
    Some(match need {
        Need::ReadPresent(path) | Need::WritePresent(path) if !path.exists() => (path, Access::Read, Vec::new()),
        Need::Read(path) | Need::ReadPresent(path) => (path, Access::Read, places::read(path)),
        Need::Append(path) if path.exists() => (path, Access::Append, path.canonicalize().into_iter().collect()),
        Need::Append(path) | Need::Follow(path) => (path, Access::Follow, places::written(path)),
        Need::Rotate(path) => (path, Access::Rotate, places::written(path)),
        Need::Write(path) | Need::Own(path) | Need::WritePresent(path) => (path, Access::Write, places::written(path)),
        _ => return None,
    })
}

/// Each directory once, with the first reason; no grant below one that allows as much.
fn add(files: &mut Vec<Grant>, grant: Grant) {
    if files.iter().any(|before| grant.path.starts_with(&before.path) && before.access.includes(grant.access)) {
        return;
    }
    files.retain(|before| !(before.path.starts_with(&grant.path) && grant.access.includes(before.access)));
    files.push(grant);
}

fn of<'a, T>(needs: &'a Needs, which: impl Fn(&'a Need) -> Option<T>) -> Vec<(T, String)> {
    needs.iter().filter_map(|needed| Some((which(&needed.need)?, needed.reason.clone()))).collect()
}

fn ports(needs: &Needs, which: impl Fn(&Need) -> Option<u16>) -> BTreeMap<u16, String> {
    let mut ports = BTreeMap::new();
    for (port, reason) in of(needs, which) {
        ports.entry(port).or_insert(reason);
    }
    ports
}

fn new_ports<'a>(
    own: &'a BTreeMap<u16, String>,
    wanted: &'a BTreeMap<u16, String>,
) -> impl Iterator<Item = String> + 'a {
    let new = wanted.iter().filter(|(port, _)| !own.contains_key(port));
    new.map(|(port, reason)| format!("port {port} ({reason})"))
}
