//! Asks the endpoint as an SDK would, and judges what comes back.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use super::{
    finding::Finding,
    reach::{self, unreachable, way},
    rules::shown,
};
use crate::{
    admin::Status,
    cli::{
        human,
        sdk::Variables,
        wire::{Heard, ask},
    },
    clock::{Clock, SystemClock},
    credentials::{Secret, parse_document},
    refresh::clock_difference,
};

/// SDKs want so much life left in every answer; botocore says so in its log below it, and asks again and again.
const ENOUGH: i64 = 25 * 60;
/// The SDK for Go waits so long for the first byte, others wait twice that.
const SLOW: Duration = Duration::from_millis(500);
/// AWS refuses signatures whose time is 5 minutes off.
const SKEW: i64 = 240;
const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// Asks IMDS at `base`. `daemon`: what the daemon says of itself, if one answers.
pub(super) fn imds(base: &str, daemon: Option<&Status>, findings: &mut Vec<Finding>) {
    let put = ask("PUT", &format!("{base}/latest/api/token"), &[("X-aws-ec2-metadata-token-ttl-seconds", "60")]);
    let put = match put {
        Ok(put) => put,
        Err(error) => return findings.push(unreachable(base, &error, daemon)),
    };
    answerer(base, daemon, findings);
    pace(&put, findings);
    clock(&put, findings);
    let token = match (put.status, put.header("x-aws-ec2-metadata-token-ttl-seconds")) {
        (200, Some(_)) => {
            findings.push(Finding::good("protocol", format!("IMDSv2 at {}", shown(base))));
            Some(Secret::new(put.body.trim()))
        }
        (200, None) => {
            findings.push(Finding::problem(
                "protocol",
                "the token comes without its TTL (X-Aws-Ec2-Metadata-Token-Ttl-Seconds), which the SDKs for Rust and \
                 Go need",
                "make alppaca answer here, or contact the operator of this server",
            ));
            Some(Secret::new(put.body.trim()))
        }
        (status, _) => {
            findings.push(Finding::note(
                "protocol",
                format!("no IMDSv2: the request for a token gets {status}, so SDKs try IMDSv1 or give up"),
                "see the daemon's log for this request",
            ));
            None
        }
    };
    let get = |path: &str, token: Option<&Secret>| {
        let lines: Vec<(&str, &str)> = token.iter().map(|token| ("X-aws-ec2-metadata-token", token.expose())).collect();
        ask("GET", &format!("{base}{path}"), &lines)
    };
    if get(ROLES, None).is_ok_and(|heard| heard.status == 401) {
        findings.push(Finding::note("protocol", "requests without a token are refused: IMDSv1 is off", ""));
    }
    let role = match get(ROLES, token.as_ref()) {
        Ok(heard) if heard.status == 200 => match heard.body.lines().collect::<Vec<_>>()[..] {
            [role] => role.to_owned(),
            [] => return findings.push(Finding::problem("role", "the list of roles is empty", no_role(daemon))),
            [first, ..] => {
                findings.push(Finding::problem(
                    "role",
                    "several roles are listed; most SDKs take the whole list for one name",
                    "set `list_roles: first` in the daemon's configuration",
                ));
                first.to_owned()
            }
        },
        Ok(heard) if heard.status == 404 => {
            return findings.push(Finding::problem(
                "role",
                "there is no role here for this user (404)",
                no_role(daemon),
            ));
        }
        Ok(heard) => return findings.push(Finding::problem("role", unexpected(heard.status), no_role(daemon))),
        Err(error) => return findings.push(unreachable(base, &error, daemon)),
    };
    match get(&format!("{ROLES}{role}"), token.as_ref()) {
        Ok(heard) => document(&role, &heard, findings),
        Err(error) => findings.push(unreachable(base, &error, daemon)),
    }
    findings.push(match get("/latest/meta-data/placement/region", token.as_ref()) {
        Ok(heard) if heard.status == 200 => Finding::good("region", format!("the region is {}", &*heard.body)),
        _ => Finding::note(
            "region",
            "the metadata has no region, so a program needs AWS_REGION or a profile with one",
            "set `metadata: {region: …}` in the daemon's configuration",
        ),
    });
}

