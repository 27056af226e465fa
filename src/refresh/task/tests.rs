//! The refresher under a clock that only moves when everything waits.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    clock::{Clock, fake::FakeClock},
    credentials::Secret,
    source::{Source, SourceFuture},
    store::Condition,
};

/// An upstream that does what the test says and remembers when it was asked.
struct Upstream {
    clock: Arc<FakeClock>,
    state: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    roles: Vec<&'static str>,
    problems: Vec<String>,
    list_error: Option<SourceError>,
    life: Duration,
    errors: HashMap<&'static str, SourceError>,
    /// One-time expirations, used before `life`.
    expirations: VecDeque<Timestamp>,
    serial: u32,
    asked: Vec<(Duration, String)>,
    in_flight: HashMap<String, u32>,
    most_in_flight: u32,
    latency: Duration,
}

impl Upstream {
    fn latency(&self) -> Duration {
        self.state.lock().expect("not poisoned").latency
    }

    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.state.lock().expect("not poisoned"));
    }

    fn asked_for(&self, name: &str) -> Vec<Duration> {
        let state = self.state.lock().expect("not poisoned");
        state.asked.iter().filter(|(_, asked)| asked == name).map(|(at, _)| *at).collect()
    }
}

impl Source for Upstream {
    fn roles(&self) -> SourceFuture<'_, RoleList> {
        Box::pin(async {
            let mut state = self.state.lock().expect("not poisoned");
            state.asked.push((self.clock.now().boot, "list".into()));
            match &state.list_error {
                Some(error) => Err(error.clone()),
                None => Ok(RoleList {
                    names: state.roles.iter().map(|role| role.parse().expect("a name")).collect(),
                    problems: state.problems.clone(),
                }),
            }
        })
    }

    fn concurrency(&self) -> usize {
        3
    }

    fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
        Box::pin(async move {
            {
                let mut state = self.state.lock().expect("not poisoned");
                state.asked.push((self.clock.now().boot, role.to_string()));
                let in_flight = state.in_flight.entry(role.to_string()).or_default();
                *in_flight += 1;
                assert_eq!(*in_flight, 1, "one call in flight per role");
                let all = state.in_flight.values().sum();
                state.most_in_flight = state.most_in_flight.max(all);
            }
            clock::sleep(self.latency()).await;
            let mut state = self.state.lock().expect("not poisoned");
            *state.in_flight.get_mut(role.as_str()).expect("counted") -= 1;
            if let Some(error) = state.errors.get(role.as_str()) {
                return Err(error.clone());
            }
            state.serial += 1;
            let life = self.clock.now().wall + state.life;
            Ok(Credentials {
                access_key_id: format!("ASIA{}", state.serial),
                secret_access_key: Secret::new("secret"),
                session_token: Secret::new("token"),
                expiration: state.expirations.pop_front().unwrap_or(life),
                last_updated: None,
                account_id: None,
                role_arn: None,
            })
        })
    }
}

struct Rig {
    clock: Arc<FakeClock>,
    upstream: Arc<Upstream>,
    store: Arc<Store>,
    _task: tokio::task::JoinHandle<()>,
}

