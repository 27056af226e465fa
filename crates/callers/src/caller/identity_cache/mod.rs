//! Look-ups that take time: the groups and names of users, the numbers of names, the paths of control groups. They
//! run on separate threads, and the results are kept; the request path reads what is there, without a lock.

mod groups;
mod name;
mod table;
mod turns;
mod users;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use groups::ControlGroups;
pub use name::{Name, NameKind};
use tokio::sync::{Notify, futures::OwnedNotified};
use users::Users;

use super::{
    accounts::{Account, Accounts},
    cgroup::Cgroup,
};
use crate::clock::SharedClock;

/// How long what was found out is believed before it is looked up again.
const REFRESH: Duration = Duration::from_mins(1);
/// How soon a look-up that failed is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// The most that is kept of each kind.
const MAX_KEPT: usize = 20_000;

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

/// Makes known that something was found out.
#[derive(Debug, Default)]
struct News {
    changed: Arc<Notify>,
    version: AtomicU64,
}

impl News {
    /// Wakes all waiting tasks. `differs`: earlier answers may be wrong now.
    fn tell(&self, differs: bool) {
        if differs {
            self.version.fetch_add(1, Ordering::Relaxed);
        }
        self.changed.notify_waiters();
    }
}

/// Finds things out and keeps them. Control groups and the name service are apart: neither waits for the other.
#[derive(Debug)]
pub struct IdentityCache {
    users: Arc<Users>,
    /// None where control groups have no ids.
    groups: Option<Arc<ControlGroups>>,
    news: Arc<News>,
}

impl IdentityCache {
    /// Starts the threads. `hierarchy` is where control groups are, if they have ids here.
    pub fn start(accounts: impl Accounts, hierarchy: Option<PathBuf>, clock: SharedClock) -> io::Result<Self> {
        let news = Arc::<News>::default();
        let users = Users::start(accounts, Arc::clone(&news), Arc::clone(&clock))?;
        let groups = hierarchy.map(|root| ControlGroups::start(root, Arc::clone(&news), clock)).transpose()?;
        Ok(Self { users, groups, news })
    }

    /// The account of a user.
    pub fn account(&self, uid: u32) -> Known<Arc<Account>> {
        self.users.account(uid)
    }

    /// The control group with an id, in which is a process of the user `uid`.
    pub fn cgroup(&self, id: u64, uid: u32) -> Known<Arc<Cgroup>> {
        self.groups.as_ref().map_or(Known::Unknown, |groups| groups.get(id, uid))
    }

    /// Looks up the number of a name, and again from time to time for as long as it is held.
    pub fn follow(&self, name: &Arc<Name>) {
        self.users.follow(name);
    }

    /// Grows when what was said before may be wrong now.
    pub fn version(&self) -> u64 {
        self.news.version.load(Ordering::Relaxed)
    }

    /// Becomes ready when something was found out. It counts from the call on.
    pub fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.news.changed).notified_owned()
    }
}

