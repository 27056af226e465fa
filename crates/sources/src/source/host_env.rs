//! What the sources have to know of the host they run on.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::aws;
use crate::{
    clock::SharedClock,
    fetch::{Options, ProxyVariables, Proxying},
    sign_in::SignIns,
};

/// Programs are found here if the daemon has no `PATH`.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the sources have to know of the host they run on.
#[derive(Clone)]
pub struct HostEnv {
    /// The host's name, for the names of sessions.
    pub host: String,
    /// What the environment says of calls to AWS.
    pub aws: aws::Environment,
    /// The environment's proxies, for the sources that are told to use them.
    pub proxies: ProxyVariables,
    /// `HOME` and `PATH`, for programs and profiles.
    pub home: Option<PathBuf>,
    /// Where programs are found.
    pub path: Option<String>,
    /// Where the ssh-agent listens (`SSH_AUTH_SOCK`).
    pub ssh_auth_sock: Option<PathBuf>,
    /// What runs a program in a session of its own: a program and arguments, which its command line follows.
    pub launcher: Vec<String>,
    /// Who has signed in for the sources that need a person.
    pub sign_ins: SignIns,
    /// The time, for signatures.
    pub clock: SharedClock,
}

impl HostEnv {
    /// How a service of AWS is called, with these limits for a connection and for a whole call.
    pub fn to_aws(
        &self,
        (connect_timeout, timeout): (Duration, Duration),
        ca_file: Option<&PathBuf>,
        proxying: &Proxying,
    ) -> Result<Options, String> {
        let ca_file = ca_file.or(self.aws.ca_bundle.as_ref()).cloned();
        let proxies = proxying.resolve(&self.proxies)?;
        Ok(Options { connect_timeout, proxies, ..Options::direct(timeout, ca_file) })
    }

    /// The environment of a program.
    pub fn variables(&self, home: Option<&Path>, own: &[(String, String)]) -> Vec<(String, String)> {
        let path = self.path.clone().unwrap_or_else(|| USUAL_PATH.to_owned());
        let mut all = vec![("PATH".to_owned(), path)];
        all.extend(home.map(|home| ("HOME".to_owned(), home.to_string_lossy().into_owned())));
        // Later ones replace earlier ones.
        all.extend(own.iter().cloned());
        all
    }
}
