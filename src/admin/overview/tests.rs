use std::time::Duration;

use super::*;
use crate::{
    credentials::RoleId,
    page::{Kind, Span},
    refresh_stats::{Life, RefreshStats},
};

fn at(time: &str) -> Timestamp {
    format!("2026-11-27T{time}:00Z").parse().expect("a time")
}

fn role(state: &str, happenings: Vec<Happening>) -> Shown {
    let status = RoleStatus {
        name: "web".to_owned(),
        on_demand: false,
        session_name: None,
        state: state.to_owned(),
        since: Some(at("15:30").to_string()),
        access_key_id: None,
        expiration: None,
        seconds_left: None,
        source: None,
        last_error: None,
        refused_since: None,
        account_id: None,
        role_arn: None,
        chosen_by: None,
    };
    Shown { tone: tone(state), next: None, asked: None, happenings, status }
}

/// What happened to a role that was fetched twice, could not be fetched then, and is fetched again at last.
fn outage() -> Vec<Happening> {
    let (stats, id) = (RefreshStats::default(), RoleId::named(&"web".parse().expect("a name")));
    stats.remember();
    let fetched = |time: &str, end: &str, again: &str| {
        stats.fetched(&id, &"ims".into(), at(time), Life { end: at(end), again: at(again) });
    };
    fetched("12:00", "13:00", "12:22");
    fetched("12:22", "13:22", "12:44");
    stats.failed(&id, at("12:44"), "down", None);
    stats.failed(&id, at("13:30"), "down", None);
    fetched("14:00", "17:00", "15:50");
    stats.happenings("web")
}

/// The spans as text, the marks left out.
fn drawn(spans: &[Span]) -> Vec<String> {
    let time = |time: Timestamp| time.strftime("%H:%M").to_string();
    let lasting = spans.iter().filter(|span| span.kind != Kind::Came);
    lasting.map(|span| format!("{:?} {}-{}", span.kind, time(span.from), time(span.to))).collect()
}

#[test]
fn a_lane_shows_sets_gaps_and_failures() {
    let lane = lanes::of_role(&role("fresh", outage()), at("15:00"));
    let expected = [
        "Valid 12:00-12:22",
        "Valid 12:22-13:22",
        "Without 13:22-14:00",
        "Valid 14:00-15:00",
        "Ahead 15:00-17:00",
        "Window 15:50-17:00",
        "Failed 12:44-13:30",
    ];
    assert_eq!(drawn(&lane.spans), expected);
    let expected = "fresh; last set fetched 14:00 (1 h ago); valid until 17:00 (in 2 h); in the last six hours 3 set(s), \
                    2 failed (12:44 to 13:30), 38 min without a valid set";
    assert_eq!(lane.summary, expected);
}

#[test]
fn what_is_expired_or_taken_away_is_not_shown_as_held() {
    let expired = lanes::of_role(&role("expired", outage()), at("17:30"));
    assert_eq!(drawn(&expired.spans)[3..5], ["Valid 14:00-17:00", "Without 17:00-17:30"]);
    let denied = lanes::of_role(&role("denied", outage()), at("16:00"));
    assert_eq!(drawn(&denied.spans)[3..5], ["Valid 14:00-15:30", "Without 15:30-16:00"]);
    let never: Vec<_> = outage().into_iter().filter(|one| matches!(one, Happening::Calls(_))).collect();
    assert_eq!(drawn(&lanes::of_role(&role("expired", never), at("15:00")).spans)[0], "Without 12:44-15:00");
}

#[test]
fn the_heading_says_the_worst() {
    let status = |answered| {
        let text = format!(
            r#"{{"version": "1", "pid": 1, "started": "", "uptime_seconds": 1, "answered": {answered},
                "listeners": [], "roles": []}}"#
        );
        serde_json::from_str::<Status>(&text).expect("a status")
    };
    for (states, answered, tone, text) in [
        (&[][..], false, Tone::Warning, "The upstream has not answered yet"),
        (&[], true, Tone::Warning, "This host has no role"),
        (&["fresh"], true, Tone::Good, "The role has valid credentials"),
        (&["fresh", "idle"], true, Tone::Good, "1 of 2 roles have valid credentials, the others are idle"),
        (&["fresh", "fresh"], true, Tone::Good, "All 2 roles have valid credentials"),
        (&["fresh", "stale"], true, Tone::Warning, "1 of 2 roles cannot be refreshed now"),
        (&["denied"], true, Tone::Bad, "The role has no valid credentials"),
        (&["stale", "expired", "denied"], true, Tone::Bad, "2 of 3 roles have no valid credentials"),
    ] {
        let roles: Vec<_> = states.iter().map(|state| role(state, Vec::new())).collect();
        assert_eq!(verdict(&status(answered), &roles), (tone, text.to_owned()));
    }
}

#[test]
fn keys_are_shortened_and_errors_have_no_secrets() {
    assert_eq!(shortened("ASIAIOSFODNN7EXAMPLE"), "ASIA…MPLE");
    assert_eq!(shortened("short"), "short");
    assert_eq!(safe("x password=hunter2\ny"), "x password=*** y");
    assert!(safe(&"long ".repeat(1000)).chars().count() <= 240);
}

#[test]
fn the_latency_is_an_average_and_a_bound() {
    let (stats, ims) = (RefreshStats::default(), "ims".into());
    for milliseconds in [10, 20, 30, 3000] {
        stats.count(&ims, Question::Roles, Ending::Success, Duration::from_millis(milliseconds));
    }
    let cell = latency(&stats.calls()["ims"]);
    assert_eq!((&*cell.text, &*cell.note), ("765 ms on average", "95 % within 5 s"));
}
