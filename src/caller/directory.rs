//! What takes time to find out: the groups and names of users, the numbers of names, the paths of control groups. It is
//! found out by a thread of its own and kept; the request path reads what there is, without a lock.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, futures::OwnedNotified};

use super::{
    accounts::{Account, Accounts},
    cgroup::{Cgroup, walk},
};
use crate::clock::SharedClock;

/// How long what was found out is believed before it is looked up again.
const REFRESH: Duration = Duration::from_mins(1);
/// How soon a look-up that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The most that is kept of each kind.
const MAX_KEPT: usize = 20_000;
/// Name services bring code of their own.
const STACK: usize = 1024 * 1024;

/// What is known of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known<T> {
    /// This.
    Yes(T),
    /// That there is none.
    No,
    /// Nothing yet: it is being found out. Ask again after the next change.
    Pending,
    /// Nothing: it cannot be found out.
    Unknown,
}

impl<T> Known<T> {
    /// Goes on with what is known.
    pub fn and_then<U>(self, next: impl FnOnce(T) -> Known<U>) -> Known<U> {
        match self {
            Self::Yes(value) => next(value),
            Self::No => Known::No,
            Self::Pending => Known::Pending,
            Self::Unknown => Known::Unknown,
        }
    }
}

/// The number of a user or group that is known by its name. It follows the name service.
#[derive(Debug)]
pub struct Name {
    text: Box<str>,
    kind: NameKind,
    value: AtomicU64,
}

/// What a name is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A user.
    User,
    /// A group.
    Group,
}

const NO_NUMBER: u64 = u64::MAX;
const NOT_KNOWN: u64 = u64::MAX - 1;
const NOT_ASKED: u64 = u64::MAX - 2;

impl Name {
    /// A name whose number is to be found out. A number stands for itself.
    pub fn new(text: &str, kind: NameKind) -> Self {
        let value = text.parse::<u32>().map_or(NOT_ASKED, u64::from);
        Self { text: text.into(), kind, value: value.into() }
    }

    /// The number.
    pub fn number(&self) -> Known<u32> {
        match self.value.load(Ordering::Relaxed) {
            NO_NUMBER => Known::No,
            NOT_ASKED => Known::Pending,
            value => u32::try_from(value).map_or(Known::Unknown, Known::Yes),
        }
    }

    /// The name.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Looks it up; whether that changed anything. After a failure what was known before stays.
    pub fn resolve(&self, accounts: &dyn Accounts) -> io::Result<bool> {
        if self.text.parse::<u32>().is_ok() {
            return Ok(false);
        }
        let number = match self.kind {
            NameKind::User => accounts.uid(&self.text),
            NameKind::Group => accounts.gid(&self.text),
        };
        let number = number.inspect_err(|_| {
            // A failure is no news of what is known already.
            let _known = self.value.compare_exchange(NOT_ASKED, NOT_KNOWN, Ordering::Relaxed, Ordering::Relaxed);
        })?;
        let value = number.map_or(NO_NUMBER, u64::from);
        Ok(self.value.swap(value, Ordering::Relaxed) != value)
    }
}

#[derive(Debug)]
struct Entry<T> {
    known: Known<T>,
    /// Whether somebody has asked since the last refresh.
    used: AtomicBool,
}

type Table<K, T> = HashMap<K, Arc<Entry<T>>>;

#[derive(Debug, Default, Clone)]
struct Tables {
    accounts: Table<u32, Arc<Account>>,
    groups: Table<u64, Arc<Cgroup>>,
}

#[derive(Debug, Default)]
struct Wanted {
    accounts: BTreeSet<u32>,
    groups: BTreeSet<u64>,
    names: Vec<Weak<Name>>,
    /// Whether names came that nobody has looked up.
    new_names: bool,
    closed: bool,
}

#[derive(Debug)]
struct Shared {
    tables: ArcSwap<Tables>,
    wanted: Mutex<Wanted>,
    wake: Condvar,
    changed: Arc<Notify>,
    version: AtomicU64,
}

/// Finds things out and keeps them.
#[derive(Debug)]
pub struct Directory {
    shared: Arc<Shared>,
}

