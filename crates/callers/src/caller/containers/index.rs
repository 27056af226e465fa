//! Which container has an address or an id: read without locks on the request path, written by one [`ContainerStates`] for each
//! runtime.
//!
//! What is not known is *sought*: the runtime is asked, and until it has answered no container is identified.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, futures::OwnedNotified};

use super::facts::{Container, ContainerId};

/// The number of different things that are sought at the same time; further callers wait until there is room.
const MAX_SOUGHT: usize = 256;

/// What a container is looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sought {
    /// The one with this address.
    Address(IpAddr),
    /// The one with this id, which was found in a cgroup path.
    Id(ContainerId),
}

/// What is known.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// This container, which runs at this moment.
    Known(Arc<Container>),
    /// Nothing yet: a runtime is being asked, or cannot be asked just now. Try again after the next change.
    Searching,
    /// The runtimes say that there is none.
    Unknown,
}

/// The containers of one runtime at one moment.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Whether the runtime's event stream is open. If not, the rest is empty.
    pub(super) live: bool,
    /// The container at each address. `None`: it is being started, or two claim the same.
    pub(super) addresses: HashMap<IpAddr, Option<Arc<Container>>>,
    /// All that run, or are being started (`None`).
    pub(super) ids: HashMap<ContainerId, Option<Arc<Container>>>,
    /// What the runtime was asked for a moment ago, and did not know.
    pub(super) absent: HashSet<Sought>,
}

/// The containers of all runtimes.
#[derive(Debug)]
pub struct ContainerIndex {
    parts: Box<[Arc<Part>]>,
    changed: Arc<Notify>,
}

/// The containers of one runtime.
#[derive(Debug)]
pub(super) struct Part {
    table: ArcSwap<Table>,
    sought: Mutex<BTreeSet<Sought>>,
    pub(super) asked: Notify,
    changed: Arc<Notify>,
}

impl ContainerIndex {
    /// An index of the containers of this number of runtimes, none of which has answered yet.
    pub fn new(runtimes: usize) -> Arc<Self> {
        let changed = Arc::new(Notify::new());
        let part = |_number| {
            Arc::new(Part {
                table: ArcSwap::default(),
                sought: Mutex::default(),
                asked: Notify::new(),
                changed: Arc::clone(&changed),
            })
        };
        Arc::new(Self { parts: (0..runtimes).map(part).collect(), changed })
    }

    pub(super) fn part(&self, number: usize) -> Option<Arc<Part>> {
        self.parts.get(number).cloned()
    }

    /// An index of exactly these, for tests.
    #[cfg(test)]
    pub fn of(containers: impl IntoIterator<Item = super::ContainerFacts>) -> Arc<Self> {
        Self::of_running(containers.into_iter().map(Container::described))
    }

    /// The same of containers that run.
    #[cfg(test)]
    pub fn of_running(containers: impl IntoIterator<Item = Container>) -> Arc<Self> {
        let mut table = Table { live: true, ..Table::default() };
        for container in containers.into_iter().map(Arc::new) {
            table.ids.insert(container.facts().id.clone(), Some(Arc::clone(&container)));
            for &address in &container.facts().addresses {
                table.addresses.insert(address, Some(Arc::clone(&container)));
            }
        }
        let index = Self::new(1);
        index.parts[0].publish(table);
        index
    }

    /// The container that has this address.
    pub fn by_address(&self, address: IpAddr) -> Lookup {
        self.look_up(&Sought::Address(address.to_canonical()))
    }

    /// The container with this id.
    pub fn by_id(&self, id: &ContainerId) -> Lookup {
        self.look_up(&Sought::Id(id.clone()))
    }

    /// Looks in every runtime's table. If two runtimes know it, they contradict each other: then it is no container.
    pub fn look_up(&self, sought: &Sought) -> Lookup {
        let mut answer = Lookup::Unknown;
        for part in &self.parts {
            match (part.look_up(sought), &answer) {
                (Lookup::Unknown, _) => {}
                (found, Lookup::Unknown) => answer = found,
                (Lookup::Known(_), Lookup::Known(_)) => return Lookup::Searching,
                (known @ Lookup::Known(_), _) => answer = known,
                (Lookup::Searching, _) => {}
            }
        }
        answer
    }

    /// All that run, in no order. For status and `policy explain`.
    pub fn all(&self) -> Vec<Arc<Container>> {
        let tables = self.parts.iter().map(|part| part.table.load_full());
        tables.flat_map(|table| table.ids.values().flatten().cloned().collect::<Vec<_>>()).collect()
    }

