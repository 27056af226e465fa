//! The metrics as text.

use zeroize::Zeroizing;

use super::{Admin, Reply, SandboxStatus, files::put_files};
use crate::{
    audit::Health,
    clock::Moment,
    faces::pod_identity::SessionCounts,
    http::Counters,
    open_metrics::{CONTENT_TYPE, Page},
    refresh_stats::{Ending, Question, RefreshStats, SpanCounts},
    sign_in::Report,
    store::{RoleState, Slot, Snapshot},
};

/// The states that a role can be shown in. One that is withdrawn is not there any more.
const STATES: [RoleState; 6] =
    [RoleState::Idle, RoleState::Warming, RoleState::Fresh, RoleState::Stale, RoleState::Expired, RoleState::Denied];

/// From what it was compiled, if that is known.
const REVISION: Option<&str> = option_env!("ALPPACA_REVISION");

/// The metrics of the configuration.
const CONFIG: [&str; 3] =
    ["alppaca_config_info", "alppaca_config_reload_success_timestamp_seconds", "alppaca_config_reload_failed"];

impl Admin {
    /// The metrics.
    pub fn metrics(&self, now: Moment) -> Reply {
        let mut page = Page::default();
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("revision", REVISION.unwrap_or_default())];
        page.info("alppaca_build_info", "The program.").put(&labels, 1);
        page.gauge("alppaca_start_time_seconds", "When the daemon started.").put(&[], self.started.wall.as_second());
        self.in_force.render(&mut page, CONFIG);
        put_roles(&mut page, &self.store.snapshot(), now);
        put_upstreams(&mut page, &self.store.snapshot(), &self.refresh_stats);
        put_calls(&mut page, &self.refresh_stats);
        put_requests(&mut page, &self.counters);
        if let Some(health) = self.auditor.health() {
            put_audit(&mut page, health);
        }
        put_sign_ins(&mut page, &self.sign_ins.reports());
        if let Some(state) = self.watched.state() {
            state.put(&mut page);
        }
        put_pod_sessions(&mut page, &self.pod_sessions.counts());
        if let Some(spans) = self.refresh_stats.spans() {
            put_spans(&mut page, spans);
        }
        put_files(&mut page, &self.files.all());
        if let Some(sandbox) = &self.sandbox {
            put_sandbox(&mut page, sandbox);
        }
        let body = Zeroizing::new(page.finish().into_bytes());
        Reply { status: 200, content_type: CONTENT_TYPE, allow: None, upgrade: None, body }
    }
}

/// Roles that were made on demand have no series of their own: they come and go with containers.
fn put_roles(page: &mut Page, snapshot: &Snapshot, now: Moment) {
    let help = "When the credentials of a role end; the past if they have.";
    let mut expirations = page.gauge("alppaca_credentials_expiration_timestamp_seconds", help);
    for role in snapshot.roles() {
        if let Slot::Held { set, .. } = &**role.slot() {
            expirations.put(&[("role", role.name().as_str())], set.expiration.as_second());
        }
    }
    let mut states = page.states("alppaca_role_state", "The state of a role; one of them is 1.");
    for role in snapshot.roles() {
        let current = shown(role.slot().state(now));
        for state in STATES {
            let labels = [("role", role.name().as_str()), ("alppaca_role_state", state.as_str())];
            states.put(&labels, u8::from(state == current));
        }
    }
    let mut on_demand = page.gauge("alppaca_on_demand_roles", "Roles that were made on demand, by state.");
    for state in STATES {
        let count = snapshot.unlisted().iter().filter(|role| shown(role.slot().state(now)) == state).count();
        on_demand.put(&[("state", state.as_str())], count);
    }
}

fn put_pod_sessions(page: &mut Page, counts: &SessionCounts) {
    page.gauge("alppaca_pod_sessions", "Sessions that pods have for themselves.").put(&[], counts.held);
    let help = "Sessions of pods that had to make room for others.";
    page.counter("alppaca_pod_sessions_evicted_total", help).put(&[], counts.evicted);
    let help = "How often a pod had to wait for others of its namespace before its session began.";
    page.counter("alppaca_pod_sessions_held_back_total", help).put(&[], counts.held_back);
}

