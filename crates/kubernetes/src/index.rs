//! What each service account asks for, read by requests without a lock and kept up to date by one writer.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{Account, Listed, Uid, Wish, open_metrics::Page};

/// The most accounts with a wish that are kept, and of one namespace: whoever may make accounts there takes no place away
/// from others.
const MOST: usize = 65_536;
const MOST_OF_NAMESPACE: usize = 4096;
/// How many of the others are told apart, to be counted.
const MOST_LEFT_OUT: usize = 65_536;

/// An account that asks for a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asking {
    /// What it asks for.
    pub wish: Wish,
    /// Its uid: a token of another account, which had its name before, is none of its tokens.
    pub uid: Option<Uid>,
}

/// What is known of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// When it was last certain that everything is known; `None` if it never was.
    pub synced: Option<Timestamp>,
    /// What the account asks for, as of that time or later.
    pub asking: Option<Asking>,
}

/// By namespace, so that a change copies the accounts of one.
type Namespaces = HashMap<Arc<str>, Arc<HashMap<Box<str>, Asking>>>;

/// What the accounts of a cluster ask for.
#[derive(Debug, Default)]
pub struct Index {
    accounts: ArcSwap<Namespaces>,
    /// When it was last certain that everything is known, in microseconds since the epoch; 0: never. Requests read it, so it
    /// is not behind the lock.
    synced: AtomicI64,
    /// Also the lock of the writer.
    state: Mutex<State>,
    /// Who waits for it to be known, or for an account to change.
    waiting: ArcSwapOption<Notify>,
}

/// What only the writer needs.
#[derive(Debug, Default)]
struct State {
    watch: WatchState,
    left_out: LeftOut,
}

impl State {
    /// The account is no longer one that there is no place for. Without any there is nothing to have room for.
    fn forget(&mut self, account: &Account) {
        self.left_out.remove(account);
        self.watch.has_room &= !self.left_out.accounts.is_empty();
    }
}

/// The accounts that there is no place for, each counted once. No more than their number is needed, so no names are kept.
#[derive(Debug, Default)]
struct LeftOut {
    hasher: RandomState,
    accounts: HashSet<u64>,
}

impl LeftOut {
    fn add(&mut self, account: &Account) {
        if self.accounts.len() < MOST_LEFT_OUT {
            self.accounts.insert(self.hasher.hash_one(account));
        }
    }

    fn remove(&mut self, account: &Account) {
        self.accounts.remove(&self.hasher.hash_one(account));
    }
}

/// How it stands with what is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchState {
    /// When it was last certain that everything is known.
    pub synced: Option<Timestamp>,
    /// Whether changes arrive at this time.
    pub following: bool,
    /// How many accounts ask for a role.
    pub accounts: usize,
    /// How many more there is no place for.
    pub left_out: u64,
    /// Whether there has been room for some of these since.
    pub has_room: bool,
    /// How many messages were too long to be read.
    pub too_long: u64,
    /// How many calls have failed since the start.
    pub failures: u64,
    /// Why the last one did, if none has succeeded since.
    pub problem: Option<String>,
}

impl WatchState {
    /// As metrics.
    pub fn put(&self, page: &mut Page) {
        let help = "Service accounts of the cluster that ask for a role.";
        page.gauge("alppaca_service_accounts", help).put(&[], self.accounts);
        let help = "Whether changes of the service accounts are heard of now.";
        page.gauge("alppaca_service_accounts_following", help).put(&[], u8::from(self.following));
        if let Some(synced) = self.synced {
            let help = "When the service accounts were last known as the cluster has them.";
            page.gauge("alppaca_service_accounts_synced_timestamp_seconds", help).put(&[], synced.as_second());
        }
        let help = "Calls of the API server of the cluster that have failed.";
        page.counter("alppaca_service_accounts_failures_total", help).put(&[], self.failures);
        let help = "Service accounts that ask for a role, but there was no place for them.";
        page.gauge("alppaca_service_accounts_left_out", help).put(&[], self.left_out);
        let help = "Messages of the API server that were too long to be read.";
        page.counter("alppaca_service_accounts_messages_too_long_total", help).put(&[], self.too_long);
    }
}

/// Whether one more has no place, with so many in all and in its namespace.
fn is_full(all: usize, of_namespace: usize) -> bool {
    all >= MOST || of_namespace >= MOST_OF_NAMESPACE
}

/// All that is known, while it is being listed.
#[derive(Debug, Default)]
pub struct Draft {
    namespaces: HashMap<Arc<str>, HashMap<Box<str>, Asking>>,
    accounts: usize,
    left_out: LeftOut,
}

