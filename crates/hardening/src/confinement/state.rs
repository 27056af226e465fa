//! What is in force: reported by the daemon to its log and at its admin socket.

use std::fmt;

use rustix::{
    process::{DumpableBehavior, dumpable_behavior},
    thread::{capabilities, no_new_privs},
};

use super::Mode;

/// What is in force in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// What was wanted.
    pub mode: Mode,
    /// The version of Landlock that confines files and ports.
    pub landlock: Option<u32>,
    /// What is done about system calls: `None` if nothing is.
    pub calls: Option<String>,
    /// Why files and ports are not confined, though the kernel might.
    pub widened: Vec<String>,
    /// Why connections go to any port.
    pub unrestricted_ports: Vec<String>,
    /// Files that are nowhere, and that cannot be read if they appear.
    pub missing: Vec<String>,
    /// What the kernel refused to put in force.
    pub problems: Vec<String>,
    /// Whether no page of this process is written to a swap.
    pub locked: bool,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.mode, self.landlock, self.widened.as_slice()) {
            (Mode::Off, ..) => f.write_str("off")?,
            (Mode::Report, ..) => f.write_str("report only, files and ports are not confined")?,
            (_, Some(version), _) => write!(f, "files and ports by Landlock {version}")?,
            (_, None, []) => f.write_str("files and ports are NOT confined, as Landlock is not available")?,
            (_, None, widened) => write!(f, "files and ports are not confined: {}", widened.join("; "))?,
        }
        if self.landlock.is_some_and(|version| version < 4) {
            f.write_str(" (only files: ports need version 4)")?;
        }
        if !self.unrestricted_ports.is_empty() {
            write!(f, ", connections to any port: {}", self.unrestricted_ports.join("; "))?;
        }
        match &self.calls {
            Some(calls) => write!(f, "; system calls: {calls}")?,
            None => f.write_str("; system calls: all")?,
        }
        let none_left = capabilities(None).is_ok_and(|sets| sets.effective.is_empty() && sets.permitted.is_empty());
        f.write_str(if none_left { "; no capabilities" } else { "; CAPABILITIES are left" })?;
        if no_new_privs().is_ok_and(|set| set) {
            f.write_str(", no new privileges")?;
        }
        if dumpable_behavior().is_ok_and(|behavior| behavior == DumpableBehavior::NotDumpable) {
            f.write_str(", not dumpable")?;
        }
        f.write_str(if self.locked { ", memory locked" } else { ", memory not locked" })
    }
}
