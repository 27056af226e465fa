//! System calls: <https://docs.kernel.org/userspace-api/seccomp_filter.html>. Those of a list are let through. The hostile
//! ones, with which only an attacker would begin, end the process, which the kernel logs and the service manager sees; all
//! others fail as in a kernel that does not have them, so that a newer C library finds another way.

mod table;

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, TargetArch, apply_filter_all_threads, compile_from_json};
use serde_json::{Value, json};

pub use table::{ALLOWED, HOSTILE};

/// An entry: a system call, perhaps only with certain arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// The conditions, all of which have to hold.
    pub only: &'static [Condition],
    /// In words, what they say.
    pub restriction: &'static str,
    /// Whether only `x86_64` has it; elsewhere a newer one does the same.
    pub old: bool,
    /// What for, or what is hostile about it.
    pub reason: &'static str,
}

/// A condition on an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, from 0.
    pub argument: u8,
    /// Which of its bits count.
    pub mask: u32,
    /// What they have to be.
    pub value: u32,
}

/// Which of the tables are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// What is not allowed fails, what is hostile ends the process.
    Both,
    /// Only what is hostile fails: code of others may try it without meaning harm.
    Hostile,
    /// Neither.
    None,
}

/// What fails is answered as by a kernel without that call.
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;

/// Filters the calls of all threads; what is in force, in words. With `report` what would not be let through is let through
/// and logged by the kernel.
pub(super) fn restrict(tables: Tables, report: bool) -> Result<Option<String>, String> {
    let words = in_force(tables, report);
    let Some(arch) = this_arch() else { return Ok(words) };
    let (allow, log) = (json!("allow"), json!("log"));
    let (kill, refuse) = if report { (log.clone(), log) } else { (json!("kill_process"), json!({"errno": ENOSYS})) };
    let forbid = if report { json!("log") } else { json!({"errno": EPERM}) };
    let hostile = |action| filter(HOSTILE, arch, action, &allow);
    let allowed = || filter(ALLOWED, arch, &allow, &refuse);
    let filters = match tables {
        Tables::None => Vec::new(),
        Tables::Hostile => vec![hostile(&forbid)?],
        // The one that allows the call that installs the other comes last.
        Tables::Both => vec![hostile(&kill)?, allowed()?],
    };
    for filter in &filters {
        apply_filter_all_threads(filter).map_err(|error| error.to_string())?;
    }
    Ok(words)
}

/// What is in force with these tables, in words.
pub(super) fn in_force(tables: Tables, report: bool) -> Option<String> {
    let words = match tables {
        Tables::None => return None,
        _ if this_arch().is_none() => return Some("all, as there is no list for this architecture".to_owned()),
        Tables::Hostile => "all but hostile ones".to_owned(),
        Tables::Both => format!("{} of a list", ALLOWED.len()),
    };
    Some(if report { format!("all; the kernel logs what is beyond {words}") } else { words })
}

fn this_arch() -> Option<TargetArch> {
    TargetArch::try_from(std::env::consts::ARCH).ok().filter(|arch| *arch != TargetArch::riscv64)
}

/// One filter: an action for what is in the table, and one for the rest.
fn filter(table: &[Call], arch: TargetArch, inside: &Value, outside: &Value) -> Result<BpfProgram, String> {
    let here = table.iter().filter(|call| !call.old || arch == TargetArch::x86_64);
    let rules: Vec<Value> = here.map(rule).collect();
    let filters = json!({"filter": {"match_action": inside, "mismatch_action": outside, "filter": rules}});
    let mut made: BTreeMap<String, BpfProgram> = compile_from_json(filters.to_string().as_bytes(), arch)
        .map_err(|error| error.to_string())?
        .into_iter()
        .collect();
    made.remove("filter").ok_or_else(|| "no filter was made".to_owned())
}

fn rule(call: &Call) -> Value {
    let condition = |Condition { argument, mask, value }: &Condition| json!({"index": argument, "type": "dword", "op": {"masked_eq": mask}, "val": value});
    let conditions: Vec<Value> = call.only.iter().map(condition).collect();
    match conditions.as_slice() {
        [] => json!({"syscall": call.name}),
        all => json!({"syscall": call.name, "args": all}),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_tables_are_filters_on_both_architectures() {
        for arch in [TargetArch::x86_64, TargetArch::aarch64] {
            for table in [ALLOWED, HOSTILE] {
                let made = filter(table, arch, &json!("allow"), &json!("log"));
                assert!(made.as_ref().is_ok_and(|filter| filter.len() > table.len()), "{arch:?}: {made:?}");
            }
        }
    }

    #[test]
    fn every_entry_has_a_reason_and_only_one_place() {
        let mut seen = HashSet::new();
        for call in ALLOWED.iter().chain(HOSTILE) {
            assert!(!call.reason.is_empty() && call.only.is_empty() == call.restriction.is_empty(), "{call:?}");
            assert!(
                seen.insert((call.name, call.only.iter().map(|c| (c.argument, c.mask, c.value)).collect::<Vec<_>>())),
                "{call:?}"
            );
        }
        let unconditional = |table: &[Call]| -> HashSet<&str> {
            table.iter().filter(|call| call.only.is_empty()).map(|call| call.name).collect()
        };
        let both: Vec<_> = unconditional(ALLOWED).intersection(&unconditional(HOSTILE)).copied().collect();
        assert_eq!(both, [""; 0]);
    }
}
