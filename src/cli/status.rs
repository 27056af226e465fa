//! `alppaca status`: how the daemon and its roles are.

mod nagios;
mod watch;

use std::{fmt::Write, path::PathBuf, time::Duration};

use jiff::SignedDuration;
use rustix::process::geteuid;

use super::{
    Failure, Outcome,
    human::{self, Colour, Coloured},
    login::login_command,
    socket::{self, ANSWER_LIMIT, Socket, failure},
};
use crate::{
    admin::{
        Answered, ChosenBy, Client, FileStatus, ListRefused, RoleStatus, SandboxStatus, ServiceAccountsStatus,
        SignInNeeded, Status,
    },
    refresh::clock_difference,
};

const RELOAD_REFUSED: &str = "the last reload was refused, so an older configuration is in force";

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
States: idle (fetched when a program asks for it), warming (no credentials yet), fresh, refreshing
(a newer set is being fetched), stale (the last refresh failed; the set is still valid), expired,
denied (the upstream refuses the role), withdrawn (the upstream no longer lists it). Root, the
daemon's own account and the members of `admin_group` see all roles; others see those that are for
them.

Exit codes: 0 every role has valid credentials or is idle, 1 not every one is (or there is none),
3 no daemon answers. With --nagios: 0 OK, 1 WARNING (something needs a person, but programs have
credentials), 2 CRITICAL (some role has none, or no daemon answers), 3 UNKNOWN (the configuration
is wrong).

Examples:
  alppaca status
  alppaca status --watch
  alppaca status --nagios
  alppaca status --json | jq -r '.roles[] | select(.state != \"fresh\") | .name'")]
pub(super) struct Args {
    #[command(flatten)]
    socket: Socket,
    /// Ask the daemon that runs with this configuration: a YAML file, or a directory of them
    #[arg(short, long, value_name = "PATH", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Print the daemon's own document
    #[arg(long)]
    json: bool,
    /// Draw it again and again on a terminal, every two seconds or as often as this says
    #[arg(
        short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "json"
    )]
    watch: Option<u32>,
    /// One line with performance data, and the exit codes of Nagios and its successors
    #[arg(long, conflicts_with_all = ["json", "watch"])]
    nagios: bool,
}

/// Asks, and prints.
pub(super) fn run(args: &Args) -> Outcome {
    let client = match &args.config {
        Some(path) => socket::of_configuration(path),
        None => Ok(args.socket.client()),
    };
    if args.nagios {
        return nagios(client);
    }
    let client = client?;
    if let Some(seconds) = args.watch {
        let shown = || ask(&client).map_or_else(|failure| failure.message, |(status, _)| text(&status));
        return watch::run(Duration::from_secs(seconds.into()), shown);
    }
    let (status, answer) = ask(&client)?;
    if args.json {
        let json: serde_json::Value = serde_json::from_slice(&answer.body).map_err(Failure::runtime)?;
        alppaca_command::println!("{json:#}");
    } else {
        alppaca_command::print!("{}", text(&status));
    }
    if !status.roles.is_empty() && status.roles.iter().all(nagios::is_valid) {
        Ok(())
    } else {
        Err(Failure { code: 1, message: String::new() })
    }
}

/// The status, and its document as it came.
fn ask(client: &Client) -> Result<(Status, Answered), Failure> {
    // It may have to be found out first which roles are for this user.
    let answer = client.call("GET", "/v1/status?wait=1", b"", ANSWER_LIMIT).map_err(|error| failure(&error))?;
    let status = client.document(&answer).map_err(|error| failure(&error))?;
    Ok((status, answer))
}

fn nagios(client: Result<Client, Failure>) -> Outcome {
    let (level, line) = match client {
        Ok(client) => ask(&client)
            .map_or_else(|failure| nagios::unreachable(&failure.message), |(status, _)| nagios::check(&status)),
        Err(failure) => nagios::unknown(&failure.message),
    };
    alppaca_command::println!("{line}");
    match level as u8 {
        0 => Ok(()),
        code => Err(Failure { code, message: String::new() }),
    }
}

