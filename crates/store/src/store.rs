//! The newest set of credentials per role, read without locks. Bodies are rendered at publication.
//!
//! What is in a role is written by the refresher alone. Readers take a [`Snapshot`] of the roles and from it the
//! [`Slot`] of one role; each is a single atomic load, so no reader ever sees half of a change.

mod published;
mod state;

use std::{
    borrow::Borrow,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub use state::{Phase, RoleState, Slot};

use arc_swap::{ArcSwap, Guard};
use jiff::Timestamp;
pub use published::{Published, http_date};
use tokio::sync::{Notify, futures::OwnedNotified};

use crate::{
    clock::{BootTime, Moment},
    credentials::{RoleId, RoleName},
};

/// The roles and their credentials.
#[derive(Debug, Default)]
pub struct Store {
    snapshot: ArcSwap<Snapshot>,
    /// Held while the set of roles is replaced: roles are also added and removed on demand.
    membership: Mutex<()>,
    changed: Arc<Notify>,
    /// Notified when a request waits for what is not here.
    awaited: Notify,
}

/// Which roles there are at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    answered: bool,
    order: Arc<[Arc<Role>]>,
    by_name: Arc<[Arc<Role>]>,
    names: Arc<[u8]>,
    /// Those that were made on demand, sorted by their ids.
    unlisted: Arc<[Arc<Role>]>,
}

/// One role. It stays the same object for as long as the upstream lists it, or a caller holds it.
#[derive(Debug)]
pub struct Role {
    name: RoleName,
    /// The id of a role that was made on demand; that of a listed one is its name.
    unlisted: Option<RoleId>,
    slot: ArcSwap<Slot>,
    /// When a caller last asked for its credentials, by the boot clock, in milliseconds; 0: never.
    asked: AtomicU64,
    /// The state at the last look, and since when it lasts.
    noted: Mutex<Option<(RoleState, Timestamp)>>,
}

impl Role {
    fn warming(name: &RoleName, unlisted: Option<RoleId>) -> Arc<Self> {
        Arc::new(Self {
            name: name.clone(),
            unlisted,
            slot: ArcSwap::from_pointee(Slot::Warming),
            asked: AtomicU64::new(0),
            noted: Mutex::default(),
        })
    }

    /// The name under which clients know it.
    pub fn name(&self) -> &RoleName {
        &self.name
    }

    /// Its id.
    pub fn id(&self) -> RoleId {
        self.unlisted.clone().unwrap_or_else(|| RoleId::named(&self.name))
    }

    /// Whether it has its name for itself. The others are for those only to whom their id was given.
    pub fn listed(&self) -> bool {
        self.unlisted.is_none()
    }

    fn id_text(&self) -> &str {
        self.unlisted.as_ref().map_or(self.name.as_str(), RoleId::as_str)
    }

    /// Notes that it is in the state `now`, since `then` unless that was noted before.
    pub fn note(&self, now: RoleState, then: Timestamp) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.is_none_or(|(before, _)| before != now) {
            *noted = Some((now, then));
        }
    }

    /// Since when it is in the state `now`, if that was noted.
    pub fn since(&self, now: RoleState) -> Option<Timestamp> {
        let noted = *self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.filter(|(state, _)| *state == now).map(|(_, since)| since)
    }

    /// A caller wants its credentials.
    pub fn ask(&self, now: BootTime) {
        // The clock begins with the host, so this is never 0.
        self.asked.store(now.as_millis().max(1), Ordering::Relaxed);
    }

    /// When a caller last wanted its credentials, if one has.
    pub fn asked(&self) -> Option<BootTime> {
        Some(self.asked.load(Ordering::Relaxed)).filter(|asked| *asked > 0).map(BootTime::from_millis)
    }

    /// What there is for it.
    pub fn slot(&self) -> Guard<Arc<Slot>> {
        self.slot.load()
    }
}

impl Snapshot {
    fn new(answered: bool, order: Vec<Arc<Role>>, unlisted: Arc<[Arc<Role>]>) -> Self {
        let mut by_name = order.clone();
        by_name.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let names = order.iter().map(|role| role.name.as_str()).collect::<Vec<_>>().join("\n");
        Self { answered, order: order.into(), by_name: by_name.into(), names: names.into_bytes().into(), unlisted }
    }

