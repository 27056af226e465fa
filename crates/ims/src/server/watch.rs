//! Files that others write anew, such as certificates and revocation lists: read again once a minute.

use std::{sync::Arc, time::Duration};

use super::respond::Server;
use crate::{clock, https::Certificate};

/// How often files are read again.
const EVERY: Duration = Duration::from_mins(1);

/// What is read again.
pub struct Watched {
    /// With its identity methods.
    pub server: Arc<Server>,
    /// The server's own certificate.
    pub certificate: Option<Arc<Certificate>>,
}

impl Watched {
    /// Reads the files once a minute, for ever. A problem is reported once, until it is another one.
    pub async fn run(self) {
        let mut told = Vec::new();
        loop {
            clock::sleep(EVERY).await;
            let problems = self.read();
            for problem in problems.iter().filter(|problem| !told.contains(*problem)) {
                tracing::error!("{problem}; what was read before stays in force");
            }
            told = problems;
        }
    }

    /// Reads them now; answers what is wrong.
    pub fn read(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.server.current().reload_files().iter().map(ToString::to_string).collect();
        match self.certificate.as_ref().map(|certificate| certificate.reload()) {
            Some(Ok(true)) => notice!("tls_certificate: there is a new one"),
            Some(Err(error)) => problems.push(error.to_string()),
            Some(Ok(false)) | None => {}
        }
        problems
    }
}
