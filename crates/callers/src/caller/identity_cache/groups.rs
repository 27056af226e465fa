//! The paths of control groups by their ids, on a thread of its own.
//!
//! Groups that the host has made are read first and published immediately. Each delegated subtree is read afterwards,
//! in turn with the others and with a bound of its own: many groups there slow down only look-ups there.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use super::{Known, MAX_KEPT, News, REFRESH, RETRY, table::Table, turns::Turns};
use crate::{
    caller::{
        Subordinates,
        cgroup::Cgroup,
        hierarchy::{MAX_BELOW, Subtree, Walk, host_made},
    },
    clock::{BootTime, SharedClock},
};

const STACK: usize = 256 * 1024;
/// The number of directory entries that are read in one turn.
const TURN: usize = 512;

/// What is known of control groups, and the thread that looks up the rest.
#[derive(Debug)]
pub(super) struct ControlGroups {
    table: Table<u64, Found>,
    wanted: Mutex<Wanted>,
    wake: Condvar,
    news: Arc<News>,
}

/// A group that was found.
#[derive(Debug, Clone, PartialEq)]
struct Found {
    group: Arc<Cgroup>,
    /// Whether the host has made it: these are kept if there is no room for all.
    of_host: bool,
}

#[derive(Debug, Default)]
struct Wanted {
    ids: Turns<u64>,
    subordinates: Subordinates,
    closed: bool,
}

impl ControlGroups {
    /// Starts the thread.
    pub(super) fn start(hierarchy: PathBuf, news: Arc<News>, clock: SharedClock) -> io::Result<Arc<Self>> {
        let wanted = Wanted { subordinates: Subordinates::read(), ..Wanted::default() };
        let groups = Arc::new(Self { table: Table::default(), wanted: Mutex::new(wanted), wake: Condvar::new(), news });
        let finder = Finder { groups: Arc::clone(&groups), hierarchy, clock, open: HashSet::new(), delegated: vec![] };
        thread::Builder::new().name("cgroups".into()).stack_size(STACK).spawn(move || finder.run())?;
        Ok(groups)
    }

    /// The group with an id, for a process of the user `uid`.
    pub(super) fn get(&self, id: u64, uid: u32) -> Known<Arc<Cgroup>> {
        let known = self.table.get(&id).map(|known| known.and_then(|found| Known::Yes(found.group)));
        known.unwrap_or_else(|| {
            let mut wanted = self.wanted();
            let owner = wanted.subordinates.owner(uid);
            if wanted.ids.push(owner, id) {
                self.wake.notify_all();
            }
            Known::Pending
        })
    }

    /// Ends the thread.
    pub(super) fn close(&self) {
        self.wanted().closed = true;
        self.wake.notify_all();
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        // Nothing under the lock can panic half-way.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Finder {
    groups: Arc<ControlGroups>,
    hierarchy: PathBuf,
    clock: SharedClock,
    /// What is looked for below groups that were given away.
    open: HashSet<u64>,
    /// Those, as of the last look.
    delegated: Vec<Subtree>,
}

/// All subtrees that were given away are being gone through.
struct Search {
    walks: VecDeque<Walk>,
    /// What was looked for when it began: that is not there if it is not found.
    sought: Vec<u64>,
}

impl Finder {
    fn run(mut self) {
        let mut refresh = self.clock.now().boot + REFRESH;
        let mut search: Option<Search> = None;
        while let Some(new) = self.next(refresh) {
            let before = self.clock.now().boot;
            if !new.is_empty()
                && let Err(error) = self.look_at_the_hosts(new)
            {
                tracing::warn!("cannot read the control groups: {error}");
                refresh = refresh.min(self.clock.now().boot + RETRY);
            }
            // As long as that took, so that those below groups that were given away come on, too.
            let looked = self.clock.now().boot;
            let until = looked + looked.since(before);
            loop {
                search = match search.take() {
                    Some(search) => self.go_on(search),
                    None if self.open.is_empty() => break,
                    None => Some(self.begin()),
                };
                if until <= self.clock.now().boot {
                    break;
                }
            }
            if refresh <= self.clock.now().boot {
                refresh = self.clock.now().boot + REFRESH;
                self.groups.wanted().subordinates = Subordinates::read();
                self.groups.table.forget_unused();
                // A group keeps its id and its path for life. What was not there may be there now.
                if self.groups.table.forget_unknown() {
                    self.groups.news.tell(true);
                }
            }
        }
    }

    /// Waits for ids that are wanted, unless there is something to do; `None` at the end.
    fn next(&self, refresh: BootTime) -> Option<Vec<u64>> {
        let mut wanted = self.groups.wanted();
        loop {
            if wanted.closed {
                return None;
            }
            let new: Vec<u64> = std::iter::from_fn(|| wanted.ids.pop()).collect();
            let left = refresh.since(self.clock.now().boot);
            if !new.is_empty() || !self.open.is_empty() || left.is_zero() {
                return Some(new);
            }
            wanted = self.groups.wake.wait_timeout(wanted, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Publishes which of these the host has made; the others are open.
    fn look_at_the_hosts(&mut self, ids: Vec<u64>) -> io::Result<()> {
        let found = match host_made(&self.hierarchy) {
            Ok(found) => found,
            Err(error) => {
                self.publish(ids.into_iter().map(|id| (id, Known::Unknown)).collect());
                return Err(error);
            }
        };
        self.delegated = found.delegated;
        let (known, open): (Vec<u64>, Vec<u64>) = ids.into_iter().partition(|id| found.groups.contains_key(id));
        self.open.extend(open);
        let of_host = |id| Some((id, Known::Yes(Found { group: Arc::clone(found.groups.get(&id)?), of_host: true })));
        self.publish(known.into_iter().filter_map(of_host).collect());
        Ok(())
    }

    fn begin(&self) -> Search {
        let walks = self.delegated.iter().map(|subtree| Walk::below(subtree, MAX_BELOW)).collect();
        Search { walks, sought: self.open.iter().copied().collect() }
    }

    /// Goes on in one of the subtrees; `None` if that was all.
    fn go_on(&mut self, mut search: Search) -> Option<Search> {
        let mut found = HashMap::new();
        if let Some(mut walk) = search.walks.pop_front() {
            let more = walk.go_on(TURN, |id, path| {
                if self.open.contains(&id) {
                    let group = Arc::new(Cgroup::parse(path));
                    found.insert(id, Known::Yes(Found { group, of_host: false }));
                }
            });
            if more {
                search.walks.push_back(walk);
            }
        }
        let over = search.walks.is_empty();
        if over {
            let missing = search.sought.iter().filter(|id| self.open.contains(id) && !found.contains_key(id));
            let missing: Vec<u64> = missing.copied().collect();
            found.extend(missing.into_iter().map(|id| (id, Known::Unknown)));
        }
        self.publish(found);
        (!over).then_some(search)
    }

    /// Publishes what was found.
    fn publish(&mut self, found: HashMap<u64, Known<Found>>) {
        if found.is_empty() {
            return;
        }
        let mut wanted = self.groups.wanted();
        for id in found.keys() {
            self.open.remove(id);
            wanted.ids.done(id);
        }
        drop(wanted);
        let stays = |known: &Known<Found>| matches!(known, Known::Yes(Found { of_host: true, .. }));
        self.groups.table.extend(found, MAX_KEPT, stays);
        self.groups.news.tell(false);
    }
}
