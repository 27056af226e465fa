//! `alppaca whoami` and `alppaca logout`: who has signed in, and how to end that.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Failure, Outcome,
    human::{self, Colour, Coloured},
    login::login_command,
    socket::{ANSWER_LIMIT, Socket, failure},
};
use crate::admin::{SignInStatus, SignInsDocument, SignOutRequest};

/// Arguments of `whoami`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 signed in everywhere, 1 not, 2 the command line is wrong, 3 no daemon answers.

Example:
  alppaca whoami --json | jq -r '.sign_ins[].name'")]
pub(super) struct Args {
    /// Print the daemon's own document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// Arguments of `logout`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The daemon forgets the tokens, has the provider revoke the refresh token where it can, and withdraws
the credentials. Programs that have fetched some keep them until they expire: AWS cannot take
them back.

Exit codes: 0 signed out, 1 failed, 2 the command line is wrong, 3 no daemon answers.")]
pub(super) struct LogoutArgs {
    /// The source to sign out for [default: the only one that is signed in]
    source: Option<String>,
    #[command(flatten)]
    socket: Socket,
}

/// Asks, and prints.
pub(super) fn run(args: &Args) -> Outcome {
    let client = args.socket.client();
    let answer = client.call("GET", "/v1/sign-in", b"", ANSWER_LIMIT).map_err(|error| failure(&error))?;
    let SignInsDocument { sign_ins } = client.document(&answer).map_err(|error| failure(&error))?;
    if args.json {
        let json: serde_json::Value = serde_json::from_slice(&answer.body).map_err(Failure::runtime)?;
        alppaca_command::println!("{json:#}");
    } else if sign_ins.is_empty() {
        alppaca_command::println!("No source of the daemon needs a sign-in.");
    } else {
        let needed = sign_ins.iter().filter(|status| status.needed.is_some()).count();
        for status in &sign_ins {
            tell(status, needed);
        }
    }
    if sign_ins.iter().any(|status| !status.signed_in) {
        return Err(Failure { code: 1, message: String::new() });
    }
    Ok(())
}

/// One sign-in, of which so many are `needed`.
fn tell(status: &SignInStatus, needed: usize) {
    let (source, issuer) = (human::foreign(&status.source), human::foreign(&status.issuer));
    match (&status.needed, &status.name) {
        (Some(reason), _) => {
            let what = Coloured(Colour::Yellow, "sign-in needed");
            let login = login_command(&source, needed);
            alppaca_command::println!("{source}: {what} at {issuer} ({}): run `{login}`", human::foreign(reason));
        }
        (None, name) => {
            let name = human::foreign(name.as_deref().unwrap_or("signed in"));
            alppaca_command::println!("{source}: {} at {issuer}", Coloured(Colour::Green, name));
        }
    }
    if let Some(until) = status.until.as_deref().filter(|_| status.needed.is_none()) {
        let then = if status.renewed { "then renewed" } else { "then you have to sign in again" };
        alppaca_command::println!("  until {until}{}, {then}", left(until));
    }
    if !status.groups.is_empty() {
        alppaca_command::println!("  groups: {}", human::foreign(&status.groups.join(", ")));
    }
    if let Some(problem) = status.problem.as_deref().filter(|_| status.needed.is_none()) {
        alppaca_command::println!("  {}", human::foreign(problem));
    }
}

/// How long that is.
fn left(until: &str) -> String {
    let now = crate::clock::Clock::now(&crate::clock::SystemClock).wall;
    let left =
        until.parse::<Timestamp>().ok().map(|until| until.duration_since(now).as_secs()).filter(|left| *left > 0);
    left.map(|left| format!(" (in {})", human::time(left.unsigned_abs()))).unwrap_or_default()
}

/// Signs out.
pub(super) fn logout(args: &LogoutArgs) -> Outcome {
    let client = args.socket.client();
    let body = serde_json::to_vec(&SignOutRequest { source: args.source.clone() }).map_err(Failure::runtime)?;
    let answer = client.call("POST", "/v1/sign-out", &body, Duration::from_secs(5)).map_err(|error| failure(&error))?;
    let _empty: serde_json::Value = client.document(&answer).map_err(|error| failure(&error))?;
    alppaca_command::println!("Signed out.");
    Ok(())
}
