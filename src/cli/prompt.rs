//! `alppaca prompt`: the role in use, for the prompt of a shell. Never late, never an error.

use std::{io::Write, sync::mpsc, thread, time::Duration};

use super::{
    human::{self, foreign},
    socket::Socket,
};
use crate::admin::ChoiceDocument;

/// A prompt that waits longer than this is felt.
const PATIENCE: Duration = Duration::from_millis(100);

/// Arguments of `prompt`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
One line: the role that your programs get by default, and how long its credentials are valid; or why
they are not. Without a daemon, without a role, or if the daemon does not answer within 0.1 s, it
prints nothing. The exit code is always 0.

Examples:
  PS1='$(alppaca prompt) '\"$PS1\"                             # bash
  setopt prompt_subst; PROMPT='$(alppaca prompt) '\"$PROMPT\"   # zsh
  function fish_right_prompt; alppaca prompt; end             # fish")]
pub(super) struct Args {
    #[command(flatten)]
    socket: Socket,
}

/// Asks, and prints.
pub(super) fn run(args: &Args) {
    let client = args.socket.client();
    let (tell, told) = mpsc::channel();
    // By another thread: even the connection to a daemon that hangs may take for ever.
    let asking = thread::Builder::new().spawn(move || {
        let document = client.get::<ChoiceDocument>("/v1/choice", PATIENCE);
        // Too late, there is nobody to tell.
        let _late = tell.send(document.ok());
    });
    let document = asking.ok().and_then(|_thread| told.recv_timeout(PATIENCE).ok().flatten());
    if let Some(line) = document.as_ref().and_then(line) {
        // Output that cannot be written is no error either.
        let _unheard = writeln!(anstream::stdout(), "{line}");
    }
}

fn line(document: &ChoiceDocument) -> Option<String> {
    let role = document.role.as_ref().map(|role| {
        let standing = match role.seconds_left {
            Some(left) if left > 0 => human::time(left.unsigned_abs()),
            _ => role.state.clone(),
        };
        format!("{} {standing}", foreign(&role.name))
    });
    let needed = document.sign_in_needed.then(|| "sign-in needed".to_owned());
    let parts: Vec<String> = role.into_iter().chain(needed).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::RoleStatus;

    #[test]
    fn a_line_says_what_is_there_and_what_is_needed() {
        let role = |left| {
            let json = serde_json::json!({"name": "web", "on_demand": false, "state": "expired", "seconds_left": left});
            serde_json::from_value::<RoleStatus>(json).expect("a role")
        };
        let said = |role, sign_in_needed| line(&ChoiceDocument { chosen: None, role, sign_in_needed });
        assert_eq!(said(None, false), None);
        assert_eq!(said(Some(role(Some(2900))), false).as_deref(), Some("web 48m"));
        assert_eq!(said(Some(role(Some(-3))), true).as_deref(), Some("web expired, sign-in needed"));
        assert_eq!(said(None, true).as_deref(), Some("sign-in needed"));
    }
}
