//! `alppaca prompt`: the role in use, for the prompt of a shell. Never late, never an error.

use std::{sync::mpsc, thread, time::Duration};

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
prints nothing. The exit code is always 0. For zsh, fish and starship see docs/prompt.md.

Examples:
  PS1='$(alppaca prompt) '\"$PS1\"")]
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
        anstream::println!("{line}");
    }
}

fn line(document: &ChoiceDocument) -> Option<String> {
    let role = document.role.as_ref()?;
    let standing = match role.seconds_left {
        Some(left) if left > 0 => human::time(left.unsigned_abs()),
        _ => role.state.clone(),
    };
    Some(format!("{} {}", foreign(&role.name), standing))
}
