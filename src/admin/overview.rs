//! What is on the status page. It shows what root sees by `status` and in the metrics, and no secrets.

mod callers;
mod lanes;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{Admin, ChosenBy, RoleStatus, SandboxStatus, Status};
use crate::{
    clock::{Moment, until},
    page::{Cell, Column, Figure, Part, Section, Table, Timeline, Tone, View, Window, clock_time, duration, grouped},
    refresh_stats::{Calls, Ending, Happening, Question, SourceHistory},
    text::{printable, redact},
};

/// So many roles are on the timeline, those in trouble first.
const LANES: usize = 60;
/// So many are in a table.
const ROWS: usize = 250;

/// A role, and what happened to it.
struct Shown {
    status: RoleStatus,
    tone: Tone,
    next: Option<Timestamp>,
    asked: Option<Timestamp>,
    happenings: Vec<Happening>,
}

impl Admin {
    /// What a person sees at the moment `now`.
    pub fn overview(&self, now: Moment) -> View {
        let (answered, roles) = self.shown_roles(now);
        let status = self.report(true, answered, Vec::new(), now);
        View {
            program: "alppaca",
            host: self.host.clone(),
            at: now.wall,
            verdict: verdict(&status, &roles),
            notices: self.notices(&status, now.wall),
            figures: self.figures(&status, &roles, now),
            sections: vec![
                roles_section(&roles, now.wall),
                self.sources_section(now.wall),
                self.callers_section(now.wall),
                self.in_force_section(&status, now.wall),
            ],
        }
    }

    fn shown_roles(&self, now: Moment) -> (bool, Vec<Shown>) {
        let snapshot = self.store.snapshot();
        let mut names = self.pod_sessions.names();
        let mut roles: Vec<Shown> = self
            .all_roles(&snapshot)
            .map(|role| {
                let (status, id) = (self.role_status(role, now), role.id());
                let status = RoleStatus { session_name: names.remove(&id), ..status };
                Shown {
                    tone: tone(&status.state),
                    next: self.refresh_stats.entry(id.as_str()).next.filter(|_| status.state != "idle"),
                    asked: role.asked().and_then(|at| now.wall.checked_sub(now.boot.since(at)).ok()),
                    happenings: self.refresh_stats.happenings(id.as_str()),
                    status,
                }
            })
            .collect();
        // It is stable: roles of the same kind stay in the order in which they are listed.
        roles.sort_by_key(|role| std::cmp::Reverse(role.tone));
        (snapshot.answered(), roles)
    }

    fn notices(&self, status: &Status, now: Timestamp) -> Vec<(Tone, String)> {
        let mut notices = Vec::new();
        let mut note = |tone, text: String| notices.push((tone, text));
        if let Some(refused) = &status.list_refused {
            let message = refused.message.as_deref().map(safe).unwrap_or_default();
            note(Tone::Bad, format!("The upstream refuses its list of roles since {}: {message}", refused.since));
        }
        for needed in &status.sign_in_needed {
            let reason = needed.reason.as_deref().map(|reason| format!(" ({})", safe(reason))).unwrap_or_default();
            note(Tone::Warning, format!("A sign-in is needed for {}{reason}: run alppaca login.", needed.source));
        }
        if let Some(audit) = status.audit.as_ref().filter(|audit| audit.failing) {
            let effect = if audit.withheld.is_some() { "no credentials are handed out" } else { "records are lost" };
            note(Tone::Bad, format!("The audit cannot be written: {effect}."));
        }
        if let Some(ahead) = status.clock_ahead_seconds {
            let way = if ahead < 0 { "behind" } else { "ahead of" };
            note(Tone::Warning, format!("This host's clock is {} s {way} that of the upstream.", ahead.abs()));
        }
        let (_, since, failed) = self.in_force.shown();
        if failed {
            let since = clock_time(since, now);
            note(
                Tone::Warning,
                format!("The last reload was refused; the configuration of {since} stays in force. The log says why."),
            );
        }
        if status.unverified_containers > 0 {
            let count = status.unverified_containers;
            note(
                Tone::Warning,
                format!("{count} container(s) get no credentials: it cannot be verified that they run."),
            );
        }
        notices
    }

