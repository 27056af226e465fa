//! What a client gets in each state, by a clock that is moved by hand.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Ask, Bounds, Desk, Job, MOST_OF_ONE, Outcome};
use crate::{
    clock::{BootTime, Moment},
    sts::Trouble,
};

type TestDesk = Desk<&'static str, u8, u32>;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

fn at(seconds: u64) -> Moment {
    let boot = BootTime::from_uptime(Duration::from_secs(1000 + seconds));
    Moment { wall: Timestamp::from_second(1_795_428_000).expect("in range") + Duration::from_secs(seconds), boot }
}

fn desk() -> TestDesk {
    let bounds = Bounds { capacity: 4, patience: Duration::from_secs(5), rate: 10.0 };
    Desk::new(bounds, 2, at(0), fastrand::Rng::with_seed(1))
}

/// Begins all calls that may begin.
fn begin(desk: &mut TestDesk, now: u64) -> Vec<Job<&'static str>> {
    std::iter::from_fn(|| desk.next(at(now)).ok()).collect()
}

/// Ends a call with a set that lives for an hour.
fn make(desk: &mut TestDesk, job: &Job<&'static str>, set: u32, now: u64) {
    let result = desk.finished(&job.key, job.region, Outcome::Made(set, at(now + HOUR).wall), at(now));
    assert_eq!(result, Some(Ok(set)));
}

fn ready(ask: Ask<&'static str, u32>) -> u32 {
    match ask {
        Ask::Ready(set) => set,
        other => panic!("{other:?}"),
    }
}

fn waits(ask: &Ask<&'static str, u32>) -> Option<u32> {
    match ask {
        Ask::Wait(_, held) => *held,
        other => panic!("{other:?}"),
    }
}

fn trouble(ask: Ask<&'static str, u32>) -> Trouble {
    match ask {
        Ask::No(trouble) => trouble,
        other => panic!("{other:?}"),
    }
}

/// A desk with a set for "a", made and handed out at 0.
fn stocked() -> TestDesk {
    let mut desk = desk();
    waits(&desk.ask("a", &1, at(0)));
    let jobs = begin(&mut desk, 0);
    make(&mut desk, &jobs[0], 1, 0);
    desk
}

#[test]
fn one_call_for_all_who_wait_and_then_none() {
    let mut desk = desk();
    for owner in 1..4 {
        assert_eq!(waits(&desk.ask("a", &owner, at(0))), None);
    }
    let jobs = begin(&mut desk, 0);
    assert_eq!(jobs.iter().map(|job| (*job.key, job.region)).collect::<Vec<_>>(), [("a", 0)]);
    waits(&desk.ask("a", &1, at(1)));
    assert!(begin(&mut desk, 1).is_empty(), "one is under way");
    make(&mut desk, &jobs[0], 7, 1);
    for second in [1, 60, 14 * MINUTE] {
        assert_eq!(ready(desk.ask("a", &1, at(second))), 7);
    }
    assert_eq!(desk.regions()[0].tally.made, 1);
}

#[test]
fn a_set_is_renewed_once_before_a_client_with_the_daemons_schedule_comes_back() {
    let mut desk = stocked();
    let due = (0..HOUR).find(|second| !begin(&mut desk, *second).is_empty()).expect("renewed ahead");
    assert!((9 * MINUTE..=18 * MINUTE).contains(&due), "{due}");
    assert_eq!(desk.counts().ahead, 1);
}

#[test]
fn what_nobody_comes_back_for_is_made_once() {
    let mut desk = desk();
    waits(&desk.ask("a", &1, at(0)));
    desk.expect_no_return(&"a");
    let jobs = begin(&mut desk, 0);
    make(&mut desk, &jobs[0], 1, 0);
    assert!((0..3 * HOUR).all(|second| begin(&mut desk, second).is_empty()));
    assert_eq!(desk.sizes().0, 0, "it is forgotten");
}

#[test]
fn what_was_made_ahead_in_vain_is_not_made_ahead_again_until_clients_come_back_in_time() {
    let mut desk = stocked();
    let ahead = |desk: &mut TestDesk, from: u64, set: u32| {
        let found = (from..from + 30 * MINUTE).find_map(|second| Some((second, begin(desk, second).pop()?)));
        if let Some((second, job)) = &found {
            make(desk, job, set, *second);
        }
        found.map(|(second, _)| second)
    };
    let renewed = ahead(&mut desk, 0, 2).expect("the first time");
    // The client comes when that is old, too: it has been served elsewhere.
    let mut now = renewed + 40 * MINUTE;
    for set in 3..6 {
        assert!(waits(&desk.ask("a", &1, at(now))).is_some(), "not fresh");
        let jobs = begin(&mut desk, now);
        make(&mut desk, &jobs[0], set, now);
        let trusted = set == 5;
        assert_eq!(ahead(&mut desk, now, 9).is_some(), trusted, "set {set}");
        // From now on it comes back when the daemon does, if a little late.
        now += 25 * MINUTE;
    }
}

