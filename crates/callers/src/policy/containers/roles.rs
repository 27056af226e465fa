//! The role of each container, decided when it starts and read without locks on each request.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, futures::OwnedNotified};

use super::ask::{Ask, NoRole, Rules};
use crate::{
    caller::containers::{Container, ContainerFacts, ContainerId, ContainerIndex, Lookup, Observer},
    credentials::RoleId,
    policy::{Decision, Grant},
};

/// Fetches roles on demand.
pub trait Fetcher: Send + Sync + 'static {
    /// Has it fetched from now on.
    fn ensure(&self, ask: &Ask) -> RoleId;

    /// It is not needed any more, as often as it was ensured.
    fn release(&self, role: &RoleId);
}

/// The roles of all containers.
pub struct ContainerRoles {
    rules: Rules,
    fetcher: Box<dyn Fetcher>,
    index: Arc<ContainerIndex>,
    /// By container: what it may see. Written while `held` is locked.
    decisions: ArcSwap<HashMap<ContainerId, Decision>>,
    held: Mutex<HashMap<ContainerId, RoleId>>,
    /// By address, where a mapping file replaces the runtime.
    mapping: Option<ArcSwap<Mapping>>,
    version: AtomicU64,
    changed: Arc<Notify>,
}

/// What a mapping file says.
#[derive(Debug)]
struct Mapping {
    decisions: BTreeMap<IpAddr, Decision>,
    /// For all other addresses.
    default: Decision,
    held: Vec<RoleId>,
    read: bool,
}

impl Mapping {
    /// Before the file was read.
    fn nothing() -> Self {
        let default = denied("the mapping file could not be read");
        Self { decisions: BTreeMap::new(), default, held: Vec::new(), read: false }
    }
}

impl ContainerRoles {
    /// Roles by `rules` for the containers in `index`. If they are `mapped`, a file decides by address, and no container has
    /// a role until [`map`](Self::map) was called.
    pub fn new(rules: Rules, fetcher: Box<dyn Fetcher>, index: Arc<ContainerIndex>, mapped: bool) -> Arc<Self> {
        Arc::new(Self {
            rules,
            fetcher,
            index,
            decisions: ArcSwap::default(),
            held: Mutex::default(),
            mapping: mapped.then(|| ArcSwap::from_pointee(Mapping::nothing())),
            version: AtomicU64::new(0),
            changed: Arc::default(),
        })
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// What a client at this address, which is none of the host's own, may see.
    pub fn by_address(&self, address: IpAddr) -> Decision {
        if let Some(mapping) = &self.mapping {
            let mapping = mapping.load();
            return mapping.decisions.get(&address.to_canonical()).unwrap_or(&mapping.default).clone();
        }
        self.found(&self.index.by_address(address))
    }

    /// What the container with this id, which uses the host's network, may see.
    pub fn by_id(&self, id: &ContainerId) -> Decision {
        self.found(&self.index.by_id(id))
    }

    /// What this container may see.
    pub fn of(&self, container: &Container) -> Decision {
        // It appears here before it appears in the index.
        self.decisions.load().get(&container.facts().id).cloned().unwrap_or_else(|| pending("a container that is new"))
    }

    fn found(&self, lookup: &Lookup) -> Decision {
        match lookup {
            Lookup::Known(container) => self.of(container),
            Lookup::Searching => pending("the container is being looked up"),
            Lookup::Unknown => denied("no container"),
        }
    }

    /// Applies a mapping file. The new roles are fetched before they become visible, and those that no container has any
    /// more are released.
    pub fn map(&self, asks: &BTreeMap<IpAddr, Ask>) {
        let Some(mapping) = &self.mapping else { return };
        let mut held = Vec::new();
        let mut grant = |ask: &Ask| {
            let role = self.fetcher.ensure(ask);
            held.push(role.clone());
            role
        };
        let decisions = asks
            .iter()
            .map(|(address, ask)| (*address, granted(grant(ask), format!("{address} is mapped to {}", ask.role_arn))))
            .collect();
        let default = self.rules.default_role.as_ref().map(|role| self.rules.written(role, None, None, None));
        let default = match default {
            Some(Ok(ask)) => granted(grant(&ask), format!("the default role {}", ask.role_arn)),
            Some(Err(error)) => denied(&error.to_string()),
            None => denied("no role is mapped to the address"),
        };
        let old = mapping.swap(Arc::new(Mapping { decisions, default, held, read: true }));
        self.changed();
        for role in &old.held {
            self.fetcher.release(role);
        }
    }

    /// Whether a mapping file, if one decides, has been read.
    pub fn is_settled(&self) -> bool {
        self.mapping.as_ref().is_none_or(|mapping| mapping.load().read)
    }

    /// Gives all roles back, when nothing is decided here any more.
    pub fn give_back(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.decisions.store(Arc::default());
        held.drain().for_each(|(_, role)| self.fetcher.release(&role));
        drop(held);
        if let Some(mapping) = &self.mapping {
            let old = mapping.swap(Arc::new(Mapping::nothing()));
            old.held.iter().for_each(|role| self.fetcher.release(role));
        }
        self.changed();
    }

    /// Grows when decisions that were made before may be wrong now.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Becomes ready when what was pending may be known. It counts from the call on.
    pub fn changes(&self) -> OwnedNotified {
        Arc::clone(&self.changed).notified_owned()
    }
}

impl Observer for ContainerRoles {
    fn appeared(&self, container: &ContainerFacts) {
        let ask = self.rules.ask(container);
        let who = format!("{} ({})", container.name, container.id);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (role, decision) = match ask {
            Ok(ask) => {
                let only =
                    if container.guest { ", but not in the network of another, whose role counts there" } else { "" };
                tracing::info!("containers: {who} gets {}{only}", ask.role_arn);
                let role = self.fetcher.ensure(&ask);
                (Some(role.clone()), granted(role, format!("container {who} has {}", ask.role_arn)))
            }
            Err(error) => {
                if error == NoRole::Unasked {
                    tracing::debug!("containers: {who} requests no role");
                } else {
                    tracing::warn!("containers: {who} gets no role: {error}");
                }
                (None, denied(&format!("container {who}: {error}")))
            }
        };
        let mut decisions = HashMap::clone(&self.decisions.load());
        decisions.insert(container.id.clone(), decision);
        self.decisions.store(Arc::new(decisions));
        if let Some(old) = role.and_then(|role| held.insert(container.id.clone(), role)) {
            self.fetcher.release(&old);
        }
    }

