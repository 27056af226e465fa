//! Confines a running daemon to what its settings need: files and ports by Landlock, system calls by seccomp. Both follow
//! from data with a reason for each entry, and what is in force is reported.

pub mod calls;
mod grants;
pub mod host;
mod landlock;
pub mod options;
mod places;
mod state;

pub use grants::{Access, Grant, Grants, Ports};
pub use options::Options;
pub use state::{Kernel, Own, State, lacks};

use std::fmt;

use crate::needs::{Need, Needs};

/// What the setting says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Confined, as far as the kernel can.
    Enforce,
    /// What would be refused is only logged, by the kernel; files and ports are only listed.
    Report,
    /// Not confined.
    Off,
}

impl Mode {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Report => "report",
            Self::Off => "off",
        }
    }
}

/// A confinement, ready to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    mode: Mode,
    grants: Grants,
    /// Why files and ports are not confined, if they are not.
    open: Vec<String>,
    calls: Calls,
    /// The programs that a helper runs: what stands for each, and the reason.
    programs: Vec<(u64, String)>,
    /// The version of Landlock that is in force; the newest as long as it is not applied.
    landlock: Option<u32>,
}

/// Since this version Landlock knows ports.
const PORTS: u32 = 4;

/// Which system calls are let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// Those of the list.
    Listed,
    /// All but the hostile ones.
    NotHostile,
    /// All.
    All,
}

impl Confinement {
    /// What follows from the needs. Paths are looked up as they are now.
    pub fn new(mode: Mode, needs: &Needs) -> Self {
        let open = |need: Need, why: &str| -> Vec<String> {
            let such = needs.iter().filter(|needed| needed.need == need);
            such.map(|needed| format!("{} {why}", needed.reason)).collect()
        };
        let programs = open(Need::Programs, "is started by the daemon and inherits all confinement");
        let foreign = open(Need::ForeignCode, "runs in the daemon and may need anything");
        let processes = open(Need::Processes, "needs what /proc shows to no confined process");
        let calls = match mode {
            Mode::Off => Calls::All,
            _ if !programs.is_empty() => Calls::All,
            _ if !foreign.is_empty() => Calls::NotHostile,
            _ => Calls::Listed,
        };
        let known = needs.iter().filter_map(|needed| match needed.need {
            Need::Program(id) => Some((id, needed.reason.clone())),
            _ => None,
        });
        let open = [programs, foreign, processes].concat();
        Self { mode, grants: Grants::new(needs), open, calls, programs: known.collect(), landlock: Some(u32::MAX) }
    }

    /// The same as the kernel has it in force.
    #[must_use]
    pub fn as_applied(self, state: &State) -> Self {
        Self { landlock: state.landlock, ..self }
    }

    /// Whether a helper has to run the programs, since this process will be able to run none.
    pub fn needs_helper(&self) -> bool {
        !self.programs.is_empty() && self.calls != Calls::All
    }

    /// Confines the calling thread and all that it starts, as far as the kernel can: called while there is no other. The
    /// memory of the process is `locked`, or not.
    pub fn apply(&self, locked: bool) -> State {
        let mut problems = Vec::new();
        let mut note = |what: &str, problem: String| problems.push(format!("{what} cannot be applied: {problem}"));
        let mut landlock = None;
        if self.confines_files() {
            landlock = landlock::restrict(&self.grants).unwrap_or_else(|problem| {
                note("Landlock", problem);
                None
            });
        }
        let calls = calls::restrict(self.calls.tables(), self.mode == Mode::Report).unwrap_or_else(|problem| {
            note("the filter of system calls", problem);
            None
        });
        State { problems, own: Some(Own::now(locked)), ..self.state(landlock, calls) }
    }

    /// What it would come to on this kernel, in a process that is confined by it.
    pub fn on(&self, kernel: Kernel) -> State {
        let landlock = kernel.landlock.filter(|_| self.confines_files());
        let calls = calls::in_force(self.calls.tables(), self.mode == Mode::Report).filter(|_| kernel.seccomp);
        self.state(landlock, calls)
    }

    fn confines_files(&self) -> bool {
        self.mode == Mode::Enforce && self.open.is_empty()
    }

    fn state(&self, landlock: Option<u32>, calls: Option<String>) -> State {
        let unrestricted_ports = match &self.grants.connect {
            Ports::Any(reasons) => reasons.clone(),
            Ports::These(_) => Vec::new(),
        };
        State {
            mode: self.mode,
            landlock,
            calls,
            widened: self.open.clone(),
            unrestricted_ports,
            missing: self.grants.missing.clone(),
            problems: Vec::new(),
            helper: self.needs_helper(),
            own: None,
        }
    }

    /// What an administrator should know of it.
    pub fn warnings(&self) -> Vec<String> {
        if self.confines_files() { self.grants.wide.clone() } else { Vec::new() }
    }

    /// What of these needs it does not allow, with the reasons: a running daemon cannot get more than it has.
    pub fn lacks(&self, needs: &Needs) -> Vec<String> {
        if self.mode != Mode::Enforce {
            return Vec::new();
        }
        let new = Self::new(self.mode, needs);
        let mut lacking = new.wider(self);
        if let Some(version) = self.landlock.filter(|_| self.open.is_empty()) {
            lacking = self.grants.lacks(&new.grants, version >= PORTS).into_iter().chain(new.open).collect();
        }
        if self.calls != Calls::All {
            let unknown = new.programs.iter().filter(|(id, _)| !self.programs.iter().any(|(known, _)| known == id));
            lacking.extend(unknown.map(|(_, reason)| format!("another program, or other arguments ({reason})")));
        }
        lacking
    }

