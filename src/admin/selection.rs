//! The roles that users have chosen (`alppaca use`), with the one before, also when the daemon is restarted.

use std::{io, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    AdminSocket,
    book::{Held, Kept, read},
};
use crate::{
    caller::{
        Owner, Subordinates,
        budget::{Bounds, Rank, Shares},
    },
    credentials::RoleName,
    policy::Choices,
};

/// How many users may have chosen. Some are kept for accounts that an administrator made: subordinate users are many.
const USERS: Bounds = Bounds { total: 3072, reserved: 1024, each: 64, scarce: 128 };

/// Who has chosen what.
#[derive(Debug)]
pub struct Selections {
    /// What the policy goes by.
    choices: Arc<Choices>,
    budget: Arc<Shares<Owner>>,
    users: Arc<Subordinates>,
    book: Kept<Selection>,
}

/// What a user has chosen; no role is the default one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Selection {
    uid: u32,
    role: Option<String>,
    /// What it was before.
    before: Option<String>,
}

impl Selections {
    /// Takes over what is written in a file beside the socket. No role that is chosen has to be there.
    pub fn beside(socket: Option<&AdminSocket>, choices: &Arc<Choices>, users: &Arc<Subordinates>) -> io::Result<Self> {
        let file = socket.map(|socket| socket.path().with_extension("choices"));
        Self::new(Arc::clone(choices), file, Arc::clone(users))
    }

    fn new(choices: Arc<Choices>, file: Option<PathBuf>, users: Arc<Subordinates>) -> io::Result<Self> {
        let budget = Shares::new(USERS);
        let written = file.as_deref().map(read::<Selection>).unwrap_or_default();
        let held = written.into_iter().map(|selection| {
            let role: Option<RoleName> = selection.role.as_deref().and_then(|role| role.parse().ok());
            choices.set(selection.uid, role.as_ref());
            Held { _share: budget.note(&users.party(Owner::User(selection.uid))), record: selection }
        });
        let book = Kept::new(held.collect(), file, "choices", "the roles that users have chosen are forgotten")?;
        Ok(Self { choices, budget, users, book })
    }

    /// What user `uid` has chosen.
    pub(super) fn chosen(&self, uid: u32) -> Option<RoleName> {
        self.choices.of(uid)
    }

    /// What user `uid` had chosen before, if it has ever chosen.
    #[allow(clippy::option_option, reason = "to have chosen nothing and to have had the default are not the same")]
    pub(super) fn before(&self, uid: u32) -> Option<Option<String>> {
        let found: Vec<_> = self.book.collect(|record| (record.uid == uid).then(|| record.before.clone()));
        found.into_iter().next()
    }

    /// Has user `uid` choose a role, or the default one. `Err`: too many have chosen.
    pub(super) fn choose(&self, uid: u32, role: Option<&RoleName>) -> Result<(), TooMany> {
        let new = role.map(ToString::to_string);
        self.book.change(|held| {
            match held.iter_mut().find(|held| held.record.uid == uid) {
                Some(Held { record, .. }) if record.role != new => {
                    record.before = std::mem::replace(&mut record.role, new);
                }
                Some(_) => {}
                None if new.is_none() => {}
                None => {
                    let rank = if self.users.is_below(uid) { Rank::Privileged } else { Rank::Ordinary };
                    let share = self.budget.take(&self.users.party(Owner::User(uid)), rank).ok_or(TooMany)?;
                    held.push(Held { record: Selection { uid, role: new, before: None }, _share: share });
                }
            }
            self.choices.set(uid, role);
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

/// Too many users have chosen a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many users have chosen a role")]
pub struct TooMany;

#[cfg(test)]
mod tests {
    use super::*;

    fn name(role: &str) -> RoleName {
        role.parse().expect("a role name")
    }

    fn open(file: Option<PathBuf>) -> Selections {
        Selections::new(Arc::default(), file, Arc::default()).expect("a thread")
    }

    #[test]
    fn a_choice_and_the_one_before_outlive_the_daemon() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = Some(directory.path().join("choices"));
        let selections = open(file.clone());
        assert_eq!((selections.chosen(1000), selections.before(1000)), (None, None));
        selections.choose(1000, Some(&name("web"))).expect("room");
        assert_eq!(selections.before(1000), Some(None), "the default");
        selections.choose(1000, Some(&name("db"))).expect("room");
        selections.choose(1000, Some(&name("db"))).expect("room");
        selections.choose(1001, Some(&name("x"))).expect("room");
        selections.choose(1001, None).expect("room");
        drop(selections);
        let selections = open(file);
        assert_eq!((selections.chosen(1000), selections.before(1000)), (Some(name("db")), Some(Some("web".into()))));
        assert_eq!((selections.chosen(1001), selections.before(1001)), (None, Some(Some("x".into()))));
    }

    #[test]
    fn subordinate_users_leave_room_for_accounts() {
        let selections = open(None);
        let many =
            (3_000_000_000..3_000_010_000).take_while(|uid| selections.choose(*uid, Some(&name("x"))).is_ok()).count();
        assert_eq!(many, USERS.total - USERS.reserved);
        assert_eq!(selections.choose(3_100_000_000, None), Ok(()), "the default takes no room");
        assert!(selections.choose(1000, Some(&name("x"))).is_ok());
    }
}