#[test]
fn an_older_set_waits_briefly_for_a_fresher_one_and_is_good_to_its_end_without_one() {
    let mut desk = stocked();
    assert_eq!(waits(&desk.ask("a", &1, at(20 * MINUTE))), Some(1));
    let jobs = begin(&mut desk, 20 * MINUTE);
    let failed = |desk: &mut TestDesk, job: &Job<&'static str>, now| {
        desk.finished(&job.key, job.region, Outcome::Failed("down".to_owned()), at(now))
    };
    assert_eq!(failed(&mut desk, &jobs[0], 20 * MINUTE), None, "the other region is tried");
    let jobs = begin(&mut desk, 20 * MINUTE);
    assert_eq!((jobs[0].region, failed(&mut desk, &jobs[0], 20 * MINUTE)), (1, None));
    assert_eq!(desk.down().as_deref(), Some("down"));
    for minute in [21, 50, 59] {
        assert_eq!(ready(desk.ask("a", &1, at(minute * MINUTE))), 1, "minute {minute}");
    }
    let Trouble::Unavailable { why, again } = trouble(desk.ask("a", &1, at(HOUR))) else { panic!("a refusal") };
    assert_eq!(why, "down");
    assert!((1..60).contains(&again.as_secs()), "{again:?}");
    assert_eq!(desk.held(&"a", at(HOUR)), None);
}

#[test]
fn a_refusal_counts_for_a_while_and_for_that_key_alone() {
    let mut desk = desk();
    waits(&desk.ask("a", &1, at(0)));
    waits(&desk.ask("b", &1, at(0)));
    let jobs = begin(&mut desk, 0);
    let result = desk.finished(&jobs[0].key, jobs[0].region, Outcome::Refused("no".to_owned()), at(0));
    assert!(matches!(result, Some(Err(Trouble::Refused { .. }))), "{result:?}");
    make(&mut desk, &jobs[1], 2, 0);
    let Trouble::Refused { why, again } = trouble(desk.ask("a", &1, at(10))) else { panic!("no refusal") };
    assert!(why == "no" && (30..80).contains(&again.as_secs()), "{again:?}");
    assert!(begin(&mut desk, 10).is_empty(), "nothing is asked about it");
    waits(&desk.ask("a", &1, at(80)));
    assert_eq!((ready(desk.ask("b", &1, at(80))), desk.down()), (2, None));
}

#[test]
fn while_the_server_has_no_credentials_nothing_is_called_and_all_is_remembered() {
    let mut desk = desk();
    desk.block(Some("no credentials"));
    let Trouble::Unavailable { why, .. } = trouble(desk.ask("a", &1, at(0))) else { panic!("a refusal") };
    assert_eq!((why.as_str(), begin(&mut desk, 0).len()), ("no credentials", 0));
    desk.block(None);
    let jobs = begin(&mut desk, 1);
    let unsigned = Outcome::Unsigned("expired".to_owned());
    assert_eq!(desk.finished(&jobs[0].key, jobs[0].region, unsigned, at(1)), None);
    assert_eq!((desk.down().as_deref(), begin(&mut desk, 2).len()), (Some("expired"), 0));
    desk.block(None);
    assert_eq!(begin(&mut desk, 3).len(), 1, "the same call again");
}

#[test]
fn throttling_goes_to_the_other_region_and_ends() {
    let mut desk = desk();
    waits(&desk.ask("a", &1, at(0)));
    for region in [0, 1] {
        let jobs = begin(&mut desk, 0);
        assert_eq!(jobs[0].region, region);
        let throttled = Outcome::Throttled("Rate exceeded".to_owned());
        assert_eq!(desk.finished(&jobs[0].key, region, throttled, at(0)), None);
    }
    assert!(begin(&mut desk, 0).is_empty() && desk.down().is_none());
    let jobs = begin(&mut desk, 1);
    let throttled = Outcome::Throttled("Rate exceeded".to_owned());
    let result = desk.finished(&jobs[0].key, jobs[0].region, throttled, at(1));
    assert!(matches!(result, Some(Err(Trouble::Unavailable { .. }))), "{result:?}");
}

#[test]
fn keys_that_nobody_uses_are_forgotten_and_there_are_no_more_than_allowed() {
    let mut desk = stocked();
    for (number, key) in ["b", "c", "d", "e"].into_iter().enumerate() {
        waits(&desk.ask(key, &1, at(number as u64)));
        let jobs = begin(&mut desk, number as u64);
        make(&mut desk, &jobs[0], 5, number as u64);
    }
    assert_eq!((desk.sizes(), desk.counts().evicted), ((4, 0), 1));
    assert_eq!(desk.held(&"a", at(5)), None, "the one that was not used for longest");
    for second in (0..3 * HOUR).step_by(10) {
        for job in begin(&mut desk, second) {
            make(&mut desk, &job, 6, second);
        }
    }
    assert_eq!(desk.sizes(), (0, 0));
    assert_eq!(desk.counts().ahead, 4, "each was made ahead once, and not again");
}

