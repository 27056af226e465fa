//! The roles that users have chosen (`alppaca use`), with the one before, also when the daemon is restarted.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    AdminSocket, TimedFetcher,
    book::{Held, Kept, read},
    timed::{NotNow, TimedSets},
};
use crate::{
    caller::{
        Owner, Subordinates,
        budget::{Allowance, Bounds, Rank, Rate, Share, Shares},
    },
    clock::BootTime,
    credentials::{RoleId, RoleName},
    policy::{Choice, Choices},
};

/// How many users may have chosen. Some are kept for accounts that an administrator made: subordinate users are many.
const USERS: Bounds = Bounds { total: 3072, reserved: 1024, each: 64, scarce: 128 };

/// How often an owner may have sets of its own fetched: each time is a call of AWS.
const PACE: Rate = Rate { burst: 5, every: Duration::from_secs(10) };

/// Who has chosen what.
pub struct Selections {
    /// What the policy goes by.
    choices: Arc<Choices>,
    budget: Arc<Shares<Owner>>,
    users: Arc<Subordinates>,
    book: Kept<Selection>,
    timed: TimedSets,
    pace: Mutex<Allowance<Owner>>,
}

/// What a user has chosen; no role is the default one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Selection {
    uid: u32,
    role: Option<String>,
    /// How many seconds its sets shall live, if not as long as those of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    /// What both were before.
    before: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds_before: Option<u64>,
}

/// A role, and how long its sets shall live, if not as long as those of all.
pub(super) type Length = Option<Duration>;

impl Selections {
    /// Takes over what is written in a file beside the socket. No role that is chosen has to be there.
    /// Sets that live as long as a user has chosen come by `fetcher`.
    pub fn beside(
        socket: Option<&AdminSocket>,
        choices: &Arc<Choices>,
        users: &Arc<Subordinates>,
        fetcher: Arc<dyn TimedFetcher>,
    ) -> io::Result<Self> {
        let file = socket.map(|socket| socket.path().with_extension("choices"));
        Self::new(Arc::clone(choices), file, Arc::clone(users), fetcher)
    }

    fn new(
        choices: Arc<Choices>,
        file: Option<PathBuf>,
        users: Arc<Subordinates>,
        fetcher: Arc<dyn TimedFetcher>,
    ) -> io::Result<Self> {
        let (budget, timed) = (Shares::new(USERS), TimedSets::new(fetcher));
        let written = file.as_deref().map(read::<Selection>).unwrap_or_default();
        let held = written.into_iter().map(|selection| {
            let role: Option<RoleName> = selection.role.as_deref().and_then(|role| role.parse().ok());
            let choice = role.map(|role| {
                let own =
                    selection.seconds.map(|seconds| timed.restore(selection.uid, &role, Duration::from_secs(seconds)));
                Choice { role, own }
            });
            choices.set(selection.uid, choice.as_ref());
            Held { _share: budget.note(&users.party(Owner::User(selection.uid))), record: selection }
        });
        let book = Kept::new(held.collect(), file, "choices", "the roles that users have chosen are forgotten")?;
        Ok(Self { choices, budget, users, book, timed, pace: Mutex::new(Allowance::new(PACE)) })
    }

    /// What user `uid` has chosen.
    pub(super) fn chosen(&self, uid: u32) -> Option<RoleName> {
        self.choices.of(uid).map(|choice| choice.role)
    }

    /// The sets of its own that user `uid` has chosen, and how many seconds each shall live.
    pub(super) fn own(&self, uid: u32) -> Option<(RoleId, u64)> {
        let id = self.choices.of(uid)?.own?;
        let seconds: Vec<u64> = self.book.collect(|record| record.seconds.filter(|_| record.uid == uid));
        Some((id, seconds.into_iter().next()?))
    }

    /// Whether the sets with that id are those that user `uid` has chosen for itself.
    pub(super) fn is_own(&self, uid: u32, id: &RoleId) -> bool {
        self.timed.is_own(uid, id)
    }

    /// The user whose own sets have that id, and how long each shall live.
    pub(super) fn length(&self, id: &RoleId) -> Option<(u32, Duration)> {
        self.timed.length(id)
    }

    /// Has sets of a role fetched that live as long as user `uid` wants; answers their id. What is wanted `again`, by a request
    /// that waits, is not fetched in the place of something else.
    pub(super) fn want(
        &self,
        uid: u32,
        (role, duration): (&RoleName, Duration),
        again: bool,
        now: BootTime,
    ) -> Result<RoleId, NotNow> {
        self.timed.want(uid, (role, duration), again, now, || {
            // Nothing under the lock can panic half-way.
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            pace.spend(self.users.party(Owner::User(uid)), now).ok_or(NotNow::TooOften)?;
            self.share(uid)
        })
    }

    /// They will not come.
    pub(super) fn give_up(&self, uid: u32, id: &RoleId) {
        self.timed.give_up(uid, id);
    }

    /// Gives up what is not waited for any more.
    pub(super) fn sweep(&self, now: BootTime) {
        self.timed.sweep(now);
    }

    fn share(&self, uid: u32) -> Result<Share<Owner>, NotNow> {
        let rank = if self.users.is_below(uid) { Rank::Privileged } else { Rank::Ordinary };
        self.budget.take(&self.users.party(Owner::User(uid)), rank).ok_or(NotNow::TooMany)
    }