    /// The same with others that were made on demand, which are sorted by their ids. A request may wait for that: what is
    /// listed is not copied.
    fn with_unlisted(&self, unlisted: Vec<Arc<Role>>) -> Self {
        let Self { answered, order, by_name, names, .. } = self;
        let [order, by_name] = [order, by_name].map(Arc::clone);
        Self { answered: *answered, order, by_name, names: Arc::clone(names), unlisted: unlisted.into() }
    }

    fn place_of(&self, unlisted: &str) -> Result<usize, usize> {
        self.unlisted.binary_search_by(|role| role.id_text().cmp(unlisted))
    }

    /// Whether the upstream has ever said which roles there are.
    pub fn answered(&self) -> bool {
        self.answered
    }

    /// The listed roles in the source's order.
    pub fn roles(&self) -> &[Arc<Role>] {
        &self.order
    }

    /// Those that were made on demand.
    pub fn unlisted(&self) -> &[Arc<Role>] {
        &self.unlisted
    }

    /// The role with that id, listed or not.
    pub fn by_id(&self, id: &RoleId) -> Option<&Arc<Role>> {
        self.find(id.as_str())
    }

    fn find(&self, id: &str) -> Option<&Arc<Role>> {
        self.role(id).or_else(|| {
            let found = self.place_of(id).ok()?;
            self.unlisted.get(found)
        })
    }

    /// The listed role of that name.
    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        let found = self.by_name.binary_search_by(|role| role.name.as_str().cmp(name)).ok()?;
        self.by_name.get(found)
    }

    /// The names of all listed roles, one a line, without a final newline.
    pub fn names(&self) -> &[u8] {
        &self.names
    }
}

impl Store {
    /// A store in which nothing is known yet.
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// The roles at this moment.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Becomes ready at the next change. It counts from the call on, not from the first poll, so
    /// "ask for this, look at the store, wait" misses nothing.
    pub fn changed(&self) -> OwnedNotified {
        Arc::clone(&self.changed).notified_owned()
    }

    /// As [`changed`](Self::changed), and says that a caller is waiting for what is not here.
    pub fn awaited_change(&self) -> OwnedNotified {
        let changed = self.changed();
        self.awaited.notify_one();
        changed
    }

    /// Becomes ready when a caller waits for what is not here, or has begun to since it was last ready.
    pub async fn awaited(&self) {
        self.awaited.notified().await;
    }

    /// Sets which roles are listed. Roles that stay keep their state; new ones are warming.
    pub fn publish_roles(&self, names: &[RoleName]) {
        self.replace(|old| {
            let role = |name: &RoleName| old.role(name.as_str()).cloned().unwrap_or_else(|| Role::warming(name, None));
            Snapshot::new(true, names.iter().map(role).collect(), Arc::clone(&old.unlisted))
        });
    }

    /// Forgets which roles are listed, and what they had: no upstream has said so yet.
    pub fn forget_roles(&self) {
        self.replace(|old| Snapshot::new(false, Vec::new(), Arc::clone(&old.unlisted)));
    }

    /// Adds a role that is not listed, if there is none with that id.
    pub fn add_unlisted(&self, id: &RoleId, name: &RoleName) {
        // It wakes no caller: what is only to come is of no use to any.
        self.replace_silently(|old| {
            let mut unlisted = old.unlisted.to_vec();
            if let (None, Err(place)) = (old.role(id.as_str()), old.place_of(id.as_str())) {
                unlisted.insert(place, Role::warming(name, Some(id.clone())));
            }
            old.with_unlisted(unlisted)
        });
    }

    /// Takes away a role that is not listed.
    pub fn remove_unlisted(&self, id: &RoleId) {
        self.replace(|old| {
            let mut others = old.unlisted.to_vec();
            if let Ok(place) = old.place_of(id.as_str()) {
                others.remove(place);
            }
            old.with_unlisted(others)
        });
    }

    fn replace(&self, change: impl FnOnce(&Snapshot) -> Snapshot) {
        self.replace_silently(change);
        self.changed.notify_waiters();
    }

    fn replace_silently(&self, change: impl FnOnce(&Snapshot) -> Snapshot) {
        // What it guards is replaced as a whole, so that a panic of another writer left it whole.
        let _membership = self.membership.lock().unwrap_or_else(PoisonError::into_inner);
        let new = change(&self.snapshot.load());
        self.snapshot.store(Arc::new(new));
    }

