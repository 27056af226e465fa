//! Users, their groups, and the numbers of names, by the name service. It may query a server and be slow: many look-ups
//! run in parallel, each on a thread that ends when there is nothing more to look up.

use std::{
    collections::{BTreeSet, VecDeque},
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak, atomic::Ordering},
    thread,
};

use super::{Known, MAX_KEPT, Name, News, REFRESH, RETRY, table::Table, turns::Turns};
use crate::{
    caller::{
        Subordinates,
        accounts::{Account, Accounts},
    },
    clock::{BootTime, SharedClock},
};

/// The number of look-ups that run in parallel, and how many of those may be of names.
const HELPERS: usize = 16;
const HELPERS_FOR_NAMES: usize = 12;
/// Name services bring code of their own.
const STACK: usize = 1024 * 1024;

/// What is known of users, and the threads that look up the rest.
#[derive(Debug)]
pub(super) struct Users {
    table: Table<u32, Arc<Account>>,
    wanted: Mutex<Wanted>,
    wake: Condvar,
    news: Arc<News>,
}

#[derive(Debug, Default)]
struct Wanted {
    users: Turns<u32>,
    names: VecDeque<Arc<Name>>,
    /// How many names are being looked up.
    names_under_way: usize,
    /// All names that are looked up again and again.
    followed: Vec<Weak<Name>>,
    subordinates: Subordinates,
    /// How many threads look up, and how many of them have only been started.
    helpers: usize,
    starting: usize,
    /// Users that could not be looked up.
    failed: BTreeSet<u32>,
    /// When what failed is tried again.
    retry: Option<BootTime>,
    /// When a failure was last logged.
    logged: Option<BootTime>,
    closed: bool,
}

enum Job {
    User(u32),
    Name(Arc<Name>),
}

impl Users {
    /// Starts the thread that starts the others.
    pub(super) fn start(accounts: impl Accounts, news: Arc<News>, clock: SharedClock) -> io::Result<Arc<Self>> {
        let wanted = Wanted { subordinates: Subordinates::read(), ..Wanted::default() };
        let users = Arc::new(Self { table: Table::default(), wanted: Mutex::new(wanted), wake: Condvar::new(), news });
        let leader = Leader { users: Arc::clone(&users), accounts: Arc::new(accounts), clock };
        thread::Builder::new().name("names".into()).stack_size(STACK).spawn(move || leader.run())?;
        Ok(users)
    }

    /// The account of a user.
    pub(super) fn account(&self, uid: u32) -> Known<Arc<Account>> {
        self.table.get(&uid).unwrap_or_else(|| {
            let mut wanted = self.wanted();
            let owner = wanted.subordinates.owner(uid);
            if wanted.users.push(owner, uid) {
                self.wake.notify_all();
            }
            Known::Pending
        })
    }

    /// Follows the number of a name for as long as it is held.
    pub(super) fn follow(&self, name: &Arc<Name>) {
        if name.is_number() {
            return;
        }
        let mut wanted = self.wanted();
        if wanted.followed.iter().any(|followed| std::ptr::eq(followed.as_ptr(), Arc::as_ptr(name))) {
            return;
        }
        wanted.followed.push(Arc::downgrade(name));
        wanted.ask(name);
        self.wake.notify_all();
    }

    /// Ends the threads as soon as they have finished what they are looking up.
    pub(super) fn close(&self) {
        self.wanted().closed = true;
        self.wake.notify_all();
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        // Nothing under the lock can panic half-way.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    fn ask(&mut self, name: &Arc<Name>) {
        if !name.open.swap(true, Ordering::Relaxed) {
            self.names.push_back(Arc::clone(name));
        }
    }

    fn ask_for(&mut self, names: impl Fn(&Name) -> bool) {
        self.followed.retain(|name| name.strong_count() > 0);
        let names: Vec<Arc<Name>> = self.followed.iter().filter_map(Weak::upgrade).filter(|name| names(name)).collect();
        for name in &names {
            self.ask(name);
        }
    }

    /// How many look-ups could be begun.
    fn waiting(&self) -> usize {
        self.names.len().min(HELPERS_FOR_NAMES.saturating_sub(self.names_under_way)) + self.users.waiting()
    }

    /// Names decide for many callers, so they come first; but they leave some helpers to the users.
    fn next(&mut self) -> Option<Job> {
        if self.names_under_way < HELPERS_FOR_NAMES
            && let Some(name) = self.names.pop_front()
        {
            self.names_under_way += 1;
            return Some(Job::Name(name));
        }
        self.users.pop().map(Job::User)
    }
}

/// Starts helpers, and has everything looked up again from time to time.
struct Leader<A> {
    users: Arc<Users>,
    accounts: Arc<A>,
    clock: SharedClock,
}

impl<A> Clone for Leader<A> {
    fn clone(&self) -> Self {
        let Self { users, accounts, clock } = self;
        Self { users: Arc::clone(users), accounts: Arc::clone(accounts), clock: Arc::clone(clock) }
    }
}

