//! Files and ports: <https://docs.kernel.org/userspace-api/landlock.html>. What a kernel does not know is left out.

use ::landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, NetPort, PathBeneath,
    PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{Access, Grants, Ports};

/// The newest that this is written for. What later ones add is not restricted.
const KNOWN: ABI = ABI::V7;

/// Restricts the calling thread: the version of Landlock that is in force, `None` if the kernel has none.
pub(super) fn restrict(grants: &Grants) -> Result<Option<u32>, String> {
    apply(grants).map(|status| in_force(&status)).map_err(|error| error.to_string())
}

/// The version that this kernel has, as far as it is known here. Only restricting something shows it, so a thread is that
/// does nothing else.
pub(super) fn version() -> Option<u32> {
    let probe = || -> Result<RestrictionStatus, RulesetError> {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))?
            .create()?
            .restrict_self()
    };
    let probed = std::thread::spawn(probe).join().ok()?.ok()?;
    in_force(&probed)
}

fn in_force(status: &RestrictionStatus) -> Option<u32> {
    match status.landlock {
        LandlockStatus::Available { effective_abi, .. } if status.ruleset != RulesetStatus::NotEnforced => {
            Some(effective_abi.min(KNOWN) as u32)
        }
        _ => None,
    }
}

fn apply(grants: &Grants) -> Result<RestrictionStatus, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal)?;
    if !grants.abstract_sockets {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    if matches!(grants.connect, Ports::These(_)) {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut created = ruleset.create()?;
    for grant in &grants.files {
        // One that is gone meanwhile needs no rule.
        let Ok(file) = PathFd::new(&grant.path) else { continue };
        let mut access = rights(grant.access);
        if !grant.path.is_dir() {
            access &= AccessFs::from_file(KNOWN);
        }
        created = created.add_rule(PathBeneath::new(file, access))?;
    }
    if let Ports::These(ports) = &grants.connect {
        for port in ports.keys() {
            created = created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    for port in grants.listen.keys() {
        created = created.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    created.restrict_self()
}

/// What has to be allowed for this.
pub(super) fn rights(access: Access) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let append = AccessFs::WriteFile | AccessFs::Truncate;
    let follow = append | AccessFs::MakeReg;
    let rotate = follow | AccessFs::RemoveFile | AccessFs::ReadDir;
    match access {
        Access::Read => read,
        Access::Append => append,
        Access::Follow => follow,
        Access::Rotate => rotate,
        Access::Write => read | rotate | AccessFs::RemoveDir | AccessFs::MakeDir | AccessFs::MakeSock | AccessFs::Refer,
    }
}