    fn figures(&self, status: &Status, roles: &[Shown], now: Moment) -> Vec<Figure> {
        let figure = |label, value: String, note: String| Figure { label, value, note };
        let mut states = BTreeMap::<&str, usize>::new();
        for role in roles {
            *states.entry(&role.status.state).or_default() += 1;
        }
        let states = states.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ");
        let soonest = |time: fn(&Shown) -> Option<Timestamp>| {
            roles.iter().filter_map(|role| Some((time(role)?, role.status.name.as_str()))).min()
        };
        let when = |label, first: Option<(Timestamp, &str)>| match first {
            Some((at, role)) => {
                let far =
                    if at > now.wall { format!("in {}", duration(until(at, now.wall))) } else { "now".to_owned() };
                figure(label, clock_time(at, now.wall), format!("{far}: {role}"))
            }
            None => figure(label, "–".to_owned(), String::new()),
        };
        let served: u64 = self.counters.answers().filter(|row| row.status == 200).map(|row| row.count).sum();
        let denied: u64 = self.counters.denials().map(|(_, count)| count).sum();
        let uptime = duration(std::time::Duration::from_secs(status.uptime_seconds));
        vec![
            figure("Roles", roles.len().to_string(), states),
            when("Next refresh", soonest(|role| role.next)),
            when("First to expire", soonest(|role| role.status.expiration.as_ref()?.parse().ok())),
            figure("Requests answered", grouped(served), "with 200, since the start".to_owned()),
            figure("Requests denied", grouped(denied), "since the start".to_owned()),
            figure("Running for", uptime, format!("process {}", status.pid)),
        ]
    }

    fn sources_section(&self, now: Timestamp) -> Section {
        let (successes, calls) = (self.refresh_stats.successes(), self.refresh_stats.calls());
        let histories = self.refresh_stats.source_histories(now);
        let lanes = histories.iter().map(|history| lanes::of_source(history, now)).collect();
        let row = |history: &SourceHistory| {
            let source = &history.source;
            let (tone, state) = lanes::source_state(history);
            let failure = history.failure.as_ref().map(|(at, why)| Cell::time(*at, now).and_note(&safe(why)));
            let failure = failure.unwrap_or_default();
            let calls = calls.get(source);
            let total = |ending| {
                calls.map_or(0, |calls| Question::ALL.map(|question| calls.total(question, ending)).iter().sum())
            };
            let all: u64 = Ending::ALL.into_iter().map(total).sum();
            vec![
                Cell::new(&**source),
                Cell::state(tone, state),
                successes.get(source).map(|at| Cell::time(*at, now)).unwrap_or_default(),
                failure,
                Cell::number(all),
                Cell::number(all - total(Ending::Success)),
                calls.map(|calls| latency(calls)).unwrap_or_default(),
            ]
        };
        let rows: Vec<_> = histories.iter().map(row).collect();
        let parts = if rows.is_empty() {
            vec![Part::Text("No source has been called in the last six hours.".to_owned())]
        } else {
            let columns = vec![
                Column::Words("Source"),
                Column::Words("State"),
                Column::Words("Last success"),
                Column::Words("Last failure"),
                Column::Numbers("Calls"),
                Column::Numbers("Without success"),
                Column::Words("Latency"),
            ];
            let caption = "Sources that were called in the last six hours; calls since the start";
            vec![
                Part::Timeline(Timeline { title: "Sources over time", window: Window::around(now), lanes }),
                Part::Table(Table { caption, columns, rows }),
            ]
        };
        Section { id: "sources", title: "Sources", parts }
    }

    fn in_force_section(&self, status: &Status, now: Timestamp) -> Section {
        let (fingerprint, since, _) = self.in_force.shown();
        let listeners = status.listeners.iter().map(|listener| format!("{} at {}", listener.face, listener.address));
        let summary =
            |sandbox: &SandboxStatus| format!("{}: {}", sandbox.mode, sandbox.summary.as_deref().unwrap_or_default());
        let sandbox = status.sandbox.as_ref().map(summary);
        let audit = status.audit.as_ref().map(|audit| format!("on, {} record(s) lost", audit.lost));
        let mut facts = vec![
            ("Version", format!("alppaca {}", status.version)),
            ("Started", clock_time(self.started.wall, now)),
            ("Configuration", format!("{fingerprint}, since {}", clock_time(since, now))),
            ("Policy", status.policy.clone().unwrap_or_else(|| "none: every caller gets all roles".to_owned())),
            ("Serves", listeners.collect::<Vec<_>>().join(", ")),
            ("Audit", audit.unwrap_or_else(|| "off".to_owned())),
            ("Sandbox", sandbox.unwrap_or_else(|| "none".to_owned())),
        ];
        facts.extend(self.region().map(|region| ("Region", region)));
        Section { id: "in-force", title: "What is in force", parts: vec![Part::Facts(facts)] }
    }
}

fn verdict(status: &Status, roles: &[Shown]) -> (Tone, String) {
    let count = |tone| roles.iter().filter(|role| role.tone == tone).count();
    let (all, bad, stale) = (roles.len(), count(Tone::Bad), count(Tone::Warning));
    match (all, bad, stale) {
        (0, ..) if !status.answered => (Tone::Warning, "The upstream has not answered yet".to_owned()),
        (0, ..) => (Tone::Warning, "This host has no role".to_owned()),
        (1, 1, _) => (Tone::Bad, "The role has no valid credentials".to_owned()),
        (all, bad, _) if bad > 0 => (Tone::Bad, format!("{bad} of {all} roles have no valid credentials")),
        (all, _, stale) if stale > 0 => (Tone::Warning, format!("{stale} of {all} roles cannot be refreshed now")),
        (1, ..) if count(Tone::Good) == 1 => (Tone::Good, "The role has valid credentials".to_owned()),
        (all, ..) if count(Tone::Good) == all => (Tone::Good, format!("All {all} roles have valid credentials")),
        (all, ..) => {
            let held = count(Tone::Good);
            (Tone::Good, format!("{held} of {all} roles have valid credentials, the others are idle"))
        }
    }
}

