//! The sessions that pods have for themselves: begun when a pod asks, kept while it may need them, and bounded, so that no
//! namespace takes the place, or the calls, of all others. Nothing is fetched here.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::session_tags::PodSession;
use crate::{
    caller::budget::{Allowance, Rate},
    clock::{self, BootTime, SharedClock},
    credentials::{RoleId, RoleName},
};

/// One for which nothing was ever given is kept for so long after its pod last asked.
const PATIENCE: Duration = Duration::from_mins(2);
/// One that was asked for in this time keeps its place, unless its namespace has more than its share.
const RECENT: Duration = Duration::from_secs(5);
/// How many sessions of one role and namespace may wait for their first set: so much of the calls of an upstream it may take.
/// Later sets do not count: they are fetched ahead, one after the other, and not because a pod asks.
const STARTING: usize = 16;
/// A namespace may begin as many sessions as are kept, and then one more after each of these: each is a call of an upstream, and
/// at the limit each new one displaces another, whose pod soon asks again.
const EVERY: Duration = Duration::from_secs(1);
/// How often it is looked whether a pod has stopped asking.
const LOOK: Duration = Duration::from_secs(15);

/// Has sessions fetched.
pub trait SessionFetcher: Send + Sync {
    /// Ensures that there is such a session, until it is released as often as this was called.
    fn ensure(&self, session: &PodSession) -> RoleId;

    /// It is not needed any more.
    fn release(&self, id: &RoleId);
}

/// Whose a session is. In this order those of pods that have one name are neighbours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Whose {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) role: RoleName,
}

/// The sessions of all pods. They outlive the face.
pub struct Sessions {
    fetcher: Box<dyn SessionFetcher>,
    state: Mutex<State>,
    /// Notified when there is a first one.
    begun: Notify,
    evicted: AtomicU64,
    held_back: AtomicU64,
}

#[derive(Default)]
struct State {
    held: BTreeMap<Whose, Held>,
    /// Those of a namespace and role that may still wait for their first set: no more than [`STARTING`].
    starting: HashMap<(String, RoleName), Vec<Whose>>,
    /// What each namespace may begin, and the limit for which that is.
    pace: Option<(usize, Allowance<String>)>,
}

struct Held {
    session: PodSession,
    id: RoleId,
    /// When its pod last asked for it.
    asked: BootTime,
    /// Until then its pod has what it was given last.
    until: BootTime,
}

/// How the sessions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionCounts {
    /// How many there are.
    pub held: usize,
    /// How many had to make room for others.
    pub evicted: u64,
    /// How often a pod had to wait for others of its namespace before its session began.
    pub held_back: u64,
}