impl<A: Accounts> Leader<A> {
    fn run(&self) {
        let mut refresh = self.now() + REFRESH;
        let mut wanted = self.users.wanted();
        while !wanted.closed {
            let now = self.now();
            if refresh <= now {
                refresh = now + REFRESH;
                self.ask_for_all(&mut wanted);
            } else if wanted.retry.is_some_and(|retry| retry <= now) {
                wanted.retry = None;
                self.ask_for_what_failed(&mut wanted);
            }
            // One for each look-up, as the others may be in the middle of one that never ends.
            while wanted.helpers < HELPERS && wanted.starting < wanted.waiting() {
                wanted.helpers += 1;
                wanted.starting += 1;
                let helper = self.clone();
                let spawned =
                    thread::Builder::new().name("names-helper".into()).stack_size(STACK).spawn(move || helper.help());
                if spawned.is_err() {
                    // There are too many threads: then this one has to do it.
                    drop(wanted);
                    self.help();
                    wanted = self.users.wanted();
                }
            }
            let due = wanted.retry.map_or(refresh, |retry| retry.min(refresh));
            let left = due.since(self.now());
            wanted = self.users.wake.wait_timeout(wanted, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has everything looked up that is still in use.
    fn ask_for_all(&self, wanted: &mut Wanted) {
        wanted.subordinates = Subordinates::read();
        wanted.ask_for(|_name| true);
        // While the name service is away, nothing that was known could be found out again.
        if wanted.failed.is_empty() {
            self.users.table.forget_unused();
        }
        for uid in self.users.table.keys() {
            let owner = wanted.subordinates.owner(uid);
            wanted.users.push(owner, uid);
        }
    }

    fn ask_for_what_failed(&self, wanted: &mut Wanted) {
        wanted.ask_for(|name| name.failed.load(Ordering::Relaxed));
        // Of these nothing was ever known: they are looked up when they are asked for again.
        if self.users.table.forget_unknown() {
            self.users.news.tell(true);
        }
        for uid in std::mem::take(&mut wanted.failed) {
            if self.users.table.peek(&uid).is_some() {
                let owner = wanted.subordinates.owner(uid);
                wanted.users.push(owner, uid);
            }
        }
    }

    /// Looks up what waits.
    fn help(&self) {
        let mut wanted = self.users.wanted();
        wanted.starting -= 1;
        while !wanted.closed
            && let Some(job) = wanted.next()
        {
            drop(wanted);
            let found = match &job {
                Job::User(uid) => self.find_user(*uid),
                Job::Name(name) => self.find_name(name),
            };
            wanted = self.users.wanted();
            match &job {
                Job::User(uid) => {
                    wanted.users.done(uid);
                    wanted.failed.remove(uid);
                    if let Err(error) = &found {
                        wanted.failed.insert(*uid);
                        self.log_failure(&mut wanted, *uid, error);
                    }
                }
                Job::Name(name) => {
                    wanted.names_under_way -= 1;
                    name.open.store(false, Ordering::Relaxed);
                }
            }
            if found.is_err() && wanted.retry.is_none() {
                wanted.retry = Some(self.now() + RETRY);
                self.users.wake.notify_all();
            }
        }
        wanted.helpers -= 1;
    }

    /// A line now and then, not one for each user.
    fn log_failure(&self, wanted: &mut Wanted, uid: u32, error: &io::Error) {
        let now = self.now();
        if wanted.logged.is_none_or(|logged| logged + REFRESH <= now) {
            wanted.logged = Some(now);
            tracing::warn!("cannot look up user {uid}: {error}");
        } else {
            tracing::debug!("cannot look up user {uid}: {error}");
        }
    }

    fn find_user(&self, uid: u32) -> io::Result<()> {
        let before = self.users.table.peek(&uid);
        let (known, found) = match self.accounts.account(uid) {
            Ok(Some(account)) => (Known::Yes(Arc::new(account)), Ok(())),
            Ok(None) => (Known::No, Ok(())),
            Err(error) => (before.clone().unwrap_or(Known::Unknown), Err(error)),
        };
        let differs = before.is_some_and(|before| before != known);
        self.users.table.extend([(uid, known)], MAX_KEPT, |_| false);
        self.users.news.tell(differs);
        found
    }

    fn find_name(&self, name: &Name) -> io::Result<()> {
        let (text, kind) = (name.text(), name.kind());
        let found = name.resolve(&*self.accounts);
        let failed_before = name.failed.swap(found.is_err(), Ordering::Relaxed);
        match &found {
            Ok(true) if name.number() == Known::No => {
                tracing::warn!("policy: there is no {kind} {text:?} on this host");
            }
            Err(error) if !failed_before => tracing::warn!("policy: cannot look up {kind} {text:?}: {error}"),
            _ => {}
        }
        self.users.news.tell(found.as_ref().is_ok_and(|changed| *changed));
        found.map(|_changed| ())
    }

    fn now(&self) -> BootTime {
        self.clock.now().boot
    }
}