/// By the words of `docs/states.md`.
fn tone(state: &str) -> Tone {
    match state {
        "fresh" | "refreshing" => Tone::Good,
        "idle" => Tone::Quiet,
        "stale" | "warming" => Tone::Warning,
        _ => Tone::Bad,
    }
}

fn roles_section(roles: &[Shown], now: Timestamp) -> Section {
    let window = Window::around(now);
    let lanes: Vec<_> = roles.iter().take(LANES).map(|role| lanes::of_role(role, now)).collect();
    let mut parts = Vec::new();
    if roles.is_empty() {
        parts.push(Part::Text("There is no role.".to_owned()));
    } else {
        parts.push(Part::Timeline(Timeline { title: "Roles over time", window, lanes }));
        if roles.len() > LANES {
            let text = format!("The timeline has {LANES} of {} roles, those in trouble first.", roles.len());
            parts.push(Part::Text(text));
        }
        parts.push(role_table(roles, now));
        if roles.len() > ROWS {
            let text = format!("The table has {ROWS} of {} roles; alppaca status lists all.", roles.len());
            parts.push(Part::Text(text));
        }
    }
    Section { id: "roles", title: "Roles", parts }
}

fn role_table(roles: &[Shown], now: Timestamp) -> Part {
    let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
    let row = |role: &Shown| {
        let status = &role.status;
        let since = time(&status.since).map(|since: Timestamp| format!("since {}", clock_time(since, now)));
        let error = status.last_error.as_ref().map(|error| {
            let at = error.at.parse().map_or_else(|_| error.at.clone(), |at| clock_time(at, now));
            format!("{at}: {}", safe(&error.message))
        });
        let on_demand = match &status.chosen_by {
            Some(ChosenBy { uid, seconds }) => {
                Some(format!("for {} at a time, for user {uid}", duration(Duration::from_secs(*seconds))))
            }
            None => status.session_name.clone().or_else(|| status.on_demand.then(|| "on demand".to_owned())),
        };
        let about: Vec<_> = [status.role_arn.clone(), on_demand].into_iter().flatten().collect();
        vec![
            Cell::new(&status.name).with_note(about.join(", ")),
            Cell::state(role.tone, &status.state)
                .with_note(since.into_iter().chain(error).collect::<Vec<_>>().join("; ")),
            time(&status.expiration)
                .map(|at| Cell::time(at, now))
                .unwrap_or_default()
                .and_note(&status.access_key_id.as_deref().map(shortened).unwrap_or_default()),
            role.next.map(|at| Cell::time(at.max(now), now)).unwrap_or_default(),
            Cell::new(status.source.clone().unwrap_or_default()),
            role.asked.map(|at| Cell::time(at, now)).unwrap_or_default(),
            Cell::new(lanes::counts(&role.happenings, now)),
        ]
    };
    let columns = vec![
        Column::Words("Role"),
        Column::Words("State"),
        Column::Words("Valid until"),
        Column::Words("Next refresh"),
        Column::Words("Source"),
        Column::Words("Last asked for"),
        Column::Words("Last six hours"),
    ];
    let rows = roles.iter().take(ROWS).map(row).collect();
    Part::Table(Table { caption: "Roles, those in trouble first", columns, rows })
}

/// How long calls took, on the average and within which bound 95 of 100.
fn latency(calls: &Calls) -> Cell {
    let count: u64 = calls.took().buckets().map(|(_, count)| count).sum();
    let Some(mean) = u32::try_from(count).ok().and_then(|count| calls.took().sum().checked_div(count)) else {
        return Cell::default();
    };
    let mut seen = 0;
    let bound = calls.took().buckets().find(|(_, more)| {
        seen += more;
        seen * 100 >= count * 95
    });
    let bound = bound.and_then(|(bound, _)| bound).map(|bound| format!("95 % within {}", duration(bound)));
    Cell::new(format!("{} on average", duration(mean))).with_note(bound.unwrap_or_default())
}

/// An error of an upstream, fit for a page.
fn safe(message: &str) -> String {
    printable(&redact(message), 240)
}

/// Enough of a key's id to find it in a log.
fn shortened(id: &str) -> String {
    let tail: String = id.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
    if id.chars().count() > 12 { format!("{}…{tail}", id.chars().take(4).collect::<String>()) } else { id.to_owned() }
}

#[cfg(test)]
mod tests;