impl Directory {
    /// Starts the thread. `hierarchy` is where control groups are, if they have ids here.
    pub fn start(accounts: impl Accounts, hierarchy: Option<PathBuf>, clock: SharedClock) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            tables: ArcSwap::default(),
            wanted: Mutex::default(),
            wake: Condvar::new(),
            changed: Arc::default(),
            version: AtomicU64::new(0),
        });
        let worker = Worker { shared: Arc::clone(&shared), accounts, hierarchy, clock };
        thread::Builder::new().name("names".into()).stack_size(STACK).spawn(move || worker.run())?;
        Ok(Self { shared })
    }

    /// The account of a user.
    pub fn account(&self, uid: u32) -> Known<Arc<Account>> {
        let tables = self.shared.tables.load();
        look_up(&tables.accounts, &uid, || self.shared.want(|wanted| wanted.accounts.insert(uid)))
    }

    /// The control group with an id.
    pub fn cgroup(&self, id: u64) -> Known<Arc<Cgroup>> {
        let tables = self.shared.tables.load();
        look_up(&tables.groups, &id, || self.shared.want(|wanted| wanted.groups.insert(id)))
    }

    /// Follows the number of a name for as long as somebody holds it.
    pub fn follow(&self, name: &Arc<Name>) {
        let name = Arc::downgrade(name);
        self.shared.want(|wanted| {
            wanted.names.push(name);
            wanted.new_names = true;
            true
        });
    }

    /// Grows when what was said before may be wrong now.
    pub fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Relaxed)
    }

    /// Becomes ready when something was found out. It counts from the call on.
    pub fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.shared.changed).notified_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.shared.wanted().closed = true;
        self.shared.wake.notify_all();
    }
}

fn look_up<K: std::hash::Hash + Eq, T: Clone>(table: &Table<K, T>, key: &K, want: impl FnOnce()) -> Known<T> {
    match table.get(key) {
        Some(entry) => {
            entry.used.store(true, Ordering::Relaxed);
            entry.known.clone()
        }
        None => {
            want();
            Known::Pending
        }
    }
}

impl Shared {
    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        // Nothing under the lock can panic half-way.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the thread if that is news.
    fn want(&self, change: impl FnOnce(&mut Wanted) -> bool) {
        if change(&mut self.wanted()) {
            self.wake.notify_one();
        }
    }
}

struct Worker<A> {
    shared: Arc<Shared>,
    accounts: A,
    hierarchy: Option<PathBuf>,
    clock: SharedClock,
}

impl<A: Accounts> Worker<A> {
    fn run(&self) {
        let mut refresh = self.clock.now().boot + REFRESH;
        loop {
            let mut wanted = self.shared.wanted();
            loop {
                let left = refresh.saturating_sub(self.clock.now().boot);
                let news = !wanted.accounts.is_empty() || !wanted.groups.is_empty() || wanted.new_names;
                if wanted.closed || news || left.is_zero() {
                    break;
                }
                wanted = self.shared.wake.wait_timeout(wanted, left).unwrap_or_else(PoisonError::into_inner).0;
            }
            if wanted.closed {
                return;
            }
            let overdue = refresh <= self.clock.now().boot;
            wanted.names.retain(|name| name.strong_count() > 0);
            let names = if std::mem::take(&mut wanted.new_names) || overdue { wanted.names.as_slice() } else { &[] };
            let names: Vec<Arc<Name>> = names.iter().filter_map(Weak::upgrade).collect();
            let (accounts, groups) = (std::mem::take(&mut wanted.accounts), std::mem::take(&mut wanted.groups));
            drop(wanted);
            let failed = self.find_out(accounts, groups, &names, overdue);
            if overdue {
                refresh = self.clock.now().boot + REFRESH;
            }
            if failed {
                refresh = refresh.min(self.clock.now().boot + RETRY);
            }
        }
    }

