//! What a process needs of the system to do what its settings say, each with the reason: data, of which a confinement is
//! made.

use std::{
    mem,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
};

/// One thing that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// A file, or what is below a directory, is read. It may be replaced by another one of that name.
    Read(PathBuf),
    /// The same, if it is there now: not what is above it.
    ReadPresent(PathBuf),
    /// Files are made, written and removed in this directory.
    Write(PathBuf),
    /// The same, if it is there now: not what is above it.
    WritePresent(PathBuf),
    /// As `Write`, in a directory that the process makes before, if it is not there: not what is above it.
    Own(PathBuf),
    /// This file is written, and stays the same.
    Append(PathBuf),
    /// This file is written, and made anew where another program has moved it away.
    Follow(PathBuf),
    /// This file is written, moved aside when it is full, and made anew; old ones are removed beside it.
    Rotate(PathBuf),
    /// TCP connections to this port are opened.
    Connect(u16),
    /// TCP connections are opened to ports that no setting says.
    ConnectAnywhere,
    /// A TCP socket is bound to this port while the process runs.
    Listen(u16),
    /// An abstract Unix socket of another process is used.
    AbstractSockets,
    /// A program is run by a helper; the number stands for all that it is started with.
    Program(u64),
    /// Programs are started by this process, which of them nobody knows before.
    Programs,
    /// Code of others is loaded into this process, which does nobody knows what.
    ForeignCode,
    /// It is looked up which process has a connection and which program that is, which `/proc` shows to no process that
    /// is confined.
    Processes,
}

/// One thing that is needed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// What.
    pub need: Need,
    /// What for.
    pub reason: String,
}

/// All that is needed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    all: Vec<Needed>,
    /// What the reasons begin with: who has them.
    whose: String,
}

impl Needs {
    /// What is added to the answer is needed by `whose`: `source vault`.
    #[must_use]
    pub fn of(&mut self, whose: &str) -> NeedsOf<'_> {
        let before = mem::replace(&mut self.whose, whose.to_owned());
        NeedsOf { needs: self, before }
    }

    /// Adds one.
    pub fn add(&mut self, need: Need, reason: &str) {
        let reason = match self.whose.as_str() {
            "" => reason.to_owned(),
            whose => format!("{whose}: {reason}"),
        };
        let needed = Needed { need, reason };
        if !self.all.contains(&needed) {
            self.all.push(needed);
        }
    }

    /// The port of a server: that of the URL, or the usual one of its scheme. What is no URL is at no port.
    pub fn url(&mut self, url: &str, reason: &str) {
        if let Some(port) = port_of(url) {
            self.add(Need::Connect(port), reason);
        }
    }

    /// A file that is read.
    pub fn read(&mut self, path: &Path, reason: &str) {
        self.add(Need::Read(path.to_owned()), reason);
    }

    /// All, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Needed> {
        self.all.iter()
    }

    /// The reason for the first that is `need`.
    pub fn reason(&self, need: &Need) -> Option<&str> {
        self.all.iter().find(|needed| needed.need == *need).map(|needed| needed.reason.as_str())
    }
}

/// Where the needs of one part are added. With it, its name ends.
#[derive(Debug)]
pub struct NeedsOf<'a> {
    needs: &'a mut Needs,
    before: String,
}

impl Deref for NeedsOf<'_> {
    type Target = Needs;

    fn deref(&self) -> &Needs {
        self.needs
    }
}

impl DerefMut for NeedsOf<'_> {
    fn deref_mut(&mut self) -> &mut Needs {
        self.needs
    }
}

impl Drop for NeedsOf<'_> {
    fn drop(&mut self) {
        self.needs.whose = mem::take(&mut self.before);
    }
}

fn port_of(url: &str) -> Option<u16> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // In brackets an address has colons of its own.
    let after_host = host_and_port.rsplit_once(']').map_or(host_and_port, |(_, rest)| rest);
    match (after_host.rsplit_once(':'), scheme) {
        (Some((_, port)), _) => port.parse().ok(),
        (None, "https") => Some(443),
        (None, "http") => Some(80),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_of_a_url_is_written_or_the_usual_one() {
        for (url, port) in [
            ("https://vault.example.com:8200/v1", Some(8200)),
            ("https://sts.amazonaws.com", Some(443)),
            ("http://169.254.169.254/", Some(80)),
            ("http://[fd00:ec2::254]/latest", Some(80)),
            ("http://[::1]:8080", Some(8080)),
            ("https://user:secret@host/", Some(443)),
            ("ftp://host", None),
            ("host:80", None),
        ] {
            assert_eq!(port_of(url), port, "{url}");
        }
    }

    #[test]
    fn each_need_is_there_once_with_whose_it_is() {
        let mut needs = Needs::default();
        let mut of_a = needs.of("source a");
        of_a.url("https://a", "its server");
        of_a.of("its proxy").url("http://proxy", "");
        of_a.url("https://a", "its server");
        drop(of_a);
        needs.of("source b").url("https://a", "its server");
        needs.url("https://a", "all servers");
        let reasons: Vec<_> = needs.iter().map(|needed| needed.reason.as_str()).collect();
        assert_eq!(reasons, ["source a: its server", "its proxy: ", "source b: its server", "all servers"]);
        assert_eq!(needs.reason(&Need::Connect(443)), Some("source a: its server"));
    }
}
