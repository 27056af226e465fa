//! The metrics as text.
//!
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>

use std::fmt::Write;

use jiff::Timestamp;

use super::document::SandboxStatus;
use crate::{
    audit::Health,
    clock::Moment,
    http::Counters,
    refresh_stats::{Ending, Question, RefreshStats},
    sign_in::Report,
    store::{RoleState, Slot, Snapshot},
};

/// The media type.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The states that a role can be shown in. One that is withdrawn is not there any more.
const STATES: [RoleState; 6] =
    [RoleState::Idle, RoleState::Warming, RoleState::Fresh, RoleState::Stale, RoleState::Expired, RoleState::Denied];

/// What they show beside the roles and requests.
pub(super) struct Beside<'a> {
    /// How the audit is, if there is one.
    pub(super) audit: Option<Health>,
    /// Who has signed in for which source.
    pub(super) sign_ins: &'a [(String, Report)],
    /// What confines the daemon.
    pub(super) sandbox: Option<&'a SandboxStatus>,
}

/// Writes them down. Roles that were made on demand have no series of their own: they come and go with containers.
pub(super) fn render(
    snapshot: &Snapshot,
    refresh_stats: &RefreshStats,
    counters: &Counters,
    beside: &Beside,
    started: Timestamp,
    now: Moment,
) -> String {
    let mut text = String::with_capacity(4096);
    let mut put = |line: std::fmt::Arguments| {
        // Writing to a String cannot fail.
        let _infallible = text.write_fmt(line);
    };
    put(format_args!(
        "# TYPE alppaca_build info\n# HELP alppaca_build The program.\nalppaca_build_info{{version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    ));
    put(format_args!(
        "# TYPE alppaca_start_time_seconds gauge\n# UNIT alppaca_start_time_seconds seconds\n\
         # HELP alppaca_start_time_seconds When the daemon started.\nalppaca_start_time_seconds {}\n",
        started.as_second()
    ));
    put(format_args!(
        "# TYPE alppaca_role_expiry_seconds gauge\n# UNIT alppaca_role_expiry_seconds seconds\n\
         # HELP alppaca_role_expiry_seconds How long the credentials of a role are still valid; negative if they are not.\n"
    ));
    for role in snapshot.roles() {
        if let Slot::Held { set, .. } = &**role.slot() {
            let left = set.left(now).as_secs();
            put(format_args!("alppaca_role_expiry_seconds{{role=\"{}\"}} {left}\n", role.name()));
        }
    }
    put(format_args!(
        "# TYPE alppaca_role_state stateset\n# HELP alppaca_role_state The state of a role; one of them is 1.\n"
    ));
    for role in snapshot.roles() {
        let current = shown(role.slot().state(now));
        for state in STATES {
            put(format_args!(
                "alppaca_role_state{{role=\"{}\",alppaca_role_state=\"{}\"}} {}\n",
                role.name(),
                state.as_str(),
                u8::from(state == current)
            ));
        }
    }
    put(format_args!("{}", of_upstreams(snapshot, refresh_stats)));
    put(format_args!(
        "# TYPE alppaca_on_demand_roles gauge\n\
         # HELP alppaca_on_demand_roles Roles that were made on demand, by state.\n"
    ));
    for state in STATES {
        let count = snapshot.unlisted().iter().filter(|role| shown(role.slot().state(now)) == state).count();
        put(format_args!("alppaca_on_demand_roles{{state=\"{}\"}} {count}\n", state.as_str()));
    }
    put(format_args!(
        "# TYPE alppaca_upstream_calls counter\n# HELP alppaca_upstream_calls Calls to upstreams, and how they ended.\n"
    ));
    for question in Question::ALL {
        for ending in Ending::ALL {
            let (what, how, total) = (question.as_str(), ending.as_str(), refresh_stats.total(question, ending));
            put(format_args!("alppaca_upstream_calls_total{{question=\"{what}\",outcome=\"{how}\"}} {total}\n"));
        }
    }
    put(format_args!(
        "# TYPE alppaca_requests counter\n# HELP alppaca_requests Requests for metadata and credentials.\n"
    ));
    for (face, version, status, count) in counters.answers().filter(|(.., count)| *count > 0) {
        put(format_args!(
            "alppaca_requests_total{{face=\"{face}\",version=\"{version}\",status=\"{status}\"}} {count}\n"
        ));
    }
    put(format_args!("# TYPE alppaca_denials counter\n# HELP alppaca_denials Requests that were refused, and why.\n"));
    for (denial, count) in counters.denials() {
        put(format_args!("alppaca_denials_total{{reason=\"{}\"}} {count}\n", denial.as_str()));
    }
    put(format_args!(
        "# TYPE alppaca_connections_ended counter\n\
         # HELP alppaca_connections_ended Connections that were ended before the client wanted it, and why.\n"
    ));
    for (why, count) in counters.connections_ended() {
        put(format_args!("alppaca_connections_ended_total{{reason=\"{}\"}} {count}\n", why.as_str()));
    }
    if let Some(Health { lost, failing, withheld }) = beside.audit {
        put(format_args!(
            "# TYPE alppaca_audit_lost counter\n\
             # HELP alppaca_audit_lost Hand-outs and denials of which no record could be written.\n\
             alppaca_audit_lost_total {lost}\n\
             # TYPE alppaca_audit_failing gauge\n\
             # HELP alppaca_audit_failing Whether records cannot be written now.\n\
             alppaca_audit_failing {}\n",
            u8::from(failing)
        ));
        if let Some(withheld) = withheld {
            put(format_args!(
                "# TYPE alppaca_audit_withheld counter\n\
                 # HELP alppaca_audit_withheld Hand-outs that were answered with 503: they could not be recorded.\n\
                 alppaca_audit_withheld_total {withheld}\n"
            ));
        }
    }
    text.push_str(&of_sign_ins(beside.sign_ins));
    text.push_str(&beside.sandbox.map(of_sandbox).unwrap_or_default());
    text.push_str("# EOF\n");
    text
}

/// For which sources a person has to sign in; nothing where none ever has to.
fn of_sign_ins(sign_ins: &[(String, Report)]) -> String {
    let mut text = String::new();
    text.push_str(
        "# TYPE alppaca_sign_in_needed gauge\n\
         # HELP alppaca_sign_in_needed Whether a person has to sign in before a source gives anything new.\n",
    );
    for (source, report) in sign_ins {
        let needed = u8::from(report.needed.is_some());
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "alppaca_sign_in_needed{{source=\"{}\"}} {needed}", label(source));
    }
    text
}

/// What of the confinement is in force.
fn of_sandbox(sandbox: &SandboxStatus) -> String {
    let SandboxStatus { mode, landlock, in_force, .. } = sandbox;
    let mut text = format!(
        "# TYPE alppaca_sandbox info\n# HELP alppaca_sandbox What `sandbox` says.\n\
         alppaca_sandbox_info{{mode=\"{mode}\"}} 1\n\
         # TYPE alppaca_sandbox_landlock_version gauge\n\
         # HELP alppaca_sandbox_landlock_version The version of Landlock that confines files and ports; 0 if they are not.\n\
         alppaca_sandbox_landlock_version {}\n\
         # TYPE alppaca_sandbox_in_force gauge\n# HELP alppaca_sandbox_in_force Whether a part of the confinement is in force.\n",
        landlock.unwrap_or_default()
    );
    for (part, is) in in_force {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "alppaca_sandbox_in_force{{part=\"{part}\"}} {}", u8::from(*is));
    }
    text
}