    /// Finds out what is wanted and, if `all`, everything again that is still in use. Whether something failed.
    fn find_out(&self, mut uids: BTreeSet<u32>, mut ids: BTreeSet<u64>, names: &[Arc<Name>], all: bool) -> bool {
        let old = self.shared.tables.load_full();
        let mut new = Tables::clone(&old);
        if all {
            let in_use = |used: &AtomicBool| used.swap(false, Ordering::Relaxed);
            new.accounts.retain(|_, entry| in_use(&entry.used));
            new.groups.retain(|_, entry| in_use(&entry.used));
            uids.extend(new.accounts.keys());
            // A control group keeps its id and its path for life.
            ids.extend(new.groups.iter().filter(|(_, entry)| !matches!(entry.known, Known::Yes(_))).map(|(id, _)| *id));
        }
        let mut failed = false;
        let mut differs = false;
        for name in names {
            match name.resolve(&self.accounts) {
                Ok(changed) => differs |= changed,
                Err(error) => {
                    tracing::warn!("cannot look up {:?}: {error}", name.text());
                    failed = true;
                }
            }
        }
        if new.accounts.len() > MAX_KEPT {
            new.accounts.clear();
        }
        for uid in uids {
            let before = new.accounts.get(&uid).map(|entry| &entry.known);
            let known = match self.accounts.account(uid) {
                Ok(Some(account)) => Known::Yes(Arc::new(account)),
                Ok(None) => Known::No,
                Err(error) => {
                    tracing::warn!("cannot look up user {uid}: {error}");
                    failed = true;
                    before.cloned().unwrap_or(Known::Unknown)
                }
            };
            differs |= before.is_some_and(|before| *before != known);
            new.accounts.insert(uid, Arc::new(Entry { known, used: AtomicBool::new(true) }));
        }
        if !ids.is_empty() {
            let found = self.hierarchy.as_deref().map(walk).transpose().unwrap_or_else(|error| {
                tracing::warn!("cannot read the control groups: {error}");
                failed = true;
                None
            });
            if new.groups.len() > MAX_KEPT {
                new.groups.clear();
            }
            for id in ids {
                let group = found.as_ref().and_then(|found| found.get(&id));
                let known = group.map_or(Known::Unknown, |group| Known::Yes(Arc::clone(group)));
                new.groups.insert(id, Arc::new(Entry { known, used: AtomicBool::new(true) }));
            }
        }
        self.shared.tables.store(Arc::new(new));
        if differs {
            self.shared.version.fetch_add(1, Ordering::Relaxed);
        }
        self.shared.changed.notify_waiters();
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    type Answer = io::Result<Option<Account>>;

    struct Book(Arc<dyn Fn(u32) -> Answer + Send + Sync>);

    impl Accounts for Book {
        fn account(&self, uid: u32) -> Answer {
            self.0(uid)
        }
        fn uid(&self, name: &str) -> io::Result<Option<u32>> {
            Ok((name == "web").then_some(33))
        }
        fn gid(&self, _name: &str) -> io::Result<Option<u32>> {
            Err(io::Error::other("no server"))
        }
    }

    fn start(hierarchy: Option<PathBuf>) -> Directory {
        let book = Book(Arc::new(|uid| match uid {
            33 => Ok(Some(Account { name: "web".into(), groups: [33, 44].into() })),
            34 => Ok(None),
            _ => Err(io::Error::other("no server")),
        }));
        Directory::start(book, hierarchy, SystemClock::shared()).expect("a thread")
    }

    async fn found_out<T>(directory: &Directory, ask: impl Fn() -> Known<T>) -> Known<T> {
        loop {
            let changed = directory.changed();
            match ask() {
                Known::Pending => changed.await,
                known => return known,
            }
        }
    }

    #[tokio::test]
    async fn what_is_asked_for_is_found_out_and_kept() {
        let directory = start(None);
        assert_eq!(directory.account(33), Known::Pending);
        let account = found_out(&directory, || directory.account(33)).await;
        assert!(matches!(&account, Known::Yes(account) if *account.groups == [33, 44]), "{account:?}");
        assert_eq!(found_out(&directory, || directory.account(34)).await, Known::No);
        assert_eq!(found_out(&directory, || directory.account(35)).await, Known::Unknown);
        assert_eq!(found_out(&directory, || directory.cgroup(7)).await, Known::Unknown);
    }

    #[tokio::test]
    async fn a_name_gets_its_number_and_a_failure_is_not_taken_for_none() {
        let directory = start(None);
        let [web, none, group, number] =
            [("web", NameKind::User), ("none", NameKind::User), ("staff", NameKind::Group), ("12", NameKind::Group)]
                .map(|(text, kind)| Arc::new(Name::new(text, kind)));
        assert_eq!(number.number(), Known::Yes(12));
        for name in [&web, &none, &group, &number] {
            directory.follow(name);
        }
        while web.number() != Known::Yes(33) {
            tokio::task::yield_now().await;
        }
        let changed = directory.changed();
        let account = directory.account(33);
        if account == Known::Pending {
            changed.await;
        }
        assert_eq!((none.number(), group.number()), (Known::No, Known::Unknown));
    }

    #[tokio::test]
    async fn a_control_group_is_found_by_its_id() {
        use std::os::unix::fs::MetadataExt;
        let root = tempfile::tempdir().expect("a directory");
        let unit = root.path().join("a.service");
        std::fs::create_dir(&unit).expect("made");
        let directory = start(Some(root.path().to_owned()));
        let id = std::fs::metadata(&unit).expect("made").ino();
        let group = found_out(&directory, || directory.cgroup(id)).await;
        assert!(matches!(&group, Known::Yes(group) if group.unit.as_deref() == Some("a.service")), "{group:?}");
    }
}
