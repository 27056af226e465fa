//! The daemon's state as a check of Nagios and its successors: one line, performance data, and their exit codes.
//!
//! <https://www.monitoring-plugins.org/doc/guidelines.html>

use std::fmt;

use crate::{
    admin::{RoleStatus, Status},
    cli::human,
};

/// How things are; the number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Ok = 0,
    /// Programs have credentials, but a person should look.
    Warning = 1,
    /// Some program has none.
    Critical = 2,
    /// It could not be found out.
    Unknown = 3,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        })
    }
}

/// The level and the line.
pub(super) fn check(status: &Status) -> (Level, String) {
    let problems = problems(status);
    let level = problems.iter().map(|(level, _)| *level).max().unwrap_or(Level::Ok);
    let text = if problems.is_empty() {
        let idle = status.roles.iter().filter(|role| role.state == "idle").count();
        let idle = if idle == 0 { String::new() } else { format!(", {idle} of them idle") };
        format!("{} role(s) with valid credentials{idle}", status.roles.len())
    } else {
        // The worst first, and in the daemon's order.
        let mut problems = problems;
        problems.sort_by_key(|(level, _)| std::cmp::Reverse(*level));
        problems.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ")
    };
    (level, line(level, &text, &performance(status)))
}

/// Those of a daemon that does not answer, so that no program gets anything.
pub(super) fn unreachable(why: &str) -> (Level, String) {
    (Level::Critical, line(Level::Critical, why, ""))
}

/// Those where it cannot be said which daemon is meant.
pub(super) fn unknown(why: &str) -> (Level, String) {
    (Level::Unknown, line(Level::Unknown, why, ""))
}

fn line(level: Level, text: &str, performance: &str) -> String {
    // A bar would begin the performance data.
    let text = human::foreign(text).replace('|', "/");
    let separator = if performance.is_empty() { "" } else { " | " };
    format!("ALPPACA {level} - {text}{separator}{performance}")
}

fn problems(status: &Status) -> Vec<(Level, String)> {
    use Level::{Critical, Warning};
    let mut problems = Vec::new();
    if status.roles.is_empty() {
        let why = if status.answered { "there is no role" } else { "the upstream has not answered yet" };
        problems.push((Critical, why.to_owned()));
    }
    for role in &status.roles {
        let (name, state) = (super::name(role), &role.state);
        let error = role.last_error.as_ref().map(|error| format!(" ({})", error.message)).unwrap_or_default();
        if !is_valid(role) {
            problems.push((Critical, format!("{name} is {state}{error}")));
        } else if state == "stale" || role.refused_since.is_some() {
            let left = role.seconds_left.unwrap_or_default().unsigned_abs();
            problems.push((Warning, format!("{name} cannot be renewed, {} left{error}", human::time(left))));
        }
    }
    if let Some(audit) = status.audit.as_ref().filter(|audit| audit.failing) {
        let level = if audit.withheld.is_some() { Critical } else { Warning };
        problems.push((level, "the audit cannot be written".to_owned()));
    }
    if status.reload_refused {
        problems.push((Warning, super::RELOAD_REFUSED.to_owned()));
    }
    if let Some(refused) = &status.list_refused {
        problems.push((Warning, format!("the upstream has refused its role list since {}", refused.since)));
    }
    for needed in &status.sign_in_needed {
        problems.push((Warning, format!("sign-in needed for {}", needed.source)));
    }
    for file in &status.files {
        if let Some(error) = &file.error {
            problems.push((Warning, format!("file {}: {error}", file.path)));
        }
        if let Some(error) = &file.command_error {
            problems.push((Warning, format!("file {}: the command after a change failed: {error}", file.path)));
        }
    }
    if status.unverified_containers > 0 {
        problems.push((Warning, super::unverified(status.unverified_containers)));
    }
    if let Some(accounts) = status.service_accounts.as_ref().filter(|accounts| !accounts.following) {
        let level = if accounts.synced.is_none() { Critical } else { Warning };
        problems.push((level, super::followed(accounts)));
    }
    if let Some(ahead) = status.clock_ahead_seconds {
        problems.push((Warning, format!("this host's clock differs from the upstream's by {ahead} s")));
    }
    problems
}

