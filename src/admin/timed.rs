//! Sets that live as long as a user has chosen (`alppaca use --duration`): its own, since those of a role are for all who may
//! have it. At most two for a user: the one in force, and one that is to come in its place.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    caller::{Owner, budget::Share},
    clock::BootTime,
    credentials::{RoleId, RoleName},
};

/// One that is to come and that was not asked for in this time is given up.
const PATIENCE: Duration = Duration::from_secs(90);

/// Has such sets fetched.
pub trait TimedFetcher: Send + Sync {
    /// The id of such sets of a role for user `uid`, whether or not there are any.
    fn id(&self, uid: u32, role: &RoleName, duration: Duration) -> RoleId;

    /// Ensures that there are such sets of a role for user `uid`, until they are released as often as this was called.
    fn ensure(&self, uid: u32, role: &RoleName, duration: Duration) -> RoleId;

    /// They are not needed any more.
    fn release(&self, id: &RoleId);
}

/// Those of all users.
pub(super) struct TimedSets {
    fetcher: Arc<dyn TimedFetcher>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    by_user: HashMap<u32, Timed>,
    /// Whose each is, and how long it shall live.
    lengths: HashMap<RoleId, (u32, Duration)>,
}

#[derive(Default)]
struct Timed {
    in_force: Option<RoleId>,
    to_come: Option<ToCome>,
}

struct ToCome {
    id: RoleId,
    asked: BootTime,
    _share: Share<Owner>,
}

/// Why a user cannot choose that now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// There is no more room.
    #[error("too many users have chosen a role")]
    TooMany,
    /// It has had others fetched too often.
    #[error("you have had sets of your own fetched too often; one more may be in 10 seconds")]
    TooOften,
    /// It has chosen something else since.
    #[error("another choice was made meanwhile")]
    Displaced,
}

