//! Who may have what, and the record of it, as the configuration wants them.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use crate::{
    audit::Auditor,
    caller::{Accounts, IdentityCache, Kernel, NameService, cgroup, human_users},
    clock::SharedClock,
    config::{Config, Loaded},
    logging::AuditLog,
    policy::{ContainerPolicy, PolicyEngine},
};

/// How long the rules of before stay in force for names in others that are being looked up.
const SETTLING: Duration = Duration::from_secs(2);

/// The gatekeeper, and who takes note of what callers get.
pub(super) fn build(
    config: &Config,
    clock: &SharedClock,
    audit: Option<AuditLog>,
    container_policy: Option<ContainerPolicy>,
) -> io::Result<(Arc<PolicyEngine>, Arc<Auditor>)> {
    let told = |error: io::Error| tracing::error!("cannot identify callers: {error}");
    let kernel = Kernel::open(config.capture_listen).map_err(told).ok();
    let hierarchy = cgroup::mount_point().unwrap_or_else(|error| {
        tracing::warn!("cannot find the control groups: {error}");
        None
    });
    let identity_cache = Arc::new(IdentityCache::start(NameService, hierarchy, Arc::clone(clock))?);
    let engine = Arc::new(PolicyEngine::new(kernel, Arc::clone(&identity_cache), audit.is_some()));
    engine.load(config.policy.clone(), container_policy);
    match &config.policy {
        Some(_) => warn_of_unmapped(&engine),
        None => warn_of_many_users(),
    }
    let auditor = match audit {
        Some(log) => Auditor::start(log, identity_cache, Arc::clone(clock))?,
        None => Auditor::without_records(),
    };
    Ok((engine, Arc::new(auditor)))
}

/// Says at once if rules that name users would deny everybody, because all of them look the same.
fn warn_of_unmapped(engine: &PolicyEngine) {
    if let Some(overflow) = engine.overflow_uid() {
        tracing::error!(
            "cannot distinguish users: in this user namespace the kernel shows all users that are not mapped as user \
             {overflow}; they get no role. Run the daemon outside of it (no PrivateUsers= in its unit)"
        );
    }
}

/// Whether the kernel can identify callers, if there are rules for them. It is tried on a connection to this process, which a
/// confined one may not make.
pub struct Identified(Option<io::Result<bool>>);

impl Identified {
    /// Tries it.
    pub fn attempt(config: &Config) -> Self {
        let attempt = || Kernel::open(config.capture_listen)?.check();
        Self(config.policy.as_ref().map(|_| attempt()))
    }

    /// Says at once if rules that name users would deny everybody.
    pub fn warn(self) {
        match self.0 {
            None | Some(Ok(true)) => {}
            Some(Ok(false)) => tracing::error!(
                "cannot identify callers (sock_diag is unavailable); rules that name users will deny every caller"
            ),
            Some(Err(error)) => tracing::warn!("cannot check whether callers can be identified: {error}"),
        }
    }
}

fn warn_of_many_users() {
    let users = human_users();
    if let [first, second, ..] = users.as_slice() {
        tracing::warn!(
            "there is no policy: each of the {} users of this host ({first}, {second}, …) gets every role; \
             see docs/policy.md",
            users.len()
        );
    }
}

/// Puts the rules of another configuration in force, for connections that are open, too. Those of before stay until the
/// names in the new ones were looked up, or until that takes too long.
pub(super) async fn replace(engine: &PolicyEngine, config: &Config) {
    let prepared = engine.prepare(config.policy.clone());
    let settled = async {
        loop {
            let changed = engine.identity_cache().changed();
            if prepared.is_settled() {
                return;
            }
            changed.await;
        }
    };
    let _late = tokio::time::timeout(SETTLING, settled).await;
    engine.replace_rules(prepared);
}

/// Whom a written policy names and this host does not know, where names may be looked up: not at a start, which waits for none.
pub fn unknown_callers(loaded: &Loaded) -> Vec<String> {
    // Without one there may be a rule for the daemon's own account, of which more is said if there is no such.
    let Some(rules) = loaded.config.policy.as_ref().filter(|_| loaded.written.contains("policy")) else {
        return Vec::new();
    };
    let (users, groups) = rules.names();
    let users = users.into_iter().map(|name| ("user", name));
    let groups = groups.into_iter().map(|name| ("group", name));
    let named: BTreeSet<_> = users.chain(groups).filter(|(_, name)| name.parse::<u32>().is_err()).collect();
    let unknown = |(kind, name): (&str, &str)| {
        let number = if kind == "user" { NameService.uid(name) } else { NameService.gid(name) };
        match number {
            Ok(Some(_)) => None,
            Ok(None) => {
                Some(format!("policy: there is no {kind} {name:?} on this host; rules match nobody by that name"))
            }
            Err(error) => Some(format!("policy: cannot look up {kind} {name:?}: {error}")),
        }
    };
    named.into_iter().filter_map(unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[test]
    fn each_name_in_the_policy_that_the_host_does_not_know_is_told_once() {
        let unknown = |text: &str| unknown_callers(&parse(vec![("a.yaml".into(), text.to_owned())]).expect(text));
        let text = "ims_host: x\npolicy:\n  rules:\n  - {match: {user: [root, no-such-a, 4242]}, deny: true}\n  \
                    - {match: {user: root}, unless: {user: no-such-a, group: [root, no-such-b, '4343']}, everything: true}\n";
        assert_eq!(
            unknown(text),
            [
                "policy: there is no group \"no-such-b\" on this host; rules match nobody by that name",
                "policy: there is no user \"no-such-a\" on this host; rules match nobody by that name",
            ]
        );
        let site = "sources: {s: {kind: site, url: 'https://ims.example', sign_in: {kind: ssh}}}\nuser: no-such-c\n";
        for text in ["ims_host: x\n", site] {
            assert_eq!(unknown(text), [""; 0], "{text}");
        }
    }
}