impl Drop for IdentityCache {
    fn drop(&mut self) {
        self.users.close();
        if let Some(groups) = &self.groups {
            groups.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::MetadataExt,
        path::Path,
        sync::{Barrier, Mutex, PoisonError, mpsc},
    };

    use super::*;
    use crate::clock::SystemClock;

    type Number = dyn Fn(&str) -> io::Result<Option<u32>> + Send + Sync;

    /// A name service with answers of the test's own.
    struct Book {
        account: Box<dyn Fn(u32) -> io::Result<Option<Account>> + Send + Sync>,
        number: Box<Number>,
    }

    impl Default for Book {
        fn default() -> Self {
            let account = |uid| match uid {
                33 => Ok(Some(Account { name: "web".into(), groups: [33, 44].into() })),
                34 => Ok(None),
                _ => Err(io::Error::other("no server")),
            };
            Self { account: Box::new(account), number: Box::new(|name| Ok((name == "web").then_some(33))) }
        }
    }

    impl Accounts for Book {
        fn account(&self, uid: u32) -> io::Result<Option<Account>> {
            (self.account)(uid)
        }
        fn uid(&self, name: &str) -> io::Result<Option<u32>> {
            (self.number)(name)
        }
        fn gid(&self, _name: &str) -> io::Result<Option<u32>> {
            Err(io::Error::other("no server"))
        }
    }

    fn start(book: Book, hierarchy: Option<PathBuf>) -> IdentityCache {
        IdentityCache::start(book, hierarchy, SystemClock::shared()).expect("a thread")
    }

    fn names(texts: &[&str]) -> Vec<Arc<Name>> {
        texts.iter().map(|text| Arc::new(Name::new(text, NameKind::User))).collect()
    }

    async fn found_out<T>(directory: &IdentityCache, ask: impl Fn() -> Known<T>) -> Known<T> {
        loop {
            let changed = directory.changed();
            match ask() {
                Known::Pending => changed.await,
                known => return known,
            }
        }
    }

    fn id(path: &Path) -> u64 {
        fs::metadata(path).expect("made").ino()
    }

    fn unit(found: &Known<Arc<Cgroup>>) -> Option<&str> {
        match found {
            Known::Yes(group) => group.unit.as_deref(),
            _ => None,
        }
    }

    #[tokio::test]
    async fn what_is_asked_for_is_found_out_and_kept() {
        let directory = start(Book::default(), None);
        assert_eq!(directory.account(33), Known::Pending);
        let account = found_out(&directory, || directory.account(33)).await;
        assert!(matches!(&account, Known::Yes(account) if *account.groups == [33, 44]), "{account:?}");
        assert_eq!(found_out(&directory, || directory.account(34)).await, Known::No);
        assert_eq!(found_out(&directory, || directory.account(35)).await, Known::Unknown);
        assert_eq!(directory.cgroup(7, 0), Known::Unknown, "there are no groups here");
    }

    #[tokio::test]
    async fn a_name_gets_its_number_and_a_failure_is_not_taken_for_none() {
        let directory = start(Book::default(), None);
        let [web, none, group, number] =
            [("web", NameKind::User), ("none", NameKind::User), ("staff", NameKind::Group), ("12", NameKind::Group)]
                .map(|(text, kind)| Arc::new(Name::new(text, kind)));
        assert_eq!((number.number(), web.number()), (Known::Yes(12), Known::Pending));
        for name in [&web, &none, &group, &number] {
            directory.follow(name);
        }
        assert_eq!(found_out(&directory, || web.number()).await, Known::Yes(33));
        assert_eq!(found_out(&directory, || none.number()).await, Known::No);
        assert_eq!(found_out(&directory, || group.number()).await, Known::Unknown);
    }

    #[tokio::test]
    async fn names_are_looked_up_at_the_same_time() {
        // Each look-up goes on when all have begun.
        let barrier = Barrier::new(8);
        let number = move |_: &str| {
            barrier.wait();
            Ok(Some(33))
        };
        let directory = start(Book { number: Box::new(number), ..Book::default() }, None);
        let names = names(&["a", "b", "c", "d", "e", "f", "g", "h"]);
        for name in &names {
            directory.follow(name);
        }
        for name in &names {
            assert_eq!(found_out(&directory, || name.number()).await, Known::Yes(33));
        }
    }

    #[tokio::test]
    async fn a_name_service_that_never_answers_holds_up_no_control_group_and_not_the_end() {
        let (end, never) = mpsc::channel::<()>();
        let never = Mutex::new(never);
        let number = move |_: &str| {
            // Until the end of the test.
            let _gone = never.lock().unwrap_or_else(PoisonError::into_inner).recv();
            Ok(None)
        };
        let root = tempfile::tempdir().expect("a directory");
        fs::create_dir(root.path().join("a.service")).expect("made");
        let directory = start(Book { number: Box::new(number), ..Book::default() }, Some(root.path().to_owned()));
        let texts: Vec<String> = (0..40).map(|number| format!("name{number}")).collect();
        let names = names(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        for name in &names {
            directory.follow(name);
        }
        let number = id(&root.path().join("a.service"));
        let found = found_out(&directory, || directory.cgroup(number, 0)).await;
        assert_eq!(unit(&found), Some("a.service"));
        assert!(names.iter().all(|name| name.number() == Known::Pending));
        // Users are looked up meanwhile, too.
        assert_eq!(found_out(&directory, || directory.account(34)).await, Known::No);
        drop(directory);
        drop(end);
    }

    #[tokio::test]
    async fn groups_of_the_host_are_found_while_a_user_has_many_looked_for() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().expect("a directory");
        let given = root.path().join("user@7.service");
        for group in 0..1000 {
            fs::create_dir_all(given.join(format!("{group}"))).expect("made");
        }
        std::os::unix::fs::chown(&given, Some(7), None).expect("root may");
        let directory = start(Book::default(), Some(root.path().to_owned()));
        let attack: Vec<u64> = (0..1000).map(|group| id(&given.join(format!("{group}")))).collect();
        // No look-up is refused for good, but not all are open at the same time.
        for honest in 0..20 {
            for id in &attack {
                let _sought = directory.cgroup(*id, 7);
            }
            let own = root.path().join(format!("honest{honest}.service"));
            fs::create_dir(&own).expect("made");
            let number = id(&own);
            let found = found_out(&directory, || directory.cgroup(number, 8)).await;
            assert_eq!(unit(&found), Some(format!("honest{honest}.service").as_str()));
        }
        for id in attack.iter().rev().take(3) {
            let found = found_out(&directory, || directory.cgroup(*id, 7)).await;
            assert_eq!(unit(&found), Some("user@7.service"));
        }
        assert_eq!(found_out(&directory, || directory.cgroup(1, 7)).await, Known::Unknown);
    }
}