/// What the upstreams refuse, and when they last gave something.
fn of_upstreams(snapshot: &Snapshot, refresh_stats: &RefreshStats) -> String {
    let mut text = String::new();
    let mut put = |line: std::fmt::Arguments| {
        // Writing to a String cannot fail.
        let _infallible = text.write_fmt(line);
    };
    put(format_args!(
        "# TYPE alppaca_role_refused_since_timestamp_seconds gauge\n\
         # UNIT alppaca_role_refused_since_timestamp_seconds seconds\n\
         # HELP alppaca_role_refused_since_timestamp_seconds Since when the upstream refuses a role; absent if it does not.\n"
    ));
    for role in snapshot.roles() {
        if let Some(since) = refresh_stats.entry(role.name().as_str()).refused_since() {
            let (name, since) = (role.name(), since.as_second());
            put(format_args!("alppaca_role_refused_since_timestamp_seconds{{role=\"{name}\"}} {since}\n"));
        }
    }
    put(format_args!(
        "# TYPE alppaca_list_refused_since_timestamp_seconds gauge\n\
         # UNIT alppaca_list_refused_since_timestamp_seconds seconds\n\
         # HELP alppaca_list_refused_since_timestamp_seconds Since when the upstream refuses its list of roles; absent if it does \
         not.\n"
    ));
    if let Some(refusal) = refresh_stats.list_refusal() {
        put(format_args!("alppaca_list_refused_since_timestamp_seconds {}\n", refusal.since.as_second()));
    }
    if let Some(ahead) = refresh_stats.clock_ahead() {
        put(format_args!(
            "# TYPE alppaca_clock_ahead_seconds gauge\n# UNIT alppaca_clock_ahead_seconds seconds\n\
             # HELP alppaca_clock_ahead_seconds How far this host's clock is ahead of the upstream's, if it is a minute or more.\n\
             alppaca_clock_ahead_seconds {}\n",
            ahead.as_secs()
        ));
    }
    put(format_args!(
        "# TYPE alppaca_source_success_timestamp_seconds gauge\n\
         # UNIT alppaca_source_success_timestamp_seconds seconds\n\
         # HELP alppaca_source_success_timestamp_seconds When a source last gave credentials, or its list of roles.\n"
    ));
    for (source, at) in refresh_stats.successes() {
        let (source, at) = (label(&source), at.as_second());
        put(format_args!("alppaca_source_success_timestamp_seconds{{source=\"{source}\"}} {at}\n"));
    }
    put(format_args!(
        "# TYPE alppaca_client_certificate_expiration_timestamp_seconds gauge\n\
         # UNIT alppaca_client_certificate_expiration_timestamp_seconds seconds\n\
         # HELP alppaca_client_certificate_expiration_timestamp_seconds When the certificate ends with which a source is asked.\n"
    ));
    for (source, end) in refresh_stats.certificate_ends() {
        let (source, end) = (label(&source), end.as_second());
        put(format_args!("alppaca_client_certificate_expiration_timestamp_seconds{{source=\"{source}\"}} {end}\n"));
    }
    text
}

/// A text as the value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Shown as what it was before and will be after: a refresh is over in a moment.
pub(super) fn shown(state: RoleState) -> RoleState {
    match state {
        RoleState::Refreshing => RoleState::Fresh,
        state => state,
    }
}