    fn gone(&self, container: &ContainerId) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut decisions = HashMap::clone(&self.decisions.load());
        decisions.remove(container);
        self.decisions.store(Arc::new(decisions));
        if let Some(role) = held.remove(container) {
            self.fetcher.release(&role);
        }
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.changed.notify_waiters();
    }
}

fn granted(role: RoleId, reason: String) -> Decision {
    Decision { grant: Grant::Roles([role].into()), reason: reason.into() }
}

fn denied(reason: &str) -> Decision {
    Decision { grant: Grant::Denied, reason: reason.into() }
}

fn pending(reason: &str) -> Decision {
    Decision { grant: Grant::Pending, reason: reason.into() }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{super::ask::tests::rules, *};
    use crate::caller::containers::tests::facts;

    /// Counts the holds on each role.
    #[derive(Clone, Default)]
    pub(crate) struct Counter(Arc<Mutex<HashMap<String, i32>>>);

    impl Counter {
        fn held(&self) -> Vec<String> {
            let counts = self.0.lock().expect("not poisoned");
            assert!(counts.values().all(|count| *count >= 0), "{counts:?}");
            let mut held: Vec<String> =
                counts.iter().filter(|(_, count)| **count > 0).map(|(role, _)| role.clone()).collect();
            held.sort();
            held
        }
    }

    impl Fetcher for Counter {
        fn ensure(&self, ask: &Ask) -> RoleId {
            *self.0.lock().expect("not poisoned").entry(ask.name.to_string()).or_default() += 1;
            RoleId::named(&ask.name)
        }

        fn release(&self, role: &RoleId) {
            *self.0.lock().expect("not poisoned").entry(role.as_str().to_owned()).or_default() -= 1;
        }
    }

    fn granted(name: &str) -> Grant {
        Grant::Roles([RoleId::named(&name.parse().expect("a name"))].into())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_container_has_its_role_from_its_start_to_its_end() {
        let (counter, containers) = (Counter::default(), [facts('a', "172.17.0.2"), facts('b', "172.17.0.3")]);
        let index = ContainerIndex::of(containers.clone());
        let roles = ContainerRoles::new(rules(), Box::new(counter.clone()), index, false);
        assert_eq!(roles.by_address(address("172.17.0.2")).grant, Grant::Pending, "never another's, never denied");
        for container in &containers {
            roles.appeared(container);
        }
        assert_eq!(counter.held(), ["role-a", "role-b"]);
        assert_eq!(roles.by_address(address("172.17.0.2")).grant, granted("role-a"));
        assert_eq!(roles.by_id(&containers[1].id).grant, granted("role-b"));
        roles.appeared(&containers[0]);
        roles.gone(&containers[0].id);
        roles.gone(&containers[0].id);
        assert_eq!(counter.held(), ["role-b"]);
        assert_eq!(roles.by_address(address("172.17.0.2")).grant, Grant::Pending);
        assert_eq!(roles.by_address(address("172.17.0.9")).grant, Grant::Pending, "it is being looked for");
    }

    #[test]
    fn all_is_given_back_when_another_takes_the_place() {
        let counter = Counter::default();
        let (one, other) = (facts('a', "172.17.0.2"), facts('b', "172.17.0.3"));
        let new = |mapped| {
            let index = ContainerIndex::of([one.clone(), other.clone()]);
            ContainerRoles::new(rules(), Box::new(counter.clone()), index, mapped)
        };
        let (before, after, mapped) = (new(false), new(false), new(true));
        before.appeared(&one);
        before.appeared(&other);
        after.appeared(&one);
        before.give_back();
        assert_eq!(counter.held(), ["role-a"], "who has it still has it");
        assert_eq!(before.by_address(address("172.17.0.2")).grant, Grant::Pending);
        before.give_back();
        assert!(after.is_settled() && !mapped.is_settled());
        mapped.map(&super::super::parse_mapping(br#"{"172.17.0.2": "x"}"#, &rules()).expect("legal"));
        assert!(mapped.is_settled());
        after.give_back();
        assert_eq!(counter.held(), ["x"]);
        mapped.give_back();
        assert!(counter.held().is_empty());
        assert_eq!(mapped.by_address(address("172.17.0.2")).grant, Grant::Denied);
    }

    #[test]
    fn a_refusal_says_who_and_why() {
        let container = facts('a', "172.17.0.2");
        let index = ContainerIndex::of([container.clone()]);
        let rules = Rules { allow: super::super::Allow::default(), ..rules() };
        let roles = ContainerRoles::new(rules, Box::new(Counter::default()), index, false);
        roles.appeared(&container);
        let Decision { grant, reason } = roles.by_address(address("172.17.0.2"));
        assert_eq!(grant, Grant::Denied);
        assert!(
            reason.starts_with("container name-a (aaaaaaaaaaaa): it requests arn:aws:iam::111111111111:role/role-a,"),
            "{reason}"
        );
    }

    #[test]
    fn a_mapping_file_takes_the_place_of_the_runtime() {
        let counter = Counter::default();
        let rules = Rules { default_role: Some("other".into()), ..rules() };
        let container = facts('a', "172.17.0.2");
        let index = ContainerIndex::of([container.clone()]);
        let roles = ContainerRoles::new(rules.clone(), Box::new(counter.clone()), index, true);
        assert_eq!(roles.by_address(address("172.17.0.2")).grant, Grant::Denied);
        let map = |text: &str| roles.map(&super::super::parse_mapping(text.as_bytes(), &rules).expect("legal"));
        map(r#"{"172.17.0.2": "x", "172.17.0.3": "y"}"#);
        assert_eq!(roles.by_address(address("::ffff:172.17.0.2")).grant, granted("x"));
        assert_eq!(roles.by_address(address("172.17.0.7")).grant, granted("other"));
        let version = roles.version();
        map(r#"{"172.17.0.2": "y"}"#);
        assert!(roles.version() > version);
        assert_eq!(counter.held(), ["other", "y"]);
        assert_eq!(roles.by_address(address("172.17.0.2")).grant, granted("y"));
    }
}
