//! How the commands find the daemon's admin socket, and the exit codes that its answers lead to.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Failure, environment, place};
use crate::{
    admin::{ChoiceDocument, Client, ClientError, Code},
    config,
};

/// No daemon answers.
pub(super) const NO_DAEMON: u8 = 3;
/// There is no such role for the caller, or it is refused.
pub(super) const NO_ROLE: u8 = 4;
/// There are no valid credentials at the moment.
pub(super) const NOT_NOW: u8 = 5;

/// Several roles are what the caller may have meant.
pub(super) const AMBIGUOUS: u8 = 6;

/// How long the daemon may take to answer, beyond what it was asked to wait.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const SIGN_IN_NEEDED: &str = "sign-in needed: run `alppaca login`";

/// Where the daemon is.
#[derive(Debug, clap::Args)]
pub(super) struct Socket {
    /// The daemon's admin socket [default: the variable `ALPPACA_SOCKET`, else that of your own daemon, else
    /// /run/alppaca/alppaca.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Socket {
    /// The one that the command line names.
    pub(super) fn named(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Somebody who asks it.
    pub(super) fn client(&self) -> Client {
        self.socket.clone().map_or_else(usual, Client::new)
    }
}

/// Somebody who asks the daemon that the command line does not name.
pub(super) fn usual() -> Client {
    Client::new(environment::socket().unwrap_or_else(place::socket))
}

/// Somebody who asks the daemon that runs with the configuration at `path`.
pub(super) fn of_configuration(path: &Path) -> Result<Client, Failure> {
    let mut config = config::load(path).map_err(Failure::usage)?.config;
    place::settle(&mut config);
    let socket = config.admin.socket.ok_or_else(|| Failure::usage("this configuration has no `admin_socket`"))?;
    Ok(Client::new(socket))
}

/// Whether a person has to sign in before there is anything new.
pub(super) fn is_signed_out(client: &Client) -> bool {
    client.get::<ChoiceDocument>("/v1/choice", ANSWER_LIMIT).is_ok_and(|choice| choice.sign_in_needed)
}

pub(super) fn sign_in_needed() -> Failure {
    Failure { code: NOT_NOW, message: SIGN_IN_NEEDED.into() }
}

/// The same as `failure` where a role is asked for: one that is not there, or has nothing valid, may need a sign-in.
pub(super) fn without_role(client: &Client, error: &ClientError) -> Failure {
    let comes = matches!(error, ClientError::Refused { code: Code::NoSuchRole | Code::NotReady | Code::Expired, .. });
    if comes && is_signed_out(client) {
        return Failure { code: NOT_NOW, message: format!("{error}\n{SIGN_IN_NEEDED}") };
    }
    failure(error)
}

/// From what the daemon says to the end of the command.
pub(super) fn failure(error: &ClientError) -> Failure {
    let code = match error {
        ClientError::NoDaemon { .. } => NO_DAEMON,
        ClientError::Refused { code: Code::NoSuchRole | Code::Refused | Code::Forbidden, .. } => NO_ROLE,
        ClientError::Refused {
            code: Code::NotReady | Code::Expired | Code::Busy | Code::Restarting | Code::NotRecorded,
            ..
        } => NOT_NOW,
        _ => 1,
    };
    let hint = match error {
        ClientError::NoDaemon { source, .. } => match source.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "\nOnly the members of a group may connect (`admin_group`). Is your user in that group, and have you \
                 logged in again since you were added?"
            }
            _ => "\nIs it running? Name another socket with --socket PATH or in ALPPACA_SOCKET.",
        },
        ClientError::Refused { code: Code::NoSuchRole, .. } => "\n`alppaca roles` shows those that you may have.",
        ClientError::Refused { code: Code::NotReady | Code::Expired, .. } => "\n`alppaca status` shows why.",
        _ => "",
    };
    Failure { code, message: format!("{error}{hint}") }
}