impl Draft {
    /// Adds an account.
    pub fn add(&mut self, listed: Listed) {
        let Listed { account, uid, wish: Some(wish) } = listed else { return };
        let in_namespace = self.namespaces.get(&*account.namespace).map_or(0, HashMap::len);
        if is_full(self.accounts, in_namespace) {
            self.left_out.add(&account);
            return;
        }
        let of_namespace = self.namespaces.entry(account.namespace.into()).or_default();
        if of_namespace.insert(account.name.into(), Asking { wish, uid }).is_none() {
            self.accounts += 1;
        }
    }
}

impl Index {
    /// What this account asks for.
    pub fn asking(&self, account: &Account) -> Option<Asking> {
        self.accounts.load().get(&*account.namespace)?.get(&*account.name).cloned()
    }

    /// What is known of this account.
    pub fn look_up(&self, account: &Account) -> Known {
        // The time first: what is read after it is no older.
        let synced = self.synced();
        Known { synced, asking: self.asking(account) }
    }

    /// Whether everything was ever known.
    pub fn is_known(&self) -> bool {
        self.synced().is_some()
    }

    fn synced(&self) -> Option<Timestamp> {
        Timestamp::from_microsecond(self.synced.load(Ordering::Acquire))
            .ok()
            .filter(|synced| *synced > Timestamp::UNIX_EPOCH)
    }

    /// How it stands.
    pub fn state(&self) -> WatchState {
        let state = self.writing();
        let left_out = state.left_out.accounts.len() as u64;
        WatchState { synced: self.synced(), left_out, ..state.watch.clone() }
    }

    /// Notifies `waiting` from now on when everything is known for the first time, and when an account has changed.
    pub fn wake(&self, waiting: &Arc<Notify>) {
        self.waiting.store(Some(Arc::clone(waiting)));
    }

    /// Knows this, and nothing of before, as of `now`.
    pub fn replace(&self, draft: Draft, now: Timestamp) {
        let mut state = self.writing();
        let shared = draft.namespaces.into_iter().map(|(namespace, accounts)| (namespace, Arc::new(accounts)));
        self.accounts.store(Arc::new(shared.collect()));
        state.left_out = draft.left_out;
        let watch = &mut state.watch;
        (watch.accounts, watch.has_room) = (draft.accounts, false);
        drop(state);
        self.knows_all(now);
        self.notify();
    }

    /// Lets go on who waits.
    fn notify(&self) {
        if let Some(waiting) = &*self.waiting.load() {
            waiting.notify_waiters();
        }
    }

    /// The account is so from now on. Whether there was a place for it.
    pub fn set(&self, listed: Listed) -> bool {
        let Listed { account, uid, wish } = listed;
        let Some(wish) = wish else {
            self.remove(&account);
            return true;
        };
        let asking = Asking { wish, uid };
        let mut state = self.writing();
        let before = self.accounts.load_full();
        let of_before = before.get(&*account.namespace);
        let known = of_before.and_then(|accounts| accounts.get(&*account.name));
        if known == Some(&asking) {
            return true;
        }
        if known.is_none() {
            if is_full(state.watch.accounts, of_before.map_or(0, |accounts| accounts.len())) {
                state.left_out.add(&account);
                return false;
            }
            state.forget(&account);
            state.watch.accounts += 1;
        }
        let mut accounts = of_before.map(|accounts| HashMap::clone(accounts)).unwrap_or_default();
        accounts.insert(account.name.into(), asking);
        let mut namespaces = Namespaces::clone(&before);
        namespaces.insert(account.namespace.into(), Arc::new(accounts));
        self.accounts.store(Arc::new(namespaces));
        self.notify();
        true
    }

    /// The account is gone, or asks for nothing any more.
    pub fn remove(&self, account: &Account) {
        let mut state = self.writing();
        let before = self.accounts.load_full();
        let Some(of_before) = before.get(&*account.namespace).filter(|of| of.contains_key(&*account.name)) else {
            state.forget(account);
            return;
        };
        state.watch.has_room |= !state.left_out.accounts.is_empty() && is_full(state.watch.accounts, of_before.len());
        let (mut namespaces, mut accounts) = (Namespaces::clone(&before), HashMap::clone(of_before));
        accounts.remove(&*account.name);
        if accounts.is_empty() {
            namespaces.remove(&*account.namespace);
        } else {
            namespaces.insert(account.namespace.as_str().into(), Arc::new(accounts));
        }
        state.watch.accounts -= 1;
        self.accounts.store(Arc::new(namespaces));
    }

    /// Changes arrive from now on.
    pub fn follows(&self) {
        let watch = &mut self.writing().watch;
        watch.following = true;
        watch.problem = None;
    }

    /// All that came before `now` is known.
    pub fn knows_all(&self, now: Timestamp) {
        self.synced.store(now.as_microsecond().max(1), Ordering::Release);
    }

