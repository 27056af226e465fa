//! What an outage means where the upstream has refused before, and what it hands out late.

use super::*;
use crate::Handover;

fn down() -> SourceError {
    SourceError::transient("503")
}

#[tokio::test(start_paused = true)]
async fn an_outage_after_a_refused_list_takes_no_role_away() {
    for grace in [None, Some(20)] {
        let rig = rig_with_grace(&["a"], 600, grace);
        rig.pass(1).await;
        rig.upstream.set(|script| script.list_error = Some(refused(false)));
        let asked = rig.upstream.asked_for("list").len();
        while rig.upstream.asked_for("list").len() == asked {
            rig.pass(1).await;
        }
        rig.upstream.set(|script| {
            script.list_error = Some(down());
            script.errors.insert("a", down());
        });
        while rig.state("a") == RoleState::Stale || rig.state("a") == RoleState::Fresh {
            rig.pass(1).await;
        }
        assert_eq!(rig.state("a"), RoleState::Expired, "{grace:?}");
        // That nothing has come since is no word of the upstream's; this is.
        rig.upstream.set(|script| script.list_error = Some(refused(false)));
        rig.pass(400).await;
        assert_eq!(rig.state("a"), RoleState::Withdrawn, "{grace:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_role_that_was_refused_once_is_hastened_in_an_outage_as_any_other() {
    let rig = rig(&["a"], 600);
    rig.pass(1).await;
    rig.upstream.set(|script| {
        script.errors.insert("a", refused(false));
    });
    while rig.upstream.asked_for("a").len() == 1 {
        rig.pass(1).await;
    }
    rig.upstream.set(|script| {
        script.errors.insert("a", down());
    });
    while rig.state("a") != RoleState::Expired {
        rig.pass(1).await;
    }
    let ended = rig.clock.now().boot;
    for _ in 0..60 {
        rig.ask("a");
        rig.pass(1).await;
    }
    let calls = rig.upstream.asked_for("a").into_iter().filter(|at| *at >= ended).count();
    assert!(calls > 5, "{calls} in a minute in which somebody waits");
}

#[tokio::test(start_paused = true)]
async fn a_set_that_has_ended_by_the_upstreams_clock_replaces_no_better_one() {
    let rig = rig(&["a"], 3600);
    rig.pass(1).await;
    let key = rig.key("a");
    rig.upstream.set(|script| script.life_there = Some(Duration::ZERO));
    rig.upstream.set(|script| script.expirations.push_back(rig.clock.now().wall + Duration::from_mins(50)));
    while rig.upstream.asked_for("a").len() == 1 {
        rig.pass(1).await;
    }
    assert_eq!((rig.state("a"), rig.key("a")), (RoleState::Stale, key.clone()));
    rig.upstream.set(|script| script.life_there = None);
    rig.pass(900).await;
    assert_eq!(rig.state("a"), RoleState::Fresh);
    assert_ne!(rig.key("a"), key);
}

#[tokio::test(start_paused = true)]
async fn the_next_process_is_told_of_a_refusal() {
    let clock = FakeClock::new();
    let script = Script { roles: vec!["a"], life: Duration::from_mins(10), ..Script::default() };
    let upstream = Arc::new(Upstream { clock: Arc::clone(&clock), state: Mutex::new(script) });
    let handed: Arc<Mutex<Option<Handover>>> = Arc::default();
    let keep = Arc::clone(&handed);
    let graph = Graph::listing(upstream.clone(), INTERVAL);
    let mut refresher = Refresher::new(graph, Store::shared(), clock.clone(), None)
        .with_hand_over(Box::new(move |handover| *keep.lock().expect("not poisoned") = Some(handover)));
    let _task = tokio::spawn(async move { refresher.run().await });
    let refused_since = || {
        let handed = handed.lock().expect("not poisoned");
        handed.as_ref().and_then(|handover| handover.sets.first()?.refused)
    };
    clock::sleep(Duration::from_secs(5)).await;
    assert!(refused_since().is_none() && handed.lock().expect("not poisoned").is_some());
    upstream.set(|script| {
        script.errors.insert("a", refused(false));
    });
    clock::sleep(Duration::from_mins(9)).await;
    let (asked, since) = (upstream.asked_for("a"), refused_since().expect("refused"));
    assert_eq!(since.boot, asked[1]);
}