fn rig(roles: &[&'static str], life: u64, grace: u64) -> Rig {
    let clock = FakeClock::new();
    let script = Script {
        roles: roles.to_vec(),
        life: Duration::from_secs(life),
        latency: Duration::from_millis(20),
        ..Script::default()
    };
    let upstream = Arc::new(Upstream { clock: Arc::clone(&clock), state: Mutex::new(script) });
    let store = Store::shared();
    let graph = Graph::listing(upstream.clone(), Cadence::Poll { interval: Duration::from_mins(1) });
    let refresher = Refresher::new(graph, store.clone(), clock.clone(), Duration::from_secs(grace));
    Rig { clock, upstream, store, _task: tokio::spawn(refresher.run()) }
}

impl Rig {
    async fn pass(&self, seconds: u64) {
        clock::sleep(Duration::from_secs(seconds)).await;
    }

    /// A refresh that happens to be under way makes no difference.
    fn condition(&self, role: &str) -> Condition {
        let snapshot = self.store.snapshot();
        match snapshot.role(role).map(|role| role.state().condition(self.clock.now().wall)) {
            Some(Condition::Refreshing) => Condition::Fresh,
            Some(condition) => condition,
            None => Condition::Withdrawn,
        }
    }

    fn key(&self, role: &str) -> String {
        let snapshot = self.store.snapshot();
        match &**snapshot.role(role).expect("listed").state() {
            State::Held { set, .. } => set.access_key_id.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

fn refused(withdraws: bool) -> SourceError {
    SourceError {
        kind: ErrorKind::Refused { code: "AssumeRoleUnauthorizedAccess".into(), message: "no".into(), withdraws },
        message: "403".into(),
    }
}

#[tokio::test(start_paused = true)]
async fn roles_are_fetched_at_start_and_again_every_minute() {
    let rig = rig(&["a", "b"], 3600, 0);
    rig.pass(1).await;
    assert_eq!((rig.condition("a"), rig.condition("b")), (Condition::Fresh, Condition::Fresh));
    rig.pass(600).await;
    for name in ["list", "a", "b"] {
        let asked = rig.upstream.asked_for(name);
        assert!((11..=12).contains(&asked.len()), "{name}: {asked:?}");
        assert!(asked.windows(2).all(|pair| pair[1].saturating_sub(pair[0]) >= Duration::from_secs(54)), "{asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_is_fetched_at_once_than_the_source_allows() {
    let roles = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let rig = rig(&roles, 3600, 0);
    rig.pass(1).await;
    assert!(
        roles.iter().all(|role| rig.condition(role) == Condition::Fresh && rig.upstream.asked_for(role).len() == 1)
    );
    rig.upstream.set(|script| assert_eq!(script.most_in_flight, 3));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_withdrawn_while_it_waits_is_not_fetched() {
    let rig = rig(&["a", "b", "c", "d"], 3600, 0);
    rig.upstream.set(|script| script.latency = Duration::from_secs(100));
    rig.pass(30).await;
    rig.upstream.set(|script| script.roles = vec!["a", "b", "c"]);
    rig.pass(120).await;
    assert_eq!((rig.condition("c"), rig.condition("d")), (Condition::Fresh, Condition::Withdrawn));
    assert!(rig.upstream.asked_for("d").is_empty());
}

#[tokio::test(start_paused = true)]
async fn ten_second_credentials_are_never_expired() {
    let rig = rig(&["a"], 10, 0);
    rig.pass(1).await;
    for _ in 0..1000 {
        clock::sleep(Duration::from_millis(97)).await;
        assert!(matches!(rig.condition("a"), Condition::Fresh | Condition::Refreshing));
    }
    assert!(rig.upstream.asked_for("a").len() < 45);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_upstream_takes_nothing_away_until_the_true_expiration() {
    let rig = rig(&["a"], 600, 0);
    rig.pass(1).await;
    let key = rig.key("a");
    rig.upstream.set(|script| {
        script.list_error = Some(SourceError::transient("down"));
        script.errors.insert("a", SourceError::transient("down"));
    });
    rig.pass(500).await;
    assert_eq!((rig.condition("a"), rig.key("a")), (Condition::Stale, key));
    rig.pass(150).await;
    assert_eq!(rig.condition("a"), Condition::Expired);
    rig.upstream.set(|script| {
        script.errors.clear();
        script.list_error = None;
    });
    rig.pass(61).await;
    assert_eq!(rig.condition("a"), Condition::Fresh);
}

#[tokio::test(start_paused = true)]
async fn one_failing_role_leaves_the_others_untouched() {
    let rig = rig(&["good", "bad"], 3600, 0);
    rig.upstream.set(|script| {
        script.errors.insert("bad", SourceError::transient("garbage"));
    });
    rig.pass(300).await;
    assert_eq!((rig.condition("good"), rig.condition("bad")), (Condition::Fresh, Condition::Warming));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_leaves_the_list_is_withdrawn_at_once_or_after_the_grace() {
    for (grace, after) in [(0, Condition::Withdrawn), (300, Condition::Fresh)] {
        let rig = rig(&["a", "b"], 3600, grace);
        rig.pass(1).await;
        rig.upstream.set(|script| script.roles = vec!["a"]);
        rig.pass(61).await;
        assert_eq!(rig.condition("b"), after);
        rig.pass(330).await;
        assert_eq!(rig.condition("b"), Condition::Withdrawn);
        assert_eq!(rig.condition("a"), Condition::Fresh);
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_comes_back_within_the_grace_was_never_away() {
    let rig = rig(&["a"], 3600, 300);
    rig.pass(1).await;
    rig.upstream.set(|script| script.roles = vec![]);
    rig.pass(120).await;
    rig.upstream.set(|script| script.roles = vec!["a"]);
    rig.pass(600).await;
    assert_eq!(rig.condition("a"), Condition::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_list_with_unreadable_lines_adds_but_withdraws_nothing() {
    let rig = rig(&["a"], 3600, 0);
    rig.pass(1).await;
    rig.upstream.set(|script| {
        script.roles = vec!["b"];
        script.problems = vec!["x/y is no role name".into()];
    });
    rig.pass(61).await;
    assert_eq!((rig.condition("a"), rig.condition("b")), (Condition::Fresh, Condition::Fresh));
    assert_eq!(rig.store.snapshot().names(), b"b\na");
}

#[tokio::test(start_paused = true)]
async fn a_refused_list_withdraws_all_roles() {
    let rig = rig(&["a"], 3600, 0);
    rig.pass(1).await;
    rig.upstream.set(|script| script.list_error = Some(refused(true)));
    rig.pass(61).await;
    assert_eq!(rig.condition("a"), Condition::Withdrawn);
    assert!(rig.store.snapshot().answered());
}

#[tokio::test(start_paused = true)]
async fn a_refused_document_denies_the_role_but_an_error_document_spares_a_good_set() {
    for (withdraws, condition) in [(true, Condition::Denied), (false, Condition::Stale)] {
        let rig = rig(&["a"], 3600, 0);
        rig.pass(1).await;
        rig.upstream.set(|script| {
            script.errors.insert("a", refused(withdraws));
        });
        rig.pass(61).await;
        assert_eq!(rig.condition("a"), condition);
        rig.upstream.set(|script| script.errors.clear());
        rig.pass(61).await;
        assert_eq!(rig.condition("a"), Condition::Fresh);
    }
    let rig = rig(&["a"], 3600, 0);
    rig.upstream.set(|script| {
        script.errors.insert("a", refused(false));
    });
    rig.pass(1).await;
    assert_eq!(rig.condition("a"), Condition::Denied, "with nothing held, the error document is the answer");
}

#[tokio::test(start_paused = true)]
async fn a_role_whose_document_is_refused_is_served_for_as_long_as_the_grace() {
    let rig = rig(&["a"], 3600, 300);
    rig.pass(1).await;
    let key = rig.key("a");
    rig.upstream.set(|script| {
        script.errors.insert("a", refused(true));
    });
    rig.pass(240).await;
    assert_eq!((rig.condition("a"), rig.key("a")), (Condition::Stale, key));
    rig.pass(240).await;
    assert_eq!(rig.condition("a"), Condition::Denied);
}

#[tokio::test(start_paused = true)]
async fn a_set_that_had_expired_on_arrival_replaces_nothing() {
    let rig = rig(&["a"], 3600, 0);
    rig.pass(1).await;
    let key = rig.key("a");
    let past = rig.clock.now().wall - SignedDuration::from_secs(1);
    rig.upstream.set(|script| script.expirations = vec![past; 100].into());
    rig.pass(61).await;
    assert_eq!((rig.condition("a"), rig.key("a")), (Condition::Stale, key));
}

#[tokio::test(start_paused = true)]
async fn after_suspend_and_clock_steps_the_schedule_is_right_within_half_a_minute() {
    let rig = rig(&["a"], 3600, 0);
    rig.pass(1).await;
    let disturbances: [fn(&FakeClock); 3] =
        [|clock| clock.suspend(Duration::from_hours(5)), |clock| clock.step_wall(7200), |clock| clock.step_wall(-7200)];
    for disturb in disturbances {
        let before = rig.upstream.asked_for("a").len();
        disturb(&rig.clock);
        rig.pass(if before > 1 { 61 } else { 30 }).await;
        assert!(rig.upstream.asked_for("a").len() > before);
        assert_eq!(rig.condition("a"), Condition::Fresh);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_ever_more_slowly_but_at_least_once_a_minute() {
    let rig = rig(&["a"], 3600, 0);
    rig.upstream.set(|script| script.list_error = Some(SourceError::transient("down")));
    rig.pass(600).await;
    let asked = rig.upstream.asked_for("list");
    assert!((15..120).contains(&asked.len()), "{asked:?}");
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    assert!(waits.iter().all(|wait| (999..=61_000).contains(&wait.as_millis())), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_roles_are_each_asked_once() {
    let names: Vec<&'static str> = (0..1000).map(|n| &*Box::leak(format!("role{n}").into_boxed_str())).collect();
    let rig = rig(&names, 3600, 0);
    rig.pass(10).await;
    assert!(names.iter().all(|name| rig.condition(name) == Condition::Fresh));
    assert_eq!(rig.upstream.state.lock().expect("not poisoned").asked.len(), 1001);
}
