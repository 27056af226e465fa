//! `alppaca roles`: which roles this user may have.

use std::collections::BTreeMap;

use super::{
    Failure, Outcome,
    human::{self, Colour, Coloured, foreign, state_colour},
    pick::has_part,
    socket::{NO_ROLE, Socket},
    use_role::listed,
};
use crate::admin::{OwnSets, RoleStatus, RolesDocument};

/// Arguments of `roles`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The role that your programs get by default is marked with *; `alppaca use` chooses it.

Exit codes: 0 there is one, 1 failed, 2 the command line is wrong, 3 no daemon answers, 4 there is
none, 5 a sign-in is needed.

Examples:
  alppaca roles
  alppaca roles admin
  alppaca roles --json | jq -r '.roles[].name'")]
pub(super) struct Args {
    /// Only roles with this in their name, or in an account whose number begins with it
    part: Option<String>,
    /// Print the daemon's own document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    socket: Socket,
}

/// Asks, and prints.
pub(super) fn run(args: &Args) -> Outcome {
    let mut document = listed(&args.socket.client())?;
    let first = document.roles.first().map(|role| role.name.clone());
    if let Some(part) = &args.part {
        document.roles.retain(|role| has_part(role, part));
    }
    if args.json {
        alppaca_command::println!("{}", serde_json::to_string_pretty(&document).map_err(Failure::runtime)?);
    } else {
        alppaca_command::print!("{}", text(&document, first.as_deref()));
    }
    if document.roles.is_empty() {
        let message = match (&first, &args.part) {
            (Some(_), Some(part)) => format!("none of your roles has {} in its name", foreign(part)),
            _ => "there is no role for you".to_owned(),
        };
        return Err(Failure { code: NO_ROLE, message });
    }
    Ok(())
}

fn text(document: &RolesDocument, first: Option<&str>) -> String {
    // Accounts in the order of their numbers, those that are not known last.
    let mut accounts: BTreeMap<(bool, &str), Vec<&RoleStatus>> = BTreeMap::new();
    for role in &document.roles {
        let account = role.account_id.as_deref();
        accounts.entry((account.is_none(), account.unwrap_or_default())).or_default().push(role);
    }
    let width = document.roles.iter().map(|role| foreign(&role.name).chars().count()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for ((unknown, account), roles) in accounts {
        let title = if unknown { "account unknown".to_owned() } else { format!("account {}", foreign(account)) };
        lines.push(Coloured(Colour::Dim, title).to_string());
        for role in roles {
            let mark = if first == Some(role.name.as_str()) { '*' } else { ' ' };
            let left = match role.seconds_left {
                Some(left) if left > 0 => human::time(left.unsigned_abs()),
                _ => "-".to_owned(),
            };
            let state = Coloured(state_colour(&role.state), format!("{:10}", role.state));
            lines.push(format!("{mark} {:width$}  {state}  {left}", foreign(&role.name)));
        }
    }
    if let Some(chosen) = document.chosen.as_deref().filter(|chosen| Some(*chosen) != first) {
        lines.push(format!("You have chosen {}, which is not there at the moment.", foreign(chosen)));
    }
    if let Some(OwnSets { seconds, served: false, problem }) = &document.own {
        let why = problem.as_deref().map(|problem| format!(": {}", foreign(problem))).unwrap_or_default();
        let life = human::time(*seconds);
        let role = document.chosen.as_deref().map(foreign).unwrap_or_default();
        lines.push(format!("Your own sets of {role}, for {life}, cannot be had; those of all users are served{why}"));
    }
    lines.push(String::new());
    lines.join("\n")
}