/// What the upstreams refuse, when they last gave something, and what could keep them from it.
fn put_upstreams(page: &mut Page, snapshot: &Snapshot, refresh_stats: &RefreshStats) {
    let help = "Since when the upstream refuses a role; absent if it does not.";
    let mut refused = page.gauge("alppaca_role_refused_since_timestamp_seconds", help);
    for role in snapshot.roles() {
        if let Some(since) = refresh_stats.entry(role.name().as_str()).refused_since() {
            refused.put(&[("role", role.name().as_str())], since.as_second());
        }
    }
    let help = "Since when the upstream refuses its list of roles; absent if it does not.";
    let mut list_refused = page.gauge("alppaca_list_refused_since_timestamp_seconds", help);
    if let Some(refusal) = refresh_stats.list_refusal() {
        list_refused.put(&[], refusal.since.as_second());
    }
    if let Some(ahead) = refresh_stats.clock_ahead() {
        let help = "How far this host's clock is ahead of the upstream's, if it is a minute or more.";
        page.gauge("alppaca_clock_ahead_seconds", help).put(&[], ahead.as_secs());
    }
    let help = "When a source last gave credentials, or its list of roles.";
    let mut successes = page.gauge("alppaca_source_success_timestamp_seconds", help);
    for (source, at) in refresh_stats.successes() {
        successes.put(&[("source", &source)], at.as_second());
    }
    let help = "When the certificate ends with which a source is asked.";
    let mut certificates = page.gauge("alppaca_client_certificate_expiration_timestamp_seconds", help);
    for (source, end) in refresh_stats.certificate_ends() {
        certificates.put(&[("source", &source)], end.as_second());
    }
}

fn put_calls(page: &mut Page, refresh_stats: &RefreshStats) {
    let calls = refresh_stats.calls();
    let mut totals = page.counter("alppaca_upstream_calls_total", "Calls to upstreams, and how they ended.");
    for (source, calls) in &calls {
        for question in Question::ALL.into_iter().filter(|question| calls.asked(*question)) {
            for ending in Ending::ALL {
                let labels = [("source", &**source), ("question", question.as_str()), ("outcome", ending.as_str())];
                totals.put(&labels, calls.total(question, ending));
            }
        }
    }
    let mut took = page.histogram("alppaca_upstream_call_duration_seconds", "How long calls to upstreams took.");
    for (source, calls) in &calls {
        took.put_histogram(&[("source", source)], calls.took());
    }
}

fn put_requests(page: &mut Page, counters: &Counters) {
    let mut requests = page.counter("alppaca_requests_total", "Requests for metadata and credentials.");
    for answered in counters.answers() {
        let (status, [face, version]) = (answered.status.to_string(), answered.protocol);
        let labels = [("face", face), ("version", version), ("caller", answered.caller.as_str()), ("status", &status)];
        requests.put(&labels, answered.count);
    }
    let mut took = page.histogram("alppaca_request_duration_seconds", "How long the answers to requests took.");
    for ([face, version], histogram) in counters.took() {
        took.put_histogram(&[("face", face), ("version", version)], histogram);
    }
    let mut denials = page.counter("alppaca_denials_total", "Requests that were refused, and why.");
    for (denial, count) in counters.denials() {
        denials.put(&[("reason", denial.as_str())], count);
    }
    let help = "Connections that were ended before the client wanted it, and why.";
    let mut ended = page.counter("alppaca_connections_ended_total", help);
    for (why, count) in counters.connections_ended() {
        ended.put(&[("reason", why.as_str())], count);
    }
}

fn put_audit(page: &mut Page, Health { lost, failing, withheld }: Health) {
    let help = "Hand-outs and denials of which no record could be written.";
    page.counter("alppaca_audit_lost_total", help).put(&[], lost);
    page.gauge("alppaca_audit_failing", "Whether records cannot be written now.").put(&[], u8::from(failing));
    if let Some(withheld) = withheld {
        let help = "Hand-outs that were answered with 503: they could not be recorded.";
        page.counter("alppaca_audit_withheld_total", help).put(&[], withheld);
    }
}

/// For which sources a person has to sign in; nothing where none ever has to.
fn put_sign_ins(page: &mut Page, sign_ins: &[(String, Report)]) {
    let help = "Whether a person has to sign in before a source gives anything new.";
    let mut needed = page.gauge("alppaca_sign_in_needed", help);
    for (source, report) in sign_ins {
        needed.put(&[("source", source)], u8::from(report.needed.is_some()));
    }
}

/// What became of the spans of calls.
fn put_spans(page: &mut Page, spans: &SpanCounts) {
    page.counter("alppaca_spans_sent_total", "Spans that the collector of traces has taken.").put(&[], spans.sent());
    page.counter("alppaca_spans_lost_total", "Spans that it has not taken, or too many.").put(&[], spans.lost());
}

/// What of the confinement is in force.
fn put_sandbox(page: &mut Page, SandboxStatus { mode, landlock, in_force, .. }: &SandboxStatus) {
    page.info("alppaca_sandbox_info", "What `sandbox` says.").put(&[("mode", mode)], 1);
    let help = "The version of Landlock that confines files and ports; 0 if they are not.";
    page.gauge("alppaca_sandbox_landlock_version", help).put(&[], landlock.unwrap_or_default());
    let mut parts = page.gauge("alppaca_sandbox_in_force", "Whether a part of the confinement is in force.");
    for (part, is) in in_force {
        parts.put(&[("part", part)], u8::from(*is));
    }
}

/// Shown as what it was before and will be after: a refresh is over in a moment.
pub(super) fn shown(state: RoleState) -> RoleState {
    match state {
        RoleState::Refreshing => RoleState::Fresh,
        state => state,
    }
}