#[test]
fn a_caller_with_many_keys_is_bounded_and_others_are_not_told_to_wait_for_it() {
    let bounds = Bounds { capacity: 10_000, patience: Duration::from_secs(5), rate: 10.0 };
    let mut desk: Desk<usize, u8, u32> = Desk::new(bounds, 1, at(0), fastrand::Rng::with_seed(1));
    let asked: Vec<_> = (0..1000).map(|key| desk.ask(key, &1, at(0))).collect();
    let waiting = asked.iter().filter(|ask| matches!(ask, Ask::Wait(..))).count();
    assert!((40..60).contains(&waiting), "so many have their turn within 5 s: {waiting}");
    assert_eq!(desk.sizes().1, MOST_OF_ONE);
    assert!(matches!(desk.ask(5000, &2, at(0)), Ask::Wait(..)));
    let begun: Vec<usize> = std::iter::from_fn(|| desk.next(at(0)).ok()).map(|job| *job.key).collect();
    assert!(begun[..2].contains(&5000), "{begun:?}");
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Ask(&'static str, u8),
    Pass(u64),
    End(usize, u8),
    Block(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let keys = prop::sample::select(vec!["a", "b", "c", "d", "e", "f"]);
    prop_oneof![
        4 => (keys, 0..3_u8).prop_map(|(key, owner)| Step::Ask(key, owner)),
        2 => (0..1500_u64).prop_map(Step::Pass),
        4 => (0..8_usize, 0..12_u8).prop_map(|(call, end)| Step::End(call, end)),
        1 => any::<bool>().prop_map(Step::Block),
    ]
}

proptest! {
    /// Whatever happens: one call for a key at a time, no set after its end or of another key, bounded memory, and what is
    /// asked for is called in the end.
    #[test]
    fn whatever_happens(steps in proptest::collection::vec(step(), 1..200)) {
        let mut desk: Desk<&'static str, u8, (&'static str, u64)> =
            Desk::new(Bounds { capacity: 4, patience: Duration::from_secs(5), rate: 10.0 }, 2, at(0), fastrand::Rng::with_seed(3));
        let mut now = 0;
        let mut running: Vec<Job<&'static str>> = Vec::new();
        for step in steps {
            match step {
                Step::Ask(key, owner) => match desk.ask(key, &owner, at(now)) {
                    Ask::Ready((of, end)) | Ask::Wait(_, Some((of, end))) => prop_assert!(of == key && end > now),
                    Ask::No(Trouble::Unavailable { again, .. } | Trouble::Refused { again, .. }) => {
                        prop_assert!((1..=300).contains(&again.as_secs()));
                    }
                    Ask::Wait(_, None) => {}
                },
                Step::Pass(seconds) => now += seconds,
                Step::Block(blocked) => desk.block(blocked.then_some("blocked")),
                Step::End(call, end) if !running.is_empty() => {
                    let job = running.swap_remove(call % running.len());
                    let outcome = match end {
                        0 => Outcome::Refused("no".to_owned()),
                        1 => Outcome::Throttled("slowly".to_owned()),
                        2 => Outcome::Failed("down".to_owned()),
                        3 => Outcome::Odd("what?".to_owned()),
                        4 => Outcome::Unsigned("expired".to_owned()),
                        _ => Outcome::Made((*job.key, now + HOUR), at(now + HOUR).wall),
                    };
                    desk.finished(&job.key, job.region, outcome, at(now));
                }
                Step::End(..) => {}
            }
            while let Ok(job) = desk.next(at(now)) {
                prop_assert!(!running.iter().any(|other| other.key == job.key));
                running.push(job);
            }
            prop_assert!(desk.sizes().0 <= 4);
        }
        desk.block(None);
        for job in running {
            desk.finished(&job.key, job.region, Outcome::Made((*job.key, now + HOUR), at(now + HOUR).wall), at(now));
        }
        // All is well from now on: a key that is asked for gets its set.
        now += 300;
        let mut got = false;
        for second in 0..120 {
            now += 1;
            got |= matches!(desk.ask("z", &9, at(now)), Ask::Ready(_));
            while let Ok(Job { key, region }) = desk.next(at(now)) {
                desk.finished(&key, region, Outcome::Made((*key, now + HOUR), at(now + HOUR).wall), at(now));
            }
            prop_assert!(second < 60 || got);
        }
    }
}

#[test]
fn nothing_about_a_forgotten_key_is_taken_for_another() {
    let mut desk = desk();
    let lost = Arc::new("lost");
    assert_eq!(desk.finished(&lost, 0, Outcome::Made(1, at(HOUR).wall), at(0)), Some(Ok(1)));
    assert_eq!(desk.held(&"lost", at(0)), None);
}
