//! The metrics.

use std::sync::{Arc, atomic::Ordering};

use jiff::Timestamp;

use super::respond::Server;
use crate::{
    confinement::State,
    https::{Certificate, Report},
    open_metrics::{InForce, Page},
};

/// From what it was compiled, if that is known.
const REVISION: Option<&str> = option_env!("ALPPACA_REVISION");

/// The metrics of the configuration.
const CONFIG: [&str; 3] = [
    "alppaca_ims_config_info",
    "alppaca_ims_config_reload_success_timestamp_seconds",
    "alppaca_ims_config_reload_failed",
];

/// What the metrics show beside what is counted.
pub struct Shown {
    started: Timestamp,
    /// The configuration.
    pub in_force: InForce,
    certificate: Option<Arc<Certificate>>,
}

impl Shown {
    /// Of a server that has `started` now, by a configuration with this `hash`, and shows that certificate.
    pub fn new(started: Timestamp, hash: String, certificate: Option<Arc<Certificate>>) -> Self {
        Self { started, in_force: InForce::new(hash, started), certificate }
    }

    /// When the server started.
    pub(super) fn started(&self) -> Timestamp {
        self.started
    }

    /// When the server's own certificate ends, if it has one.
    pub(super) fn certificate_end(&self) -> Option<Timestamp> {
        self.certificate.as_ref()?.end()
    }
}

impl Report for Server {
    fn metrics(&self) -> String {
        self.metrics()
    }

    fn unready(&self) -> Option<String> {
        self.unready()
    }
}

impl Server {
    /// The metrics as text.
    pub fn metrics(&self) -> String {
        let (mut page, shown) = (Page::default(), self.shown());
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("revision", REVISION.unwrap_or_default())];
        page.info("alppaca_ims_build_info", "The program.").put(&labels, 1);
        page.gauge("alppaca_ims_start_time_seconds", "When the server started.").put(&[], shown.started.as_second());
        shown.in_force.render(&mut page, CONFIG);
        let help = "When the server's own certificate ends; absent without TLS.";
        let mut end = page.gauge("alppaca_ims_server_certificate_expiration_timestamp_seconds", help);
        if let Some(at) = shown.certificate_end() {
            end.put(&[], at.as_second());
        }
        self.counters().render(&mut page);
        if let Some(audit) = self.audit() {
            let help = "Hand-outs and refusals of which no record could be written.";
            page.counter("alppaca_ims_audit_lost_total", help).put(&[], audit.lost().load(Ordering::Relaxed));
            let failing = audit.failing().load(Ordering::Relaxed);
            page.gauge("alppaca_ims_audit_failing", "Whether records cannot be written now.")
                .put(&[], u8::from(failing));
        }
        if let Some(approvals) = &self.current().approvals {
            approvals.render(&mut page);
        }
        self.sts.render(&mut page);
        if let Some(state) = self.confined() {
            put_sandbox(&mut page, state);
        }
        page.finish()
    }
}

/// What of the confinement is in force.
fn put_sandbox(page: &mut Page, state: &State) {
    page.info("alppaca_ims_sandbox_info", "What `sandbox` says.").put(&[("mode", state.mode.word())], 1);
    let help = "The version of Landlock that confines files and ports; 0 if they are not.";
    page.gauge("alppaca_ims_sandbox_landlock_version", help).put(&[], state.landlock.unwrap_or_default());
    let mut parts = page.gauge("alppaca_ims_sandbox_in_force", "Whether a part of the confinement is in force.");
    for (part, is) in state.parts() {
        parts.put(&[("part", part)], u8::from(is));
    }
}