/// Asks the container endpoint at `url`.
pub(super) fn container(url: &str, variables: &Variables, daemon: Option<&Status>, findings: &mut Vec<Finding>) {
    if url.starts_with("https:") {
        findings.push(Finding::note("reach", format!("{} uses https, which is not tried here", shown(url)), ""));
        return;
    }
    // The file goes before the variable.
    let file =
        variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").and_then(|file| std::fs::read_to_string(file).ok());
    let token = file.or_else(|| variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(ToOwned::to_owned));
    let token = token.map(Zeroizing::new);
    let lines: Vec<(&str, &str)> = token.iter().map(|token| ("Authorization", token.trim())).collect();
    match ask("GET", url, &lines) {
        Ok(heard) => {
            pace(&heard, findings);
            clock(&heard, findings);
            match heard.status {
                200 => {
                    findings.push(Finding::good("protocol", format!("container credentials at {}", shown(url))));
                    document("of the container", &heard, findings);
                }
                401 => findings.push(Finding::problem(
                    "token",
                    "the token is not, or no longer, valid (401)",
                    "start the program again with `alppaca exec`, or check its token file",
                )),
                status => findings.push(Finding::problem("role", unexpected(status), no_role(daemon))),
            }
        }
        Err(error) => findings.push(unreachable(url, &error, daemon)),
    }
}

/// Says if it is somebody else who answers.
fn answerer(base: &str, daemon: Option<&Status>, findings: &mut Vec<Finding>) {
    if let Ok(heard) = ask("GET", &format!("{base}/"), &[("X-Alppaca-Probe", "1")])
        && heard.header("x-alppaca-pid").is_none()
    {
        let server = heard.header("server").unwrap_or("unknown").to_owned();
        let way = reach::suffix(way(base).as_ref());
        findings.push(Finding::note(
            "answerer",
            format!("a server other than alppaca answers at {} (Server: {server}){way}", shown(base)),
            format!(
                "`alppaca capture check` shows what is captured; to capture it: {}; on EC2 this is EC2's own",
                reach::capture(daemon, true)
            ),
        ));
    }
}

fn pace(heard: &Heard, findings: &mut Vec<Finding>) {
    if heard.took > SLOW {
        findings.push(Finding::problem(
            "pace",
            format!("the answer took {:?}; the SDK for Go waits 500 ms, most others 1 s", heard.took),
            "look for load on this host, or for a proxy or firewall in between",
        ));
    }
}

fn clock(heard: &Heard, findings: &mut Vec<Finding>) {
    let Some(theirs) = heard.header("date").and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else { return };
    let skew = theirs.timestamp().duration_since(SystemClock.now().wall).as_secs();
    if skew.abs() > SKEW {
        findings.push(Finding::problem(
            "clock",
            format!(
                "this clock and the server's are {} apart; AWS refuses signatures that are 5 minutes off",
                human::time(skew.unsigned_abs())
            ),
            "set the clock, for example with chrony or systemd-timesyncd",
        ));
    }
}

/// What the daemon knows of the clock of its upstream.
pub(super) fn upstreams_clock(ahead: i64) -> Finding {
    let difference = clock_difference(SignedDuration::from_secs(ahead));
    Finding::problem(
        "clock",
        format!("{difference}; credentials expire too early, or seem valid after they have expired"),
        "set the clock, for example with chrony or systemd-timesyncd",
    )
}

fn document(role: &str, heard: &Heard, findings: &mut Vec<Finding>) {
    let remedy = "`alppaca status` shows why";
    if heard.status != 200 {
        findings.push(Finding::problem("fresh", format!("role {role}: {}", unexpected(heard.status)), remedy));
        return;
    }
    let now: Timestamp = SystemClock.now().wall;
    let set = match parse_document(heard.body.as_bytes()) {
        Ok(set) => set,
        Err(error) => {
            findings.push(Finding::problem(
                "fresh",
                format!("role {role}: {}", human::foreign(&error.to_string())),
                remedy,
            ));
            return;
        }
    };
    let left = set.expiration.duration_since(now).as_secs();
    let key = human::foreign(&set.access_key_id);
    let time = human::time(left.unsigned_abs());
    let updated = set.last_updated.filter(|updated| updated.duration_since(now).as_secs() > SKEW);
    findings.push(match left {
        ..=0 => Finding::problem("fresh", format!("role {role}: {key} expired {time} ago"), remedy),
        1..ENOUGH => Finding::note(
            "fresh",
            format!("role {role}: {key}, valid for only {time} more; SDKs want 25 minutes"),
            "make the upstream issue longer-lived credentials, if it can",
        ),
        _ => Finding::good("fresh", format!("role {role}: {key}, valid for {time} more")),
    });
    if updated.is_some() {
        findings.push(Finding::problem(
            "clock",
            "the credentials were made in the future: this host's clock is behind",
            "set the clock, for example with chrony or systemd-timesyncd",
        ));
    }
}

fn unexpected(status: u16) -> String {
    match status {
        503 => "there are no valid credentials at the moment (503)".to_owned(),
        status => format!("the answer is {status}"),
    }
}

fn no_role(daemon: Option<&Status>) -> &'static str {
    match daemon {
        Some(_) => "`alppaca status` shows the roles for you; the policy or the upstream decides which these are",
        None => "see the daemon's log",
    }
}
