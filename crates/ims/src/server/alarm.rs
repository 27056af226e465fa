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

/// The program, ready to be run.
pub struct Alarm {
    settings: AlarmSettings,
    host_env: HostEnv,
    places: Semaphore,
}

impl Alarm {
    /// Runs nothing yet.
    pub fn new(settings: AlarmSettings, host_env: HostEnv) -> Self {
        Self { settings, host_env, places: Semaphore::new(MOST) }
    }

    /// Whether the role is given although it failed.
    pub(super) fn may_fail(&self) -> bool {
        self.settings.may_fail
    }

    /// Runs it with these variables; an error says why it is not certain that the alert was raised.
    pub(super) async fn raise(&self, facts: &[(String, String)]) -> Result<(), String> {
        let program = Program {
            command: self.settings.command.clone(),
            launcher: self.host_env.launcher.clone(),
            timeout: TIMEOUT,
            environment: self.host_env.variables(self.host_env.home.as_deref(), facts),
        };
        program.check().map_err(|error| error.to_string())?;
        let place = tokio::select! {
            place = self.places.acquire() => place.ok(),
            () = clock::sleep(TIMEOUT) => None,
        };
        let Some(_place) = place else { return Err(format!("{MOST} others of them run already")) };
        program.run().await.map(drop)
    }
}