impl Sessions {
    /// There is none yet.
    pub fn new(fetcher: impl SessionFetcher + 'static) -> Arc<Self> {
        Arc::new(Self {
            fetcher: Box::new(fetcher),
            state: Mutex::default(),
            begun: Notify::new(),
            evicted: AtomicU64::new(0),
            held_back: AtomicU64::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of a session, which begins if there is none and `limit` allows it; `None` if it has to wait for others.
    /// `starts` says whether the session with an id still waits for its first set.
    pub(super) fn want(
        &self,
        whose: &Whose,
        session: PodSession,
        limit: usize,
        now: BootTime,
        starts: impl Fn(&RoleId) -> bool,
    ) -> Option<RoleId> {
        let mut state = self.state();
        if let Some(known) = state.held.get_mut(whose).filter(|known| known.session == session) {
            known.asked = now;
            return Some(known.id.clone());
        }
        // The pod had one already, with another configuration: its namespace has no more than before.
        let replaces = state.held.contains_key(whose);
        self.displace(&mut state.held, whose, now);
        let may_begin = state.may_start(whose, starts) && (replaces || state.pace(limit).has(&whose.namespace, now));
        if !may_begin || !self.make_room(&mut state.held, whose, limit, now) {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        if !replaces {
            let _none_withheld = state.pace(limit).spend(whose.namespace.clone(), now);
        }
        let id = self.fetcher.ensure(&session);
        state.held.insert(whose.clone(), Held { session, id: id.clone(), asked: now, until: now });
        state.starting.entry(whose.of_role()).or_default().push(whose.clone());
        self.begun.notify_one();
        Some(id)
    }

    /// Drops that of another configuration, and those of pods that had this one's name: there are not two of that name at a time.
    fn displace(&self, held: &mut BTreeMap<Whose, Held>, whose: &Whose, now: BootTime) {
        let first = Whose { uid: String::new(), ..whose.clone() };
        let has_its_name = |other: &Whose| other.namespace == whose.namespace && other.pod == whose.pod;
        let of_its_name = held.range(first..).take_while(|(other, _)| has_its_name(other));
        let goes = |(other, known): &(&Whose, &Held)| {
            *other == whose || (other.uid != whose.uid && now.since(known.asked) >= RECENT)
        };
        let gone: Vec<Whose> = of_its_name.filter(goes).map(|(other, _)| other.clone()).collect();
        for gone in gone.iter().filter_map(|gone| held.remove(gone)) {
            self.fetcher.release(&gone.id);
        }
    }

    /// Whether there is room for one more of `whose` namespace, if need be after one has gone.
    fn make_room(&self, held: &mut BTreeMap<Whose, Held>, whose: &Whose, limit: usize, now: BootTime) -> bool {
        while held.len() >= limit {
            let mut counts: HashMap<&str, usize> = HashMap::from([(&*whose.namespace, 1)]);
            for other in held.keys() {
                *counts.entry(&other.namespace).or_default() += 1;
            }
            let count = |namespace: &str| counts.get(namespace).copied().unwrap_or_default();
            let own = count(&whose.namespace);
            let may_go = |(other, known): &(&Whose, &Held)| {
                let others = count(&other.namespace);
                // A namespace that has more than this one gives way in any case, so that none can fill all places.
                others > own || (others == own && now.since(known.asked) >= RECENT)
            };
            let candidates = held.iter().filter(may_go);
            let last = candidates.max_by_key(|(other, known)| (count(&other.namespace), now.since(known.asked)));
            let Some(last) = last.map(|(whose, _)| whose.clone()) else { return false };
            if let Some(gone) = held.remove(&last) {
                self.fetcher.release(&gone.id);
            }
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// A pod was given a set that ends at the time `until`.
    pub(super) fn given(&self, whose: &Whose, until: BootTime) {
        if let Some(known) = self.state().held.get_mut(whose) {
            known.until = known.until.max(until);
        }
    }

    /// Drops those whose pods have gone, or have no use for them: what they were given has ended, and they have not come for
    /// more.
    fn sweep(&self, now: BootTime) {
        let is_over = |known: &Held| now >= known.until && now.since(known.asked) >= PATIENCE;
        let mut state = self.state();
        let gone: Vec<Held> = state.held.extract_if(.., |_, known| is_over(known)).map(|(_, known)| known).collect();
        let State { held, starting, .. } = &mut *state;
        starting.retain(|_, begun| {
            begun.retain(|whose| held.contains_key(whose));
            !begun.is_empty()
        });
        drop(state);
        // Without the lock, which requests need. One that begins meanwhile counts for itself.
        for known in gone {
            self.fetcher.release(&known.id);
        }
    }

    /// Drops those that are not asked for any more. Never ends.
    pub async fn tend(self: Arc<Self>, clock: SharedClock) {
        loop {
            if self.counts().held == 0 {
                self.begun.notified().await;
            }
            clock::sleep(LOOK).await;
            self.sweep(clock.boot());
        }
    }

    /// The names of those that there are.
    pub fn names(&self) -> HashMap<RoleId, String> {
        self.state().held.values().map(|known| (known.id.clone(), known.session.name.clone())).collect()
    }

    /// How they are.
    pub fn counts(&self) -> SessionCounts {
        SessionCounts {
            held: self.state().held.len(),
            evicted: self.evicted.load(Ordering::Relaxed),
            held_back: self.held_back.load(Ordering::Relaxed),
        }
    }
}

impl Whose {
    fn of_role(&self) -> (String, RoleName) {
        (self.namespace.clone(), self.role.clone())
    }
}

impl State {
    /// Whether one more may wait for its first set. `starts` is asked of those of this namespace and role alone.
    fn may_start(&mut self, whose: &Whose, starts: impl Fn(&RoleId) -> bool) -> bool {
        let Self { held, starting, .. } = self;
        let Some(begun) = starting.get_mut(&whose.of_role()) else { return true };
        begun.retain(|other| other != whose && held.get(other).is_some_and(|known| starts(&known.id)));
        begun.len() < STARTING
    }

    /// What each namespace may begin with that limit.
    fn pace(&mut self, limit: usize) -> &mut Allowance<String> {
        let known = self.pace.take().filter(|(known, _)| *known == limit);
        let burst = limit.try_into().unwrap_or(u32::MAX);
        &mut self.pace.insert(known.unwrap_or_else(|| (limit, Allowance::new(Rate { burst, every: EVERY })))).1
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts().fmt(f)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{clock::fake::FakeClock, faces::tests::name};

    /// Notes how often each session is held.
    #[derive(Clone, Default)]
    pub(in crate::faces::pod_identity) struct Noting(Arc<Mutex<HashMap<RoleId, usize>>>);

    impl Noting {
        fn ids(&self) -> Vec<String> {
            let mut ids: Vec<_> = self.0.lock().expect("ours").keys().map(ToString::to_string).collect();
            ids.sort();
            ids
        }
    }

    impl SessionFetcher for Noting {
        fn ensure(&self, session: &PodSession) -> RoleId {
            let id = RoleId::named(&name(&session.name));
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

    fn at(second: u64) -> BootTime {
        BootTime::from_millis(second * 1000)
    }

    fn whose(namespace: &str, pod: &str, uid: &str) -> Whose {
        Whose { namespace: namespace.into(), pod: pod.into(), uid: uid.into(), role: name("r") }
    }

    /// With the limit 6, sessions that have their first set at once.
    fn want(sessions: &Sessions, (namespace, pod, uid): (&str, &str, &str), now: u64) -> bool {
        let session = session(&format!("{namespace}+{pod}+{uid}"));
        sessions.want(&whose(namespace, pod, uid), session, 6, at(now), |_| false).is_some()
    }

    fn session(text: &str) -> PodSession {
        PodSession { role: name("r"), name: text.to_owned(), tags: Vec::new(), transitive: true }
    }

    #[test]
    fn a_session_is_kept_while_its_pod_has_it_or_asks_for_it() {
        let noting = Noting::default();
        let sessions = Sessions::new(noting.clone());
        assert!(want(&sessions, ("a", "p", "1"), 0) && want(&sessions, ("a", "q", "2"), 0));
        sessions.given(&whose("a", "p", "1"), at(3600));
        sessions.sweep(at(119));
        assert_eq!(noting.ids(), ["a+p+1", "a+q+2"]);
        sessions.sweep(at(120));
        assert_eq!(noting.ids(), ["a+p+1"], "that of q was never given");
        assert!(want(&sessions, ("a", "p", "1"), 3000));
        sessions.given(&whose("a", "p", "1"), at(6000));
        sessions.sweep(at(5999));
        assert_eq!(noting.ids(), ["a+p+1"]);
        sessions.sweep(at(6000));
        assert_eq!((noting.ids().len(), sessions.counts().held), (0, 0));
    }

    #[test]
    fn another_pod_of_the_same_name_takes_the_place_of_one_that_is_gone() {
        let noting = Noting::default();
        let sessions = Sessions::new(noting.clone());
        assert!(want(&sessions, ("a", "db-0", "1"), 0) && want(&sessions, ("b", "db-0", "9"), 0));
        assert!(want(&sessions, ("a", "db-0", "2"), 1));
        assert_eq!(noting.ids(), ["a+db-0+1", "a+db-0+2", "b+db-0+9"], "the first may still be ending");
        assert!(want(&sessions, ("a", "db-0", "3"), 7));
        assert_eq!(noting.ids(), ["a+db-0+3", "b+db-0+9"]);
        // With another configuration the session is another one.
        let other = session("a+db-0+3-other");
        assert!(sessions.want(&whose("a", "db-0", "3"), other, 6, at(8), |_| false).is_some());
        assert_eq!(noting.ids(), ["a+db-0+3-other", "b+db-0+9"]);
    }

    #[test]
    fn no_namespace_takes_the_places_of_all() {
        let noting = Noting::default();
        let sessions = Sessions::new(noting.clone());
        assert!(want(&sessions, ("quiet", "p", "1"), 0));
        let mut begun = 0;
        for round in 0..200_u64 {
            // The flood asks for new pods again and again, and what it has is recent.
            begun += u64::from(want(&sessions, ("flood", &format!("p{round}"), "x"), 100 + round / 20));
        }
        assert_eq!(sessions.counts().held, 6);
        assert!(noting.ids().contains(&"quiet+p+1".to_owned()), "{:?}", noting.ids());
        assert!(begun <= 5 + 5 * 2, "{begun} calls in ten seconds");
        // Others get their share at once, at the cost of the flood alone.
        for pod in ["a", "b"] {
            assert!(want(&sessions, ("other", pod, "y"), 109), "{pod}");
        }
        let ids = noting.ids();
        let of = |namespace: &str| ids.iter().filter(|id| id.starts_with(namespace)).count();
        assert_eq!((of("flood"), of("other"), of("quiet")), (3, 2, 1), "{ids:?}");
        assert!(!want(&sessions, ("flood", "more", "x"), 109));
        assert!(sessions.counts().evicted > 0 && sessions.counts().held_back > 0);
    }

    #[test]
    fn the_one_that_was_not_asked_for_for_longest_makes_room() {
        let noting = Noting::default();
        let sessions = Sessions::new(noting.clone());
        for (second, pod) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
            assert!(want(&sessions, ("n", pod, "1"), second as u64));
        }
        assert!(want(&sessions, ("n", "a", "1"), 10));
        assert!(want(&sessions, ("n", "g", "1"), 20));
        assert_eq!(noting.ids(), ["n+a+1", "n+c+1", "n+d+1", "n+e+1", "n+f+1", "n+g+1"]);
    }

    #[test]
    fn a_namespace_has_a_bounded_number_of_first_calls_under_way() {
        let sessions = Sessions::new(Noting::default());
        let begin = |namespace: &str, pod: usize, starts: bool| {
            let session = session(&format!("{namespace}+{pod}"));
            sessions.want(&whose(namespace, &pod.to_string(), "u"), session, 500, at(1), |_| starts).is_some()
        };
        assert_eq!((0..100).filter(|pod| begin("a", *pod, true)).count(), STARTING);
        assert!(begin("b", 0, true), "another namespace does not wait for that");
        let of_another_role = Whose { role: name("other"), ..whose("a", "0", "u") };
        let begun = sessions.want(&of_another_role, session("a+0+other"), 500, at(1), |_| true);
        assert!(begun.is_some(), "nor does another role, whose upstream may be well");
        assert!(begin("a", 0, true), "what has begun goes on");
        assert!(begin("a", 100, false), "the first ones have come");
    }

    #[test]
    fn a_namespace_at_the_limit_begins_as_many_as_are_kept_and_then_one_in_a_second() {
        let sessions = Sessions::new(Noting::default());
        let begin = |namespace: &str, pod: u64, now: BootTime| {
            let session = session(&format!("{namespace}+{pod}"));
            sessions.want(&whose(namespace, &pod.to_string(), "u"), session, 100, now, |_| false).is_some()
        };
        // A new pod every 10 ms for a minute: what was not asked for in the last 5 seconds may be displaced at any time.
        let begun = (0..6000).filter(|pod| begin("a", *pod, BootTime::from_millis(pod * 10))).count();
        assert!((150..=160).contains(&begun), "{begun} calls");
        assert!(begin("b", 0, at(60)), "another namespace has its own");
    }

    #[test]
    fn what_finds_no_room_costs_a_namespace_nothing() {
        let sessions = Sessions::new(Noting::default());
        let begin = |pod: &str, now: u64| {
            let session = session(&format!("a+{pod}"));
            sessions.want(&whose("a", pod, "u"), session, 3, at(now), |_| false).is_some()
        };
        assert!(["a", "b", "c"].iter().all(|pod| begin(pod, 0)));
        // A request that waits asks again and again.
        assert!((0..100).all(|_| !begin("d", 4)));
        assert!(["d", "e", "f"].iter().all(|pod| begin(pod, 6)));
    }

    #[test]
    fn what_begins_looks_at_its_own_neighbours_only() {
        let sessions = Sessions::new(Noting::default());
        let looks = std::cell::Cell::new(0);
        let begin = |pod: usize| {
            let session = session(&format!("a+{pod}"));
            let starts = |_: &RoleId| {
                looks.set(looks.get() + 1);
                false
            };
            sessions.want(&whose("a", &pod.to_string(), "u"), session, 5000, at(1), starts).is_some()
        };
        assert!((0..3000).all(begin));
        assert!(looks.get() <= 3000 * STARTING, "{} looks", looks.get());
        assert_eq!(sessions.names().len(), 3000);
        sessions.sweep(at(200));
        assert!(sessions.state().starting.is_empty() && sessions.counts().held == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_asked_for_any_more_goes_by_itself() {
        let noting = Noting::default();
        let sessions = Sessions::new(noting.clone());
        let clock: SharedClock = FakeClock::new();
        let tending = tokio::spawn(Arc::clone(&sessions).tend(Arc::clone(&clock)));
        let (whose, session) = (whose("a", "p", "1"), session("a+p+1"));
        assert!(sessions.want(&whose, session, 6, clock.boot(), |_| false).is_some());
        clock::sleep(PATIENCE + LOOK * 2).await;
        assert!(noting.ids().is_empty() && !tending.is_finished());
        tending.abort();
    }
}
