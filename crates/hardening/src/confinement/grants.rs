//! Needs as rules for directories and ports (pure, but for looking up paths).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use super::directory_of;
use crate::needs::{Need, Needed, Needs};

/// What may be done with files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// They are read.
    Read,
    /// They are read, written, made and removed.
    Write,
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
}

impl Grants {
    /// Paths are looked up as they are now.
    pub(super) fn new(needs: &Needs) -> Self {
        let (mut files, mut missing) = (Vec::new(), Vec::new());
        for Needed { need, reason } in needs.iter() {
            let (path, access) = match need {
                Need::Read(path) => (path, Access::Read),
                Need::Write(path) => (path, Access::Write),
                _ => continue,
            };
            let mut found = places(path);
            if access == Access::Read {
                found.iter_mut().for_each(widen_in_run);
            }
            if found.is_empty() {
                missing.push(format!("{} ({reason})", path.display()));
            }
            for path in found {
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
        Self { files, connect, listen, abstract_sockets, missing }
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
        self.files.iter().any(|grant| wanted.path.starts_with(&grant.path) && wanted.access <= grant.access)
    }

    /// Line by line.
    pub(super) fn explain(&self) -> Vec<String> {
        let file = |Grant { path, access, reason }: &Grant| {
            let verb = if *access == Access::Read { "read" } else { "write" };
            format!("  {verb} {} ({reason})", path.display())
        };
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

/// The places that have to be allowed for a path: where it leads now, and where it is replaced.
fn places(path: &Path) -> Vec<PathBuf> {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // A device, or another thing that nobody replaces.
    if path.exists() && !path.is_file() && !path.is_dir() {
        return path.canonicalize().into_iter().collect();
    }
    let beside = if path.is_dir() { None } else { path.parent().and_then(directory_of) };
    let mut all: Vec<PathBuf> = directory_of(&path).into_iter().chain(beside).collect();
    if all.is_empty() && path.is_file() {
        all.extend(path.canonicalize());
    }
    all.dedup();
    all
}

/// Directories of `/run` come and go with their services, and a rule would not be about the next one of that name.
fn widen_in_run(place: &mut PathBuf) {
    let volatile = Path::new("/run");
    if place.starts_with(volatile) {
        volatile.clone_into(place);
    }
}

/// Each directory once, with the first reason; no grant below one that allows as much.
fn add(files: &mut Vec<Grant>, grant: Grant) {
    if files.iter().any(|before| grant.path.starts_with(&before.path) && grant.access <= before.access) {
        return;
    }
    files.retain(|before| !(before.path.starts_with(&grant.path) && before.access <= grant.access));
    files.push(grant);
}

fn of<T>(needs: &Needs, which: impl Fn(&Need) -> Option<T>) -> Vec<(T, String)> {
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