impl TimedSets {
    pub(super) fn new(fetcher: Arc<dyn TimedFetcher>) -> Self {
        Self { fetcher, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has them fetched no longer.
    fn release(&self, lengths: &mut HashMap<RoleId, (u32, Duration)>, id: &RoleId) {
        lengths.remove(id);
        self.fetcher.release(id);
    }

    /// The user whose sets have that id, and how long each shall live.
    pub(super) fn length(&self, id: &RoleId) -> Option<(u32, Duration)> {
        self.held().lengths.get(id).copied()
    }

    /// Whether the sets with that id are in force for user `uid`.
    pub(super) fn is_own(&self, uid: u32, id: &RoleId) -> bool {
        self.held().by_user.get(&uid).is_some_and(|timed| timed.in_force.as_ref() == Some(id))
    }

    /// Has sets fetched for user `uid`, if `share` gives room for them; answers their id. A request that is looked at `again`
    /// begins nothing: two that wait would take each other's place for ever.
    pub(super) fn want(
        &self,
        uid: u32,
        (role, duration): (&RoleName, Duration),
        again: bool,
        now: BootTime,
        share: impl FnOnce() -> Result<Share<Owner>, NotNow>,
    ) -> Result<RoleId, NotNow> {
        let mut held = self.held();
        let Held { by_user, lengths } = &mut *held;
        let timed = by_user.entry(uid).or_default();
        let id = self.fetcher.id(uid, role, duration);
        if let Some(to_come) = timed.to_come.as_mut().filter(|to_come| to_come.id == id) {
            to_come.asked = now;
            return Ok(id);
        }
        if timed.in_force.as_ref() == Some(&id) {
            return Ok(id);
        }
        if again {
            return Err(NotNow::Displaced);
        }
        let taken = share()?;
        self.fetcher.ensure(uid, role, duration);
        lengths.insert(id.clone(), (uid, duration));
        if let Some(before) = timed.to_come.replace(ToCome { id: id.clone(), asked: now, _share: taken }) {
            self.release(lengths, &before.id);
        }
        Ok(id)
    }

    /// From now on the sets with that id are in force for user `uid`; without one none of its own.
    pub(super) fn put_in_force(&self, uid: u32, id: Option<&RoleId>) {
        let mut held = self.held();
        let Held { by_user, lengths } = &mut *held;
        let timed = by_user.remove(&uid).unwrap_or_default();
        let all = [timed.in_force, timed.to_come.map(|to_come| to_come.id)];
        for other in all.iter().flatten().filter(|known| Some(*known) != id) {
            self.release(lengths, other);
        }
        if let Some(id) = id {
            by_user.insert(uid, Timed { in_force: Some(id.clone()), to_come: None });
        }
    }

    /// As before a restart.
    pub(super) fn restore(&self, uid: u32, role: &RoleName, duration: Duration) -> RoleId {
        let id = self.fetcher.ensure(uid, role, duration);
        self.held().lengths.insert(id.clone(), (uid, duration));
        self.put_in_force(uid, Some(&id));
        id
    }

    /// If the sets with that id are to come for user `uid`, they will not.
    pub(super) fn give_up(&self, uid: u32, id: &RoleId) {
        self.give_up_if(|whose, to_come| whose == uid && to_come.id == *id);
    }

    /// Gives up what is not waited for any more.
    pub(super) fn sweep(&self, now: BootTime) {
        self.give_up_if(|_whose, to_come| now.since(to_come.asked) >= PATIENCE);
    }

    fn give_up_if(&self, is: impl Fn(u32, &ToCome) -> bool) {
        let mut held = self.held();
        let Held { by_user, lengths } = &mut *held;
        by_user.retain(|uid, timed| {
            if let Some(to_come) = timed.to_come.take_if(|to_come| is(*uid, to_come)) {
                self.release(lengths, &to_come.id);
            }
            timed.in_force.is_some() || timed.to_come.is_some()
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::caller::budget::{Bounds, Rank, Shares};

    /// Counts how often each is held.
    #[derive(Default)]
    pub(in crate::admin) struct Counting(Mutex<HashMap<RoleId, usize>>);

    impl Counting {
        fn held(&self) -> Vec<String> {
            let mut held: Vec<_> = self.0.lock().expect("ours").keys().map(ToString::to_string).collect();
            held.sort();
            held
        }
    }

    impl TimedFetcher for Counting {
        fn id(&self, uid: u32, role: &RoleName, duration: Duration) -> RoleId {
            RoleId::named(&format!("{uid}-{role}-{}", duration.as_secs()).parse().expect("a name"))
        }

        fn ensure(&self, uid: u32, role: &RoleName, duration: Duration) -> RoleId {
            let id = self.id(uid, role, duration);
            *self.0.lock().expect("ours").entry(id.clone()).or_default() += 1;
            id
        }

        fn release(&self, id: &RoleId) {
            let mut held = self.0.lock().expect("ours");
            let count = held.get_mut(id).expect("it is held");
            *count -= 1;
            if *count == 0 {
                held.remove(id);
            }
        }
    }

    #[test]
    fn a_user_has_one_in_force_and_one_to_come() {
        let fetcher = Arc::new(Counting::default());
        let sets = TimedSets::new(Arc::<Counting>::clone(&fetcher) as Arc<dyn TimedFetcher>);
        let budget = Shares::new(Bounds { total: 2, reserved: 0, each: 2, scarce: 0 });
        let role: RoleName = "web".parse().expect("a name");
        let at = |seconds| BootTime::from_uptime(Duration::from_secs(seconds));
        let look = |uid, minutes, again, now| {
            let share = || budget.take(&Owner::User(uid), Rank::Ordinary).ok_or(NotNow::TooMany);
            sets.want(uid, (&role, Duration::from_mins(minutes)), again, at(now), share)
        };
        let want = |uid, minutes, now| look(uid, minutes, false, now);
        let first = want(1, 15, 0).expect("room");
        assert_eq!(want(1, 15, 1).as_ref(), Ok(&first));
        sets.put_in_force(1, Some(&first));
        assert!(sets.is_own(1, &first) && !sets.is_own(2, &first));
        let second = want(1, 30, 2).expect("room");
        assert_eq!(look(1, 30, true, 2).as_ref(), Ok(&second));
        let third = want(1, 60, 3).expect("room");
        assert_eq!(fetcher.held(), ["1-web-3600", "1-web-900"]);
        assert_eq!([&first, &second].map(|id| sets.length(id)), [Some((1, Duration::from_mins(15))), None]);
        // The one before does not take its place back.
        assert_eq!(look(1, 30, true, 3), Err(NotNow::Displaced));
        assert_eq!(look(1, 60, true, 3).as_ref(), Ok(&third));
        sets.give_up(1, &second);
        assert_eq!(fetcher.held(), ["1-web-3600", "1-web-900"]);
        let other = want(2, 60, 50).expect("room");
        assert_eq!(want(3, 60, 50), Err(NotNow::TooMany));
        sets.sweep(at(100));
        assert_eq!(fetcher.held(), ["1-web-900", "2-web-3600"], "no user waits for it any more");
        assert_eq!(want(1, 60, 101).as_ref(), Ok(&third));
        sets.put_in_force(1, Some(&third));
        sets.give_up(2, &other);
        assert_eq!(fetcher.held(), ["1-web-3600"]);
        sets.put_in_force(1, None);
        assert!(fetcher.held().is_empty() && sets.length(&third).is_none());
    }
}
