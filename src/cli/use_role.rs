//! `alppaca use` and `alppaca me`: which role the programs of this user get by default.

use std::{io::IsTerminal, time::Duration};

use super::{
    Failure, Outcome, complete,
    console::duration,
    human::{self, foreign},
    pick::pick,
    socket::{ANSWER_LIMIT, NO_ROLE, NOT_NOW, Socket, failure, is_signed_out, sign_in_needed},
};
use crate::{
    admin::{ChoiceDocument, ChoiceRequest, Client, ClientError, Code, RoleStatus, RolesDocument},
    clock::{Clock, SystemClock},
};

/// How long one question waits at the daemon.
const TURN: u64 = 1;

/// Arguments of `use`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
ROLE is a name, ACCOUNT/NAME, an ARN, or a part of a name that only one role has. It is served first
to every program that runs as your user and asks 169.254.169.254 or names no role; nothing changes
for other users, and you get no role that you may not have. A program that runs already gets it with
its next set of credentials. The daemon remembers it, also when it is restarted.

--duration has each set of the role live that long, as the role allows. These sets are for your user
alone, until you choose again, and are renewed as others are. A role that is assumed (`role_arn`) or
that a site lists can have them; other upstreams say themselves how long their credentials live.

For one program or shell, several roles side by side: alppaca exec ROLE -- COMMAND.

Examples:
  alppaca use prod-admin
  alppaca use 123456789012/admin
  alppaca use deploy --duration 4h
  alppaca use -                  the one before
  alppaca use --reset            as without a choice; `alppaca me` is the same

Exit codes: 0 done, 1 failed, 2 the command line is wrong, 3 no daemon answers, 4 there is no such
role for you, 5 it has no valid credentials at the moment (the role that you had stays) or a
sign-in is needed, 6 several roles match.")]
pub(super) struct Args {
    /// The role, or `-` for the one before
    #[arg(required_unless_present = "reset", conflicts_with = "reset", allow_hyphen_values = true, add = complete::roles())]
    role: Option<String>,
    /// Go back to the default role
    #[arg(long)]
    reset: bool,
    /// How long each set of credentials lives, 15m to 12h; only for your user
    #[arg(long, value_name = "TIME", value_parser = duration, conflicts_with = "reset")]
    duration: Option<Duration>,
    #[command(flatten)]
    patience: Patience,
}

/// Arguments of `me`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The default role is the first that the policy or the upstream has for you. The same as
`alppaca use --reset`; `alppaca use -` brings the other one back.

Exit codes: those of `alppaca use`; 5 also if a sign-in is needed.")]
pub(super) struct MeArgs {
    #[command(flatten)]
    patience: Patience,
}

#[derive(Debug, clap::Args)]
struct Patience {
    /// How many seconds to wait for a role that has no valid credentials yet
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    #[command(flatten)]
    socket: Socket,
}

/// `alppaca use`.
pub(super) fn run(args: &Args) -> Outcome {
    let client = args.patience.socket.client();
    let request = match (args.role.as_deref(), args.duration) {
        (None, _) => ChoiceRequest::Default,
        (Some("-"), None) => ChoiceRequest::Back,
        (Some("-"), Some(_)) => return Err(Failure::usage("--duration needs a ROLE; `use -` has the one of before")),
        (Some(role), duration) => {
            let role = pick(&listed(&client)?.roles, role)?.name.clone();
            match duration {
                None => ChoiceRequest::Role(role),
                Some(duration) => ChoiceRequest::Timed { role, seconds: duration.as_secs() },
            }
        }
    };
    choose(&client, &request, args.patience.wait)
}

/// `alppaca me`.
pub(super) fn me(args: &MeArgs) -> Outcome {
    choose(&args.patience.socket.client(), &ChoiceRequest::Default, args.patience.wait)
}

/// What the user may have. It is an error if that is not known before the user signs in.
pub(super) fn listed(client: &Client) -> Result<RolesDocument, Failure> {
    let document: RolesDocument =
        client.get(&format!("/v1/roles?wait={TURN}"), ANSWER_LIMIT).map_err(|error| failure(&error))?;
    if document.roles.is_empty() && is_signed_out(client) {
        return Err(sign_in_needed());
    }
    Ok(document)
}

fn choose(client: &Client, request: &ChoiceRequest, patience: u64) -> Outcome {
    let body = serde_json::to_vec(request).map_err(Failure::runtime)?;
    let started = SystemClock.now().boot;
    let mut told = false;
    loop {
        let waited = SystemClock.now().boot.since(started).as_secs();
        let wait = TURN.min(patience.saturating_sub(waited));
        let answer = client.call("POST", &format!("/v1/choice?wait={wait}"), &body, ANSWER_LIMIT);
        let error = match answer.and_then(|answer| client.document::<ChoiceDocument>(&answer)) {
            Ok(document) => return tell(&document),
            Err(error) => error,
        };
        let comes = matches!(error, ClientError::Refused { code: Code::NotReady | Code::Expired, .. });
        if !comes || waited >= patience {
            return Err(why(client, request, &error));
        }
        if !std::mem::replace(&mut told, true) && std::io::stderr().is_terminal() {
            alppaca_command::eprintln!("{error}; waiting for up to {} …", human::time(patience));
        }
    }
}

/// The daemon's refusal, and what has gone wrong with that role.
fn why(client: &Client, request: &ChoiceRequest, error: &ClientError) -> Failure {
    let mut failure = failure(error);
    if let ChoiceRequest::Role(name) = request
        && failure.code == NOT_NOW
        && let Ok(document) = listed(client)
        && let Some(last) =
            document.roles.iter().find(|role| role.name == *name).and_then(|role| role.last_error.as_ref())
    {
        failure.message = format!("{}\n{} {}", failure.message, last.at, foreign(&last.message));
    }
    failure
}

fn tell(document: &ChoiceDocument) -> Outcome {
    match &document.role {
        Some(role) => {
            alppaca_command::println!("{}", line(role));
            Ok(())
        }
        None if document.sign_in_needed => Err(sign_in_needed()),
        None => Err(Failure { code: NO_ROLE, message: "there is no role for you".into() }),
    }
}

fn line(role: &RoleStatus) -> String {
    let account = role.account_id.as_deref().map(|id| format!(" (account {})", foreign(id))).unwrap_or_default();
    let left = match role.seconds_left {
        Some(left) if left > 0 => format!("valid for {}", human::time(left.unsigned_abs())),
        _ => role.state.clone(),
    };
    format!("{}{account}: {left}", foreign(&role.name))
}