    /// No changes arrive for now. What is known stays.
    pub fn failed(&self, problem: String) {
        let watch = &mut self.writing().watch;
        watch.following = false;
        watch.failures += 1;
        watch.problem = Some(problem);
    }

    /// A message was too long to be read, and was left out.
    pub fn misses(&self) {
        self.writing().watch.too_long += 1;
    }

    fn writing(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(namespace: &str, name: &str) -> Account {
        Account::new(namespace, name).expect("legal")
    }

    fn listed(namespace: &str, name: &str, role: Option<&str>) -> Listed {
        let wish = role.map(|role| Wish::Role(role.parse().expect("a name")));
        Listed { account: account(namespace, name), uid: Uid::new("1"), wish }
    }

    fn now() -> Timestamp {
        "2026-11-27T10:00:00Z".parse().expect("a time")
    }

    #[test]
    fn what_is_known_is_replaced_changed_and_removed() {
        let index = Index::default();
        assert!(!index.is_known());
        let mut draft = Draft::default();
        for (name, role) in [("web", Some("web")), ("db", Some("db")), ("default", None)] {
            draft.add(listed("prod", name, role));
        }
        index.replace(draft, now());
        let role = |name: &str| index.asking(&account("prod", name)).map(|asking| asking.wish.to_string());
        assert_eq!((role("web").as_deref(), role("default")), (Some("the role web"), None));
        assert_eq!((index.state().accounts, index.is_known()), (2, true));
        assert!(index.set(listed("prod", "web", Some("other"))));
        assert_eq!(role("web").as_deref(), Some("the role other"));
        assert!(index.set(listed("prod", "web", None)) && index.set(listed("prod", "web", None)));
        index.remove(&account("prod", "db"));
        index.remove(&account("prod", "db"));
        assert_eq!((role("web"), role("db"), index.state().accounts), (None, None, 0));
        assert!(index.accounts.load().is_empty());
    }

    #[test]
    fn a_failure_takes_nothing_away() {
        let index = Index::default();
        let mut draft = Draft::default();
        draft.add(listed("prod", "web", Some("web")));
        index.replace(draft, now());
        index.follows();
        index.failed("gone".to_owned());
        let state = index.state();
        assert_eq!((state.following, state.failures, state.problem.as_deref()), (false, 1, Some("gone")));
        assert!(state.synced == Some(now()) && index.asking(&account("prod", "web")).is_some());
    }

    #[test]
    fn one_namespace_takes_no_place_away_from_others() {
        let (index, mut draft) = (Index::default(), Draft::default());
        for number in 0..=MOST_OF_NAMESPACE {
            draft.add(listed("greedy", &format!("a{number}"), Some("x")));
        }
        draft.add(listed("prod", "web", Some("web")));
        index.replace(draft, now());
        assert_eq!((index.state().accounts, index.state().left_out), (MOST_OF_NAMESPACE + 1, 1));
        for change in ["x", "y", "z"] {
            assert!(!index.set(listed("greedy", "one-more", Some(change))));
        }
        assert!(index.set(listed("greedy", "a1", Some("y"))), "a change needs no place");
        assert!(index.set(listed("prod", "db", Some("db"))));
        assert_eq!((index.state().accounts, index.state().left_out), (MOST_OF_NAMESPACE + 2, 2));
        index.remove(&account("prod", "db"));
        assert!(!index.state().has_room, "that was not what they lack");
        index.remove(&account("greedy", "a1"));
        assert!(index.state().has_room);
        // One that goes, or asks for nothing any more, is not left out any more; nor is one that has found a place.
        assert!(index.set(listed("greedy", "one-more", Some("x"))));
        assert_eq!(index.state().left_out, 1);
        assert!(!index.set(listed("greedy", "another", Some("x"))));
        assert_eq!(index.state().left_out, 2);
        index.remove(&account("greedy", "another"));
        assert!(index.set(listed("greedy", &format!("a{MOST_OF_NAMESPACE}"), None)));
        assert_eq!((index.state().left_out, index.state().has_room), (0, false), "nothing needs the room");
        index.replace(Draft::default(), now());
        assert_eq!((index.state().left_out, index.state().has_room), (0, false));
    }

    #[test]
    fn an_account_that_is_made_anew_is_another_one() {
        let index = Index::default();
        let uid = || index.asking(&account("prod", "web")).expect("it asks").uid;
        assert!(index.set(listed("prod", "web", Some("web"))));
        assert_eq!(uid(), Uid::new("1"));
        assert!(index.set(Listed { uid: Uid::new("2"), ..listed("prod", "web", Some("web")) }));
        assert_eq!((uid(), index.state().accounts), (Uid::new("2"), 1));
    }
}
