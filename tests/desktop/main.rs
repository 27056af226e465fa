//! The commands of a person at a desktop: the real binary, real users, and the daemon's admin socket between them.

mod aws_login;
#[path = "../support/aws_sign_in.rs"]
mod aws_sign_in;
mod aws_vault;
#[path = "../support/browser.rs"]
mod browser;
mod choice;
mod console;
mod guides;
#[path = "../support/identity_center.rs"]
mod identity_center;
mod profiles;
mod prompt;
#[path = "../support/server.rs"]
mod server;
mod shells;
mod sign_in;
mod sso;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use alppaca::mock_ims::{Answer, Behaviour};
use support::{Daemon, Ims};
use tempfile::TempDir;

const ALPPACA: &str = env!("CARGO_BIN_EXE_alppaca");
const LIST: &str = "/latest/meta-data/iam/security-credentials/";

/// A server of these roles.
fn with_roles(roles: &[&str]) -> Ims {
    Ims::start(Behaviour { roles: roles.iter().map(|role| (*role).to_owned()).collect(), ..Behaviour::default() })
}

/// A daemon that has credentials of each of them.
fn with_credentials(config: &str, roles: usize) -> Daemon {
    let daemon = Daemon::start(config);
    daemon.wait_for_count(" fetched ", roles);
    daemon
}

fn alppaca(socket: &Path, arguments: &[&str]) -> Output {
    Command::new(ALPPACA).args(arguments).env("ALPPACA_SOCKET", socket).output().expect("it runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A place that every user may enter, with the program in it.
fn public_place() -> (TempDir, PathBuf) {
    let directory = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir();
    let directory = directory.expect("a directory");
    let binary = directory.path().join("alppaca");
    fs::copy(ALPPACA, &binary).expect("a copy");
    (directory, binary)
}

/// A program that runs as that user.
fn as_user(uid: u32, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.uid(uid).gid(uid).current_dir("/");
    command
}