fn text(status: &Status) -> String {
    let Status { version, pid, uptime_seconds, listeners, roles, .. } = status;
    let mut text = format!("alppaca {version}, process {pid}, running for {}\n", human::time(*uptime_seconds));
    let mut line = |line: std::fmt::Arguments| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{line}");
    };
    for listener in listeners {
        line(format_args!("serves {} at {}", listener.face, listener.address));
    }
    for place in &status.status_page {
        line(format_args!("status page at {}", human::foreign(place)));
    }
    if status.reload_refused {
        line(format_args!("{RELOAD_REFUSED} (`alppaca check`, or the log, says why)"));
    }
    if status.unverified_containers > 0 {
        line(format_args!("{}", unverified(status.unverified_containers)));
    }
    if let Some(accounts) = &status.service_accounts {
        line(format_args!("{}", followed(accounts)));
    }
    if let Some(ahead) = status.clock_ahead_seconds {
        line(format_args!("{}", clock_difference(SignedDuration::from_secs(ahead))));
    }
    if let Some(audit) = status.audit.as_ref().filter(|audit| audit.failing) {
        let effect = match audit.withheld {
            Some(withheld) => format!("no credentials are handed out ({withheld} request(s) so far)"),
            None => format!("{} event(s) are lost so far", audit.lost),
        };
        line(format_args!("the audit cannot be written: {effect}"));
    }
    if let Some(sandbox) = &status.sandbox {
        line(format_args!("sandbox: {}", confined(sandbox)));
    }
    for file in &status.files {
        line(format_args!("{}", of_file(file)));
    }
    if let Some(refused) = &status.list_refused {
        let ListRefused { since, message } = refused;
        let message = message.as_deref().map(|message| format!(": {}", human::foreign(message))).unwrap_or_default();
        line(format_args!("the upstream has refused its role list since {since}{message}"));
    }
    for SignInNeeded { source, reason } in &status.sign_in_needed {
        let reason = reason.as_deref().map(|reason| format!(" ({})", human::foreign(reason))).unwrap_or_default();
        let what = Coloured(Colour::Yellow, "sign-in needed");
        let source = human::foreign(source);
        let login = login_command(&source, status.sign_in_needed.len());
        line(format_args!("{what} for {source}{reason}: run `{login}`"));
    }
    if roles.is_empty() {
        let why = if status.answered { "There is no role for you." } else { "The upstream has not answered yet." };
        line(format_args!("\n{why}"));
        return text;
    }
    let rows: Vec<[String; 6]> = roles.iter().map(row).collect();
    let titles = ["ROLE", "STATE", "SINCE", "ACCESS KEY", "EXPIRES", "SOURCE"];
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([titles.get(column).map_or(0, |title| title.len())]).max().unwrap_or_default()
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let pad = |cells: [&str; 6]| -> [String; 6] {
        std::array::from_fn(|column| format!("{:width$}", cells[column], width = widths[column]))
    };
    line(format_args!("\n{}", pad(titles).join("  ").trim_end()));
    for (role, row) in roles.iter().zip(&rows) {
        let [name, state, rest @ ..] = pad(row.each_ref().map(String::as_str));
        line(format_args!(
            "{name}  {}  {}",
            Coloured(human::state_colour(&role.state), state),
            rest.join("  ").trim_end()
        ));
        if let Some(since) = &role.refused_since {
            line(format_args!("  refused by the upstream since {}", Coloured(Colour::Dim, since)));
        }
        if let Some(error) = &role.last_error {
            line(format_args!("  {} {}", Coloured(Colour::Dim, &error.at), human::foreign(&error.message)));
        }
    }
    text
}

/// What `status` and `doctor` say of the confinement.
pub(super) fn confined(sandbox: &SandboxStatus) -> String {
    if let Some(summary) = &sandbox.summary {
        return human::foreign(summary);
    }
    let missing: Vec<&str> = sandbox.in_force.iter().filter(|(_, is)| !**is).map(|(part, _)| part.as_str()).collect();
    let without = if missing.is_empty() { String::new() } else { format!(", without {}", missing.join(", ")) };
    human::foreign(&format!("{}{without}", sandbox.mode))
}

/// What `status` and `doctor` say of the service accounts of a cluster.
pub(super) fn followed(status: &ServiceAccountsStatus) -> String {
    let ServiceAccountsStatus { synced, following, accounts, left_out, problem, .. } = status;
    let mut text = match (synced, following) {
        (None, _) => "service accounts: not known yet".to_owned(),
        (Some(_), true) => format!("service accounts: {accounts} ask for a role"),
        (Some(synced), false) => format!("service accounts: {accounts} ask for a role, as known at {synced}"),
    };
    if *left_out > 0 {
        text.extend([", and ", &left_out.to_string(), " more than are kept"]);
    }
    if let Some(problem) = problem {
        text.extend([": ", &human::foreign(problem)]);
    }
    text
}

fn of_file(file: &FileStatus) -> String {
    let FileStatus { path, roles, state, success, error, command_error, .. } = file;
    let since = success.as_ref().map(|at| format!(" at {at}")).unwrap_or_default();
    let how = match (&**state, error) {
        ("written", _) => format!("written, checked{since}"),
        ("absent", _) => "not there: there are no valid credentials".to_owned(),
        (state, error) => format!("{state}: {}", error.as_deref().unwrap_or_default()),
    };
    let command = command_error.as_deref().map(|error| format!("; the command after the change failed: {error}"));
    human::foreign(&format!("file {path} ({roles}) {how}{}", command.unwrap_or_default()))
}

/// What `status` and `doctor` say of so many containers.
pub(super) fn unverified(count: usize) -> String {
    format!("{count} container(s) get no credentials: the daemon cannot verify that their first process runs")
}

/// With the session that a pod has for itself; or with how long its sets live, and for whom they are, where that is one user's
/// choice.
fn name(role: &RoleStatus) -> String {
    let session = role.session_name.as_ref().map(|name| human::foreign(&format!(" ({name})")));
    let own = role.chosen_by.as_ref().map(|ChosenBy { uid, seconds }| {
        let user = if *uid == geteuid().as_raw() { String::new() } else { format!(", user {uid}") };
        format!(" ({}{user})", human::time(*seconds))
    });
    human::foreign(&role.name) + &session.or(own).unwrap_or_default()
}

fn row(role: &RoleStatus) -> [String; 6] {
    let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), human::foreign);
    let expires = match role.seconds_left {
        Some(left) if left > 0 => format!("in {}", human::time(left.unsigned_abs())),
        Some(left) => format!("{} ago", human::time(left.unsigned_abs())),
        None => "-".to_owned(),
    };
    [name(role), role.state.clone(), or_dash(&role.since), or_dash(&role.access_key_id), expires, or_dash(&role.source)]
}