    /// Sets the state of a role, by its id or its name; nothing happens if there is no such role any more.
    pub fn publish(&self, id: &impl Borrow<str>, state: Slot) {
        if let Some(role) = self.snapshot.load().find(id.borrow()) {
            role.slot.store(Arc::new(state));
            self.changed.notify_waiters();
        }
    }

    /// Whether some role has a set that is valid at the moment `now`.
    pub fn has_valid_set(&self, now: Moment) -> bool {
        let valid = |role: &Arc<Role>| matches!(&**role.slot(), Slot::Held { set, .. } if set.is_valid(now));
        self.snapshot().roles().iter().any(valid)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::*;
    use crate::{
        clock::{BootTime, until},
        credentials::{Credentials, Secret},
    };

    fn credentials(key: &str) -> Credentials {
        Credentials {
            access_key_id: key.into(),
            secret_access_key: Secret::new("secret"),
            session_token: Secret::new("token"),
            expiration: "2026-11-23T11:00:00Z".parse().expect("a timestamp"),
            life: None,
            last_updated: None,
            account_id: None,
            role_arn: None,
        }
    }

    /// That time by the wall clock, and as much by the boot clock as if it had begun with this day.
    fn at(wall: &str) -> Moment {
        let wall: Timestamp = wall.parse().expect("a timestamp");
        let midnight = "2026-11-23T00:00:00Z".parse().expect("a timestamp");
        Moment { wall, boot: BootTime::from_uptime(until(wall, midnight)) }
    }

    #[test]
    fn a_set_that_is_handed_over_is_the_same_with_the_life_that_it_had() {
        let arn = "arn:aws:iam::123456789012:role/app".parse().expect("an ARN");
        let credentials = Credentials { role_arn: Some(arn), ..credentials("K") };
        let before = Published::new(&credentials, at("2026-11-23T10:00:00Z"));
        // The wall clock was set back meanwhile.
        let now = Moment { wall: "2026-11-23T08:00:00Z".parse().expect("a time"), ..at("2026-11-23T10:20:00Z") };
        let kept = before.credentials().expect("it is temporary");
        let after = Published::handed_over(&kept, before.ends(), now);
        assert_eq!(after.document(), before.document());
        assert_eq!((after.last_updated, after.account_id), (before.last_updated, before.account_id));
        assert_eq!((after.role_arn.clone(), after.left(now)), (before.role_arn.clone(), SignedDuration::from_mins(40)));
        assert!(after.is(&kept));
        let long_term = Credentials { session_token: Secret::new(""), ..credentials };
        let long_term = Published::new(&long_term, now);
        assert_eq!((after.is_temporary(), long_term.is_temporary()), (true, false));
        assert_eq!(long_term.credentials(), None);
    }

    fn name(text: &str) -> RoleName {
        text.parse().expect("a role name")
    }

    fn held(key: &str, phase: Phase) -> Slot {
        Slot::Held { set: Arc::new(Published::new(&credentials(key), at("2026-11-23T10:00:00Z"))), phase }
    }

    #[test]
    fn roles_keep_the_sources_order_and_their_state() {
        let store = Store::shared();
        assert!(!store.snapshot().answered());
        store.publish_roles(&[name("b"), name("a")]);
        store.publish(&name("a"), held("K1", Phase::Fresh));
        store.publish_roles(&[name("c"), name("a"), name("b")]);
        let snapshot = store.snapshot();
        assert_eq!(snapshot.names(), b"c\na\nb");
        assert!(matches!(&**snapshot.role("a").expect("there").slot(), Slot::Held { .. }));
        assert!(matches!(&**snapshot.role("c").expect("there").slot(), Slot::Warming));
        store.publish_roles(&[]);
        assert!(store.snapshot().answered());
        assert!(store.snapshot().role("a").is_none());
    }

    #[test]
    fn a_state_has_one_name_at_a_time() {
        let (before, at) = (at("2026-11-23T10:59:59Z"), at("2026-11-23T11:00:00Z"));
        for (phase, state) in [
            (Phase::Fresh, RoleState::Fresh),
            (Phase::Refreshing, RoleState::Refreshing),
            (Phase::Stale, RoleState::Stale),
        ] {
            assert_eq!(held("K", phase).state(before), state);
            assert_eq!(held("K", phase).state(at), RoleState::Expired);
        }
        assert_eq!(Slot::Warming.state(at), RoleState::Warming);
    }

    #[test]
    fn a_set_knows_itself_again_but_not_another() {
        let set = Published::new(&credentials("K1"), at("2026-11-23T10:00:00Z"));
        assert!(set.is(&credentials("K1")));
        assert!(!set.is(&credentials("K2")));
        assert!(!set.is(&Credentials { session_token: Secret::new("other"), ..credentials("K1") }));
        assert_eq!(&*set.last_modified, "Mon, 23 Nov 2026 10:00:00 GMT");
    }

    #[test]
    fn a_set_is_valid_only_if_both_clocks_say_so() {
        let came = at("2026-11-23T10:00:00Z");
        let set = Published::new(&credentials("K1"), came);
        let hour = Duration::from_hours(1);
        let late = Moment { wall: came.wall, boot: came.boot + hour };
        assert!(set.is_valid(came) && !set.is_valid(late), "the wall clock was set back");
        assert!(!set.is_valid(Moment { wall: came.wall + hour, boot: came.boot }), "it was set ahead");
        assert_eq!(set.left(Moment { wall: came.wall, boot: came.boot + hour / 2 }), SignedDuration::from_mins(30));
        set.came_again(&credentials("K1"), late);
        assert!(set.is_valid(late), "the upstream says that it is still good");
    }

    #[test]
    fn a_set_lives_no_longer_than_its_upstream_says_when_the_wall_clock_is_behind() {
        let came = at("2026-11-23T03:00:00Z");
        let minute = Duration::from_mins(1);
        let given = |life: Duration| Credentials { life: Some(life), ..credentials("K1") };
        let set = Published::new(&given(30 * minute), came);
        assert_eq!(set.remaining(came), 30 * minute);
        let later = Moment { wall: came.wall + 30 * minute, boot: came.boot + 30 * minute };
        assert!(!set.is_valid(later));
        set.came_again(&given(5 * minute), later);
        assert_eq!(set.remaining(later), 5 * minute);
        // The wall clock is ahead, or right; then the upstream's may be wrong by as much as AWS bears.
        let right = at("2026-11-23T10:00:00Z");
        for life in [300, 61, 59, 45] {
            assert_eq!(Published::new(&given(minute * life), right).remaining(right), 60 * minute, "{life} minutes");
        }
        assert_eq!(Published::new(&given(44 * minute), right).remaining(right), 44 * minute);
        // Ended, says the upstream which gives it: it is asked again soon.
        set.came_again(&given(Duration::ZERO), later);
        assert_eq!(set.remaining(later), minute);
    }

    #[test]
    fn what_is_made_on_demand_is_found_by_its_id_only() {
        let store = Store::shared();
        let id = |external: &str| RoleId::from_inputs("assumed", &[("arn", "x"), ("external", external)]);
        for external in ["b", "a"] {
            store.add_unlisted(&id(external), &name("same"));
        }
        assert!(!store.snapshot().answered());
        store.publish_roles(&[name("listed")]);
        store.publish(&id("a"), held("K1", Phase::Fresh));
        let snapshot = store.snapshot();
        assert_eq!(snapshot.names(), b"listed");
        assert!(snapshot.role("same").is_none());
        let found = snapshot.by_id(&id("a")).expect("there");
        assert!(!found.listed() && found.id() == id("a") && found.name() == &name("same"));
        assert!(matches!(&**found.slot(), Slot::Held { .. }));
        assert!(matches!(&**snapshot.by_id(&id("b")).expect("there").slot(), Slot::Warming));
        assert!(snapshot.by_id(&RoleId::named(&name("listed"))).expect("there").listed());
        store.remove_unlisted(&id("a"));
        let snapshot = store.snapshot();
        assert!(snapshot.by_id(&id("a")).is_none() && snapshot.by_id(&id("b")).is_some());
    }

    #[tokio::test]
    async fn a_waiter_sees_a_change_that_comes_before_it_waits() {
        let store = Store::shared();
        let changed = store.changed();
        store.publish_roles(&[name("a")]);
        changed.await;
    }

    #[tokio::test]
    async fn a_caller_that_waits_is_noticed_later() {
        let store = Store::shared();
        let (first, second) = (store.awaited_change(), store.awaited_change());
        store.awaited().await;
        store.publish_roles(&[name("a")]);
        first.await;
        second.await;
    }
}