    /// What user `uid` had chosen before, if it has ever chosen.
    #[allow(clippy::option_option, reason = "to have chosen nothing and to have had the default are not the same")]
    pub(super) fn before(&self, uid: u32) -> Option<Option<(String, Length)>> {
        let before = |record: &Selection| {
            let length = record.seconds_before.map(Duration::from_secs);
            record.before.clone().map(|role| (role, length))
        };
        let found: Vec<_> = self.book.collect(|record| (record.uid == uid).then(|| before(record)));
        found.into_iter().next()
    }

    /// Has user `uid` choose a role, with sets of its own that live so long, or the default one.
    pub(super) fn choose(&self, uid: u32, choice: Option<&Choice>, length: Length) -> Result<(), NotNow> {
        let (role, seconds) = (choice.map(|choice| choice.role.to_string()), length.map(|length| length.as_secs()));
        self.book.change(|held| {
            match held.iter_mut().find(|held| held.record.uid == uid) {
                Some(Held { record, .. }) if record.role != role || record.seconds != seconds => {
                    record.before = std::mem::replace(&mut record.role, role);
                    record.seconds_before = std::mem::replace(&mut record.seconds, seconds);
                }
                Some(_) => {}
                None if role.is_none() => {}
                None => {
                    let record = Selection { uid, role, seconds, before: None, seconds_before: None };
                    held.push(Held { record, _share: self.share(uid)? });
                }
            }
            self.choices.set(uid, choice);
            // What was in force before is dropped when it is no user's choice any more.
            self.timed.put_in_force(uid, choice.and_then(|choice| choice.own.as_ref()));
            Ok(())
        })
    }

    /// Writes them again, where what was written has disappeared.
    pub fn remember(&self) {
        self.book.remember();
    }

    /// Leaves the file to another process, or takes it back.
    pub fn hand_over(&self, handed_over: bool) {
        self.book.hand_over(handed_over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::timed::tests::Counting;

    fn name(role: &str) -> RoleName {
        role.parse().expect("a role name")
    }

    fn choice(role: &str) -> Choice {
        Choice { role: name(role), own: None }
    }

    fn open(file: Option<PathBuf>) -> Selections {
        Selections::new(Arc::default(), file, Arc::default(), Arc::new(Counting::default())).expect("a thread")
    }

    #[test]
    fn a_choice_and_the_one_before_outlive_the_daemon() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = Some(directory.path().join("choices"));
        let selections = open(file.clone());
        assert_eq!((selections.chosen(1000), selections.before(1000)), (None, None));
        selections.choose(1000, Some(&choice("web")), None).expect("room");
        assert_eq!(selections.before(1000), Some(None), "the default");
        selections.choose(1000, Some(&choice("db")), None).expect("room");
        selections.choose(1000, Some(&choice("db")), None).expect("room");
        selections.choose(1001, Some(&choice("x")), None).expect("room");
        selections.choose(1001, None, None).expect("room");
        drop(selections);
        let selections = open(file);
        assert_eq!(
            (selections.chosen(1000), selections.before(1000)),
            (Some(name("db")), Some(Some(("web".into(), None))))
        );
        assert_eq!((selections.chosen(1001), selections.before(1001)), (None, Some(Some(("x".into(), None)))));
    }

    #[test]
    fn a_length_belongs_to_the_choice_and_outlives_the_daemon() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = Some(directory.path().join("choices"));
        let selections = open(file.clone());
        let long = Duration::from_hours(4);
        let id = selections.want(1000, (&name("web"), long), false, BootTime::ZERO).expect("room");
        assert!(!selections.is_own(1000, &id), "it is not in force yet");
        let own = Choice { role: name("web"), own: Some(id.clone()) };
        selections.choose(1000, Some(&own), Some(long)).expect("room");
        assert!(selections.is_own(1000, &id));
        assert_eq!((selections.own(1000), selections.own(1001)), (Some((id.clone(), 14_400)), None));
        drop(selections);
        let selections = open(file);
        assert_eq!(selections.choices.of(1000), Some(own));
        selections.choose(1000, Some(&choice("web")), None).expect("room");
        assert!(!selections.is_own(1000, &id));
        assert_eq!(selections.before(1000), Some(Some(("web".into(), Some(long)))));
    }

    #[test]
    fn a_user_has_sets_of_its_own_fetched_only_so_often() {
        let (selections, role) = (open(None), name("web"));
        let want = |uid, seconds, now| {
            let now = BootTime::from_uptime(Duration::from_secs(now));
            selections.want(uid, (&role, Duration::from_secs(seconds)), false, now)
        };
        for seconds in 900..905 {
            want(1000, seconds, 100).expect("the burst");
        }
        assert_eq!(want(1000, 905, 100), Err(NotNow::TooOften));
        want(1000, 904, 100).expect("those are to come already");
        want(1001, 900, 100).expect("another user");
        want(1000, 905, 110).expect("one more");
        assert_eq!(want(1000, 906, 110), Err(NotNow::TooOften));
    }

    #[test]
    fn subordinate_users_leave_room_for_accounts() {
        let selections = open(None);
        let many = (3_000_000_000..3_000_010_000)
            .take_while(|uid| selections.choose(*uid, Some(&choice("x")), None).is_ok())
            .count();
        assert_eq!(many, USERS.total - USERS.reserved);
        assert_eq!(selections.choose(3_100_000_000, None, None), Ok(()), "the default takes no room");
        assert!(selections.choose(1000, Some(&choice("x")), None).is_ok());
    }
}
