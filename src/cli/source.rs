//! `alppaca source test`: asks one source, or for one role, once, and tells what came.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Failure, Outcome, environment, place::ConfigPath};
use crate::{
    clock::{Clock, SystemClock},
    config,
    credentials::{Credentials, format_timestamp},
    plan,
    refresh::{ErrorKind, SourceError, left_when_fetched},
};

/// Arguments of `source`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Fetch once and show the result
    Test(TestArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A role is fetched by its first source that works, a source by itself; what signs the calls is
fetched before. Nothing is kept, and no secret is shown. It runs with the rights of whoever calls
it, not with those of the daemon.

Exit codes: 0 with credentials, 1 without, 2 the command line or the configuration is wrong.")]
struct TestArgs {
    /// A role or a source of the configuration
    name: String,
    #[command(flatten)]
    config: ConfigPath,
}

/// Does what `source` was asked.
pub(super) fn run(args: &Args) -> Outcome {
    match &args.command {
        Command::Test(args) => test(args),
    }
}

fn test(args: &TestArgs) -> Outcome {
    let config = config::load(&args.config.path()).map_err(Failure::usage)?.config;
    let trials = plan::trials(&config, environment::host_env(), &args.name).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::runtime)?;
    let mut failed = Vec::new();
    for trial in trials {
        let started = SystemClock.now();
        // Dropped, a trial ends the program that it may have started.
        let outcome = runtime.block_on(async {
            tokio::select! {
                outcome = trial.run() => Ok(outcome),
                signal = interrupted() => Err(signal),
            }
        });
        let outcome = outcome.map_err(Failure::runtime)?;
        let now = SystemClock.now();
        let took = now.boot.since(started.boot);
        match outcome {
            Ok(set) if set.expiration > now.wall => {
                tell(&trial, &set, took);
                return Ok(());
            }
            Ok(set) => {
                let end = format_timestamp(set.expiration);
                failed.push(format!(
                    "{}: the credentials had expired at {end}; is this host's clock right?",
                    trial.label
                ));
            }
            Err(error) => {
                failed.push(format!("{}: {error} (after {})\n  {}", trial.label, short(took), advice(&error)));
            }
        }
    }
    Err(Failure::runtime(failed.join("\n")))
}

/// Comes back with what to say when somebody ends us from the terminal or by a signal.
async fn interrupted() -> String {
    let wait = async |kind| match signal(kind) {
        Ok(mut signal) => signal.recv().await,
        Err(_) => std::future::pending().await,
    };
    tokio::select! {
        _ = wait(SignalKind::interrupt()) => "interrupted".to_owned(),
        _ = wait(SignalKind::terminate()) => "stopped by a signal".to_owned(),
        _ = wait(SignalKind::hangup()) => "the terminal was closed".to_owned(),
    }
}

fn tell(trial: &plan::Trial, set: &Credentials, took: Duration) {
    let now = SystemClock.now();
    let life = crate::clock::until(set.expiration, now.wall);
    let left = left_when_fetched(life);
    let again = life.saturating_sub(left);
    alppaca_command::println!("from:          {}", trial.label);
    alppaca_command::println!("access key id: {}", set.access_key_id);
    alppaca_command::println!("secret key:    *** ({} characters)", set.secret_access_key.expose().len());
    match set.session_token.expose().len() {
        0 => alppaca_command::println!("session token: none: this is a long-term key"),
        length => alppaca_command::println!("session token: *** ({length} characters)"),
    }
    alppaca_command::println!("expires:       {} (in {})", format_timestamp(set.expiration), short(life));
    if let Some(account) = &set.account_id {
        alppaca_command::println!("account:       {account}");
    }
    if let Some(arn) = &set.role_arn {
        alppaca_command::println!("role:          {arn}");
    }
    alppaca_command::println!("took:          {}", short(took));
    alppaca_command::println!("fetched again: in {}, when {} are left", short(again), short(left));
}

/// What the daemon would do about it.
fn advice(error: &SourceError) -> &'static str {
    match error.kind {
        ErrorKind::Transient => "this may be temporary: the daemon retries within a minute",
        ErrorKind::Refused { .. } => "this needs a change, here or upstream: the daemon retries only every few minutes",
        ErrorKind::ParentExpired => "the daemon fetches the signing credentials again and repeats the call",
    }
}

fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0..10) => format!("{} ms", duration.as_millis()),
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}