    /// How many run, as their runtime says, but get nothing, as the daemon cannot verify it.
    pub fn unverified(&self) -> usize {
        self.all().iter().filter(|container| container.unheld().is_some() && !container.is_alive()).count()
    }

    /// Whether the event stream of every runtime is open.
    pub fn is_live(&self) -> bool {
        self.parts.iter().all(|part| part.table.load().live)
    }

    /// Becomes ready at the next change. It counts from the call on: "ask for this, look up, wait" misses nothing.
    pub fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.changed).notified_owned()
    }
}

impl Part {
    fn look_up(&self, sought: &Sought) -> Lookup {
        let table = self.table.load();
        if !table.live {
            return Lookup::Searching;
        }
        let found = match sought {
            Sought::Address(address) => table.addresses.get(address),
            Sought::Id(id) => table.ids.get(id),
        };
        match found {
            Some(Some(container)) if container.is_alive() => return Lookup::Known(Arc::clone(container)),
            // It has ended, and the runtime has not reported that yet; its address may soon be reused.
            Some(Some(_)) => {}
            // The event of its start is on its way.
            Some(None) => return Lookup::Searching,
            None if table.absent.contains(sought) => return Lookup::Unknown,
            None => {}
        }
        let mut wanted = self.sought.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.len() < MAX_SOUGHT && wanted.insert(sought.clone()) {
            self.asked.notify_one();
        }
        Lookup::Searching
    }

    /// What is sought since the last call.
    pub(super) fn take_sought(&self) -> BTreeSet<Sought> {
        std::mem::take(&mut *self.sought.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces what is known, atomically for all readers.
    pub(super) fn publish(&self, table: Table) {
        self.table.store(Arc::new(table));
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::facts, *};

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn table(containers: &[&Arc<Container>]) -> Table {
        let mut table = Table { live: true, ..Table::default() };
        for &container in containers {
            table.ids.insert(container.facts().id.clone(), Some(Arc::clone(container)));
            for &address in &container.facts().addresses {
                table.addresses.insert(address, Some(Arc::clone(container)));
            }
        }
        table
    }

    #[test]
    fn a_container_is_found_by_address_and_by_id() {
        let index = ContainerIndex::new(1);
        let container = Arc::new(Container::described(facts('a', "172.17.0.2")));
        index.parts[0].publish(table(&[&container]));
        for found in [
            index.by_address(address("172.17.0.2")),
            index.by_address(address("::ffff:172.17.0.2")),
            index.by_id(&container.facts().id),
        ] {
            assert!(matches!(found, Lookup::Known(found) if Arc::ptr_eq(&found, &container)));
        }
    }

    #[test]
    fn what_is_not_known_is_sought_once_until_the_runtime_has_answered() {
        let index = ContainerIndex::new(1);
        let (part, ip) = (&index.parts[0], address("172.17.0.9"));
        part.publish(table(&[]));
        for _ in 0..3 {
            assert!(matches!(index.by_address(ip), Lookup::Searching));
        }
        assert_eq!(part.take_sought().into_iter().collect::<Vec<_>>(), [Sought::Address(ip)]);
        part.publish(Table { absent: HashSet::from([Sought::Address(ip)]), ..table(&[]) });
        assert!(matches!(index.by_address(ip), Lookup::Unknown));
        assert!(part.take_sought().is_empty());
    }

    #[test]
    fn nobody_is_anybody_while_a_runtime_is_silent() {
        let index = ContainerIndex::new(1);
        assert!(matches!(index.by_address(address("172.17.0.2")), Lookup::Searching));
        assert!(!index.is_live() && index.all().is_empty());
    }

    #[test]
    fn two_runtimes_that_claim_one_address_are_not_believed() {
        let index = ContainerIndex::new(2);
        let [a, b] = ['a', 'b'].map(|id| Arc::new(Container::described(facts(id, "172.17.0.2"))));
        index.parts[0].publish(table(&[&a]));
        assert!(matches!(index.by_address(address("172.17.0.2")), Lookup::Known(_)), "the other may be down");
        index.parts[1].publish(table(&[&b]));
        assert!(matches!(index.by_address(address("172.17.0.2")), Lookup::Searching));
        assert!(matches!(index.by_id(&b.facts().id), Lookup::Known(_)));
    }

    #[test]
    fn the_number_of_things_sought_is_bounded() {
        let index = ContainerIndex::new(1);
        index.parts[0].publish(table(&[]));
        for number in 0..1000 {
            index.by_address(IpAddr::from(std::net::Ipv4Addr::from_bits(number)));
        }
        assert_eq!(index.parts[0].take_sought().len(), MAX_SOUGHT);
    }
}