/// Whether programs get something for it.
pub(super) fn is_valid(role: &RoleStatus) -> bool {
    role.state == "idle" || role.seconds_left.is_some_and(|left| left > 0)
}

fn performance(status: &Status) -> String {
    let count = |is: &dyn Fn(&&RoleStatus) -> bool| status.roles.iter().filter(is).count();
    let (valid, stale) = (count(&|role| is_valid(role)), count(&|role| role.state == "stale"));
    let mut data = format!("roles={};;;0 valid={valid};;;0 stale={stale};;;0", status.roles.len());
    if let Some(soonest) = status.roles.iter().filter_map(|role| role.seconds_left).min() {
        data.extend([" expires_in=", &soonest.max(0).to_string(), "s"]);
    }
    if let Some(audit) = &status.audit {
        data.extend([" audit_lost=", &audit.lost.to_string(), "c"]);
    }
    data
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn role(name: &str, state: &str, left: Option<i64>) -> serde_json::Value {
        json!({"name": name, "on_demand": false, "state": state, "seconds_left": left})
    }

    fn status(roles: &[serde_json::Value], more: &serde_json::Value) -> Status {
        let mut status = json!({"version": "1", "pid": 1, "started": "x", "uptime_seconds": 1, "answered": true,
            "listeners": [], "roles": roles});
        let entries = more.as_object().expect("a mapping").clone();
        status.as_object_mut().expect("a mapping").extend(entries);
        serde_json::from_value(status).expect("a status")
    }

    #[test]
    fn all_is_well_with_valid_and_idle_roles() {
        let status = status(&[role("web", "fresh", Some(2520)), role("batch", "idle", None)], &json!({}));
        let (level, line) = check(&status);
        assert_eq!(level, Level::Ok);
        assert_eq!(
            line,
            "ALPPACA OK - 2 role(s) with valid credentials, 1 of them idle | \
             roles=2;;;0 valid=2;;;0 stale=0;;;0 expires_in=2520s"
        );
    }

    #[test]
    fn what_still_works_is_a_warning_and_what_does_not_is_critical() {
        let stale = role("a|b", "stale", Some(60));
        let cases = [
            (vec![stale.clone()], json!({}), Level::Warning, "a/b cannot be renewed, 1m left"),
            (vec![stale, role("web", "expired", Some(-5))], json!({}), Level::Critical, "web is expired; a/b cannot"),
            (vec![role("web", "denied", None)], json!({}), Level::Critical, "web is denied"),
            (
                vec![json!({"name": "web", "on_demand": true, "session_name": "prod+web+web-0", "state": "denied"})],
                json!({}),
                Level::Critical,
                "web (prod+web+web-0) is denied",
            ),
            (vec![], json!({}), Level::Critical, "there is no role"),
            (vec![], json!({"answered": false}), Level::Critical, "has not answered yet"),
            (
                vec![role("web", "fresh", Some(60))],
                json!({"audit": {"lost": 3, "failing": true, "withheld": null}}),
                Level::Warning,
                "the audit cannot be written | roles=1;;;0 valid=1;;;0 stale=0;;;0 expires_in=60s audit_lost=3c",
            ),
            (
                vec![role("web", "fresh", Some(60))],
                json!({"audit": {"lost": 0, "failing": true, "withheld": 2}}),
                Level::Critical,
                "the audit cannot be written",
            ),
            (
                vec![role("web", "fresh", Some(60))],
                json!({"sign_in_needed": [{"source": "corp", "reason": null}]}),
                Level::Warning,
                "sign-in needed for corp",
            ),
            (
                vec![role("web", "fresh", Some(60))],
                json!({"reload_refused": true}),
                Level::Warning,
                "the last reload was refused",
            ),
        ];
        for (roles, more, level, part) in cases {
            let (found, line) = check(&status(&roles, &more));
            assert!(found == level && line.contains(part), "{line}");
            assert_eq!(line.matches('|').count(), 1, "{line}");
        }
    }
}
