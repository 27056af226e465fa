//! Completion in a shell: the shell runs this program for each word, so the names of roles are those of the daemon now.

use std::{io, time::Duration};

use alppaca_command::generate::What;
use clap_complete::{
    engine::{ArgValueCandidates, CompletionCandidate},
    env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh},
};

use super::{
    human::{self, foreign},
    socket,
};
use crate::admin::{RoleStatus, RolesDocument};

/// Says that a shell asks, and which.
const VARIABLE: &str = "_ALPPACA_COMPLETE";
/// A person waits for this.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers a shell that asks, and ends; otherwise does nothing.
pub(super) fn answer(command: fn() -> clap::Command) {
    CompleteEnv::with_factory(command).var(VARIABLE).complete();
}

/// What a shell reads to ask; `None` if it is not one that does.
pub(super) fn script(shell: What) -> Option<io::Result<Vec<u8>>> {
    let completer: &dyn EnvCompleter = match shell {
        What::Bash => &Bash,
        What::Zsh => &Zsh,
        What::Fish => &Fish,
        What::Man | What::Elvish | What::Schema => return None,
    };
    let mut text = Vec::new();
    let written = completer.write_registration(VARIABLE, "alppaca", "alppaca", "alppaca", &mut text);
    if shell == What::Zsh {
        // Loaded by its name from `fpath`, it is called by it, too.
        text.extend(b"if [[ $funcstack[1] == _alppaca ]]; then _clap_dynamic_completer_alppaca \"$@\"; fi\n");
    }
    Some(written.map(|()| text))
}

/// The roles that the user may have.
pub(super) fn roles() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let document = socket::usual().get::<RolesDocument>("/v1/roles", PATIENCE);
        document.map(|document| document.roles.iter().map(candidate).collect()).unwrap_or_default()
    })
}

fn candidate(role: &RoleStatus) -> CompletionCandidate {
    let account = role.account_id.as_deref().map(|id| format!("account {}, ", foreign(id))).unwrap_or_default();
    let standing = match role.seconds_left {
        Some(left) if left > 0 => human::time(left.unsigned_abs()),
        _ => role.state.clone(),
    };
    CompletionCandidate::new(&role.name).help(Some(format!("{account}{standing}").into()))
}
