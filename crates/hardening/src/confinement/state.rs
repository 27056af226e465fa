//! What is in force: in the log, at the admin socket and in the metrics; and, before a start, what would be.

use std::{fmt, fs};

use rustix::{
    process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit},
    thread::{capabilities, no_new_privs},
};

use super::{Mode, PORTS, landlock};

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
    /// Whether a helper runs programs, since this process can run none.
    pub helper: bool,
    /// What the process is without any sandbox; none before the start.
    pub own: Option<Own>,
}

/// What a process that holds secrets has given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is in force or not, whatever the others are")]
pub struct Own {
    /// All capabilities.
    pub no_capabilities: bool,
    /// To gain privileges.
    pub no_new_privs: bool,
    /// To be traced or dumped by its own account.
    pub not_dumpable: bool,
    /// To leave a core dump behind.
    pub no_core_dumps: bool,
    /// To have memory written to a swap.
    pub locked: bool,
}

impl Own {
    /// As this process is, whose memory is `locked`.
    pub fn now(locked: bool) -> Self {
        let none_left = capabilities(None).is_ok_and(|sets| sets.effective.is_empty() && sets.permitted.is_empty());
        Self {
            no_capabilities: none_left,
            no_new_privs: no_new_privs().is_ok_and(|set| set),
            not_dumpable: dumpable_behavior().is_ok_and(|behavior| behavior == DumpableBehavior::NotDumpable),
            no_core_dumps: getrlimit(Resource::Core).maximum == Some(0),
            locked,
        }
    }
}

/// What a kernel can put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// Its version of Landlock, as far as this program knows versions; none if it has none.
    pub landlock: Option<u32>,
    /// Whether it can filter system calls, and end a process for one.
    pub seccomp: bool,
}

impl Kernel {
    /// That of this host.
    pub fn here() -> Self {
        let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
        Self { landlock: landlock::version(), seccomp: actions.split_whitespace().any(|word| word == "kill_process") }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.landlock {
            Some(version) => write!(f, "Landlock {version}{}", without(version))?,
            None => {
                f.write_str("no Landlock (it needs Linux 5.13, CONFIG_SECURITY_LANDLOCK, and `landlock` in `lsm=`)")?;
            }
        }
        f.write_str(if self.seccomp { ", seccomp" } else { ", no seccomp" })
    }
}

/// What a version of Landlock does not restrict, of all that this program would have it restrict.
/// <https://docs.kernel.org/userspace-api/landlock.html#previous-limitations>
pub fn lacks(version: u32) -> Vec<&'static str> {
    let since = [
        (3, "truncation of files (Linux 6.2)"),
        (PORTS, "ports of TCP (Linux 6.7)"),
        (5, "control of devices (Linux 6.10)"),
        (6, "signals and abstract Unix sockets (Linux 6.12)"),
        (7, "a log of what is refused (Linux 6.15)"),
    ];
    since.into_iter().filter(|(since, _)| version < *since).map(|(_, what)| what).collect()
}

fn without(version: u32) -> String {
    match lacks(version).as_slice() {
        [] => String::new(),
        lacking => format!(" (without {})", lacking.join(", ")),
    }
}

impl State {
    /// Each thing that can be in force, under a name that stays the same, and whether it is.
    pub fn parts(&self) -> Vec<(&'static str, bool)> {
        let mut parts = vec![
            ("files", self.landlock.is_some()),
            ("ports", self.landlock.is_some_and(|version| version >= PORTS) && self.unrestricted_ports.is_empty()),
            ("system_calls", self.mode == Mode::Enforce && self.calls.is_some()),
        ];
        if let Some(own) = &self.own {
            parts.extend([
                ("no_capabilities", own.no_capabilities),
                ("no_new_privileges", own.no_new_privs),
                ("not_dumpable", own.not_dumpable),
                ("no_core_dumps", own.no_core_dumps),
                ("memory_locked", own.locked),
            ]);
        }
        parts
    }

    /// What this kernel does not restrict, though it would be wanted.
    pub fn lacks(&self) -> Vec<&'static str> {
        match (self.mode, self.widened.as_slice()) {
            (Mode::Enforce, []) => self.landlock.map_or_else(|| vec!["files and ports, without Landlock"], lacks),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.mode, self.landlock, self.widened.as_slice()) {
            (Mode::Off, ..) => f.write_str("off")?,
            (Mode::Report, ..) => f.write_str("report only, files and ports are not confined")?,
            (_, Some(version), _) => write!(f, "files and ports by Landlock {version}{}", without(version))?,
            (_, None, []) => f.write_str("files and ports are NOT confined, as Landlock is not available")?,
            (_, None, widened) => write!(f, "files and ports are not confined: {}", widened.join("; "))?,
        }
        if !self.unrestricted_ports.is_empty() {
            write!(f, ", connections to any port: {}", self.unrestricted_ports.join("; "))?;
        }
        match &self.calls {
            Some(calls) => write!(f, "; system calls: {calls}")?,
            None => f.write_str("; system calls: all")?,
        }
        if self.helper {
            f.write_str("; a helper runs programs")?;
        }
        let Some(own) = &self.own else { return Ok(()) };
        f.write_str(if own.no_capabilities { "; no capabilities" } else { "; CAPABILITIES are left" })?;
        let rest = [
            (own.no_new_privs, ", no new privileges"),
            (own.not_dumpable, ", not dumpable"),
            (own.no_core_dumps, ", no core dumps"),
        ];
        for (_, word) in rest.iter().filter(|(so, _)| *so) {
            f.write_str(word)?;
        }
        f.write_str(if own.locked { ", memory locked" } else { ", memory not locked" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_older_kernel_lacks_is_said_and_nothing_of_a_new_one() {
        assert_eq!(lacks(7), [""; 0]);
        assert_eq!(lacks(1).len(), 5);
        let old = State {
            mode: Mode::Enforce,
            landlock: Some(3),
            calls: Some("9 of a list".into()),
            widened: Vec::new(),
            unrestricted_ports: Vec::new(),
            missing: Vec::new(),
            problems: Vec::new(),
            helper: false,
            own: None,
        };
        let text = old.to_string();
        assert!(text.starts_with("files and ports by Landlock 3 (without ports of TCP (Linux 6.7), "), "{text}");
        assert_eq!(old.parts(), [("files", true), ("ports", false), ("system_calls", true)]);
        let none = State { landlock: None, ..old };
        assert_eq!(none.lacks(), ["files and ports, without Landlock"]);
        let kernel = Kernel { landlock: Some(5), seccomp: true };
        assert!(kernel.to_string().starts_with("Landlock 5 (without signals and abstract Unix sockets"), "{kernel}");
    }

    #[test]
    fn looking_at_the_kernel_restricts_nothing() {
        let (first, second) = (Kernel::here(), Kernel::here());
        assert_eq!(first, second);
        let own = tempfile::tempdir().expect("a directory");
        assert!(fs::write(own.path().join("file"), "").is_ok());
    }
}