    /// What is confined less than by `other`, whose files and ports are not confined.
    fn wider(&self, other: &Self) -> Vec<String> {
        let wider = (self.calls == Calls::All && other.calls != Calls::All)
            || (self.calls == Calls::NotHostile && other.calls == Calls::Listed);
        if wider { self.open.clone() } else { Vec::new() }
    }

    /// Line by line: what it allows and why.
    pub fn explain(&self) -> Vec<String> {
        let mut lines = match (self.mode, self.open.as_slice()) {
            (Mode::Off, _) => return vec!["sandbox: off".to_owned()],
            (_, []) => self.grants.explain(),
            (_, open) => open.iter().map(|why| format!("  files and ports are not confined: {why}")).collect(),
        };
        let calls = match self.calls {
            Calls::Listed => format!("  system calls: {} of a list, no program is started", calls::ALLOWED.len()),
            Calls::NotHostile => "  system calls: all but hostile ones".to_owned(),
            Calls::All => "  system calls: all, as programs need them".to_owned(),
        };
        lines.push(calls);
        if self.needs_helper() {
            lines.extend(self.programs.iter().map(|(_, reason)| format!("  have a helper run a program ({reason})")));
        }
        let mode = if self.mode == Mode::Report { " (report: nothing is refused)" } else { "" };
        lines.insert(0, format!("sandbox{mode}: once started, the process can"));
        lines
    }
}

/// Why a new configuration is not put in force.
#[derive(Debug)]
pub enum Refusal {
    /// It has mistakes, or names files that have.
    Wrong(String),
    /// It needs what the sandbox does not allow.
    Confined(Vec<String>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wrong(problem) => {
                write!(f, "the new configuration is wrong; nothing has been changed:\n{problem}")
            }
            Self::Confined(lacking) => write!(
                f,
                "the new configuration needs a restart, and nothing has been changed: the sandbox was made from the former \
                 one and does not allow {}",
                lacking.join(", ")
            ),
        }
    }
}

impl From<String> for Refusal {
    fn from(problem: String) -> Self {
        Self::Wrong(problem)
    }
}

impl Calls {
    fn tables(self) -> calls::Tables {
        match self {
            Self::Listed => calls::Tables::Both,
            Self::NotHostile => calls::Tables::Hostile,
            Self::All => calls::Tables::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn needs(all: &[Need]) -> Needs {
        let mut needs = Needs::default();
        for need in all {
            needs.add(need.clone(), "a test");
        }
        needs
    }

    fn enforced(all: &[Need]) -> Confinement {
        Confinement::new(Mode::Enforce, &needs(all))
    }

    #[test]
    fn what_is_new_is_lacking_and_what_is_below_or_less_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let (inside, outside) = (directory.path().join("a"), tempfile::tempdir().expect("a directory"));
        fs::write(&inside, "").expect("a file");
        let read = |path: &Path| Need::Read(path.to_owned());
        let write = |path: &Path| Need::Write(path.to_owned());
        let in_force = enforced(&[read(&inside), Need::Connect(443)]);
        for (wanted, lacking) in [
            (vec![], 0),
            (vec![read(&inside), Need::Connect(443)], 0),
            (vec![read(&directory.path().join("b"))], 0),
            (vec![read(outside.path())], 1),
            (vec![write(&inside)], 1),
            (vec![Need::Connect(444)], 1),
            (vec![Need::ConnectAnywhere], 1),
            (vec![Need::Programs], 1),
            (vec![Need::Program(7)], 1),
            (vec![Need::ForeignCode], 1),
        ] {
            assert_eq!(in_force.lacks(&needs(&wanted)).len(), lacking, "{wanted:?}");
        }
        let wide = enforced(&[Need::ForeignCode]);
        assert_eq!(wide.lacks(&needs(&[read(outside.path()), Need::Connect(1)])), [""; 0]);
        assert_eq!(wide.lacks(&needs(&[Need::Programs])).len(), 1);
        let helped = enforced(&[Need::Program(7)]);
        assert!(helped.needs_helper() && !enforced(&[Need::Program(7), Need::Programs]).needs_helper());
        assert_eq!(
            (helped.lacks(&needs(&[Need::Program(7)])).len(), helped.lacks(&needs(&[Need::Program(8)])).len()),
            (0, 1)
        );
        let report = Confinement::new(Mode::Report, &needs(&[]));
        assert_eq!(report.lacks(&needs(&[Need::Programs])), [""; 0]);
    }

    #[test]
    fn what_will_be_in_a_directory_that_is_made_before_needs_nothing_above_it() {
        let own = Path::new("/run/alppaca-of-a-test");
        let inside = Need::Write(own.join("files"));
        let confinement = enforced(&[Need::Own(own.to_owned()), inside.clone()]);
        assert_eq!(confinement.warnings(), [""; 0]);
        assert!(confinement.explain().iter().any(|line| line.starts_with("  write /run/alppaca-of-a-test (")));
        assert_eq!(enforced(&[inside]).warnings().len(), 1, "otherwise all of /run");
    }
}
