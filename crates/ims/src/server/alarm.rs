//! The program that is run for each emergency, before the answer.

use std::time::Duration;

use tokio::sync::Semaphore;

use crate::{
    clock,
    site::AlarmSettings,
    source::{HostEnv, process::Program},
};

/// How long it may take: a person waits for the role, and somebody may wait for the alert.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many may run at once.
const MOST: usize = 4;

/// The variables in which the program gets what an emergency is about.
const FACTS: [&str; 8] = [
    "EMERGENCY_ID",
    "EMERGENCY_IDENTITY",
    "EMERGENCY_PROVEN_BY",
    "EMERGENCY_PEER",
    "EMERGENCY_RULE",
    "EMERGENCY_ACCOUNT",
    "EMERGENCY_ROLE",
    "EMERGENCY_REASON",
];

/// The program, ready to be run.
pub struct Alarm {
    program: Program,
    may_fail: bool,
    places: Semaphore,
}

impl Alarm {
    /// Runs nothing yet.
    pub fn new(settings: &AlarmSettings, host_env: &HostEnv) -> Self {
        Self { program: Self::program(settings, host_env), may_fail: settings.may_fail, places: Semaphore::new(MOST) }
    }

    /// What is run.
    pub fn program(settings: &AlarmSettings, host_env: &HostEnv) -> Program {
        Program {
            command: settings.command.clone(),
            launcher: host_env.launcher.clone(),
            timeout: TIMEOUT,
            environment: host_env.variables(host_env.home.as_deref(), &[]),
            facts: FACTS.map(str::to_owned).to_vec(),
        }
    }

    /// Whether the role is given although it failed.
    pub(super) fn may_fail(&self) -> bool {
        self.may_fail
    }

    /// Runs it with these variables; an error says why it is not certain that the alert was raised.
    pub(super) async fn raise(&self, facts: &[(String, String)]) -> Result<(), String> {
        self.program.check().map_err(|error| error.to_string())?;
        let place = tokio::select! {
            place = self.places.acquire() => place.ok(),
            () = clock::sleep(TIMEOUT) => None,
        };
        let Some(_place) = place else { return Err(format!("{MOST} others of them run already")) };
        self.program.run_about(facts).await.map(drop)
    }
}
