//! What is counted, for the metrics.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

/// How requests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With credentials, or a URL of the console.
    HandedOut,
    /// With something that is no secret: a list, the status.
    Answered,
    /// With a decision against it.
    Denied,
    /// Without knowing who the caller is.
    Unproven,
    /// With the server's own trouble.
    Unavailable,
    /// It is no request that the server knows.
    Unknown,
}

/// The words of all endings in the metrics and the audit, in their order.
const WORDS: [&str; 6] = ["handed_out", "answered", "denied", "unproven", "unavailable", "unknown"];

impl Ending {
    /// Its word.
    pub(super) fn word(self) -> &'static str {
        WORDS[self as usize]
    }
}

/// What happens to requests for approval, in the audit and, without its beginning, in the metrics.
const APPROVALS: [&str; 4] = ["approval_requested", "approval_given", "approval_refused", "approval_revoked"];

/// The counters of the server. They only grow, but for the open connections.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [AtomicU64; WORDS.len()],
    approvals: [AtomicU64; APPROVALS.len()],
    /// Connections that were accepted.
    pub(super) connections: AtomicU64,
    /// Those that are open.
    pub(super) open: AtomicU64,
    /// Those that were closed at once because there were too many.
    pub(super) refused: AtomicU64,
    /// TLS handshakes that failed.
    pub(super) handshakes_failed: AtomicU64,
    /// Emergencies whose alert was recorded.
    pub(super) emergencies: AtomicU64,
    /// Those of which the program that raises the alert failed.
    pub(super) alarms_failed: AtomicU64,
    /// Connections of balancers that were closed because they did not say whose they were.
    pub(super) headers_refused: AtomicU64,
}

impl Counters {
    pub(super) fn request(&self, ending: Ending) {
        self.requests[ending as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Something happened to a request for approval.
    pub(super) fn approval(&self, event: &str) {
        for (word, count) in APPROVALS.iter().zip(&self.approvals) {
            if *word == event {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// As lines of the metrics.
    pub fn render(&self, text: &mut String) {
        let mut put = |line: std::fmt::Arguments| {
            // Writing to a String cannot fail.
            let _infallible = text.write_fmt(line);
        };
        put(format_args!(
            "# TYPE alppaca_ims_requests counter\n# HELP alppaca_ims_requests Requests by how they ended.\n"
        ));
        for (word, count) in WORDS.iter().zip(&self.requests) {
            let count = count.load(Ordering::Relaxed);
            put(format_args!("alppaca_ims_requests_total{{ending=\"{word}\"}} {count}\n"));
        }
        put(format_args!(
            "# TYPE alppaca_ims_approvals counter\n\
             # HELP alppaca_ims_approvals Requests for approval, and the answers to them.\n"
        ));
        for (word, count) in APPROVALS.iter().zip(&self.approvals) {
            let (word, count) = (word.trim_start_matches("approval_"), count.load(Ordering::Relaxed));
            put(format_args!("alppaca_ims_approvals_total{{event=\"{word}\"}} {count}\n"));
        }
        let counters = [
            ("connections", "Connections that were accepted.", &self.connections),
            ("connections_refused", "Connections that were closed at once: there were too many.", &self.refused),
            ("handshakes_failed", "TLS handshakes that failed.", &self.handshakes_failed),
            ("emergencies", "Emergencies whose alert was recorded.", &self.emergencies),
            ("emergency_alerts_failed", "Runs of `emergency_alert` that failed.", &self.alarms_failed),
            ("proxy_headers_refused", "Connections of balancers without a good PROXY header.", &self.headers_refused),
        ];
        for (name, help, counter) in counters {
            let count = counter.load(Ordering::Relaxed);
            put(format_args!(
                "# TYPE alppaca_ims_{name} counter\n# HELP alppaca_ims_{name} {help}\nalppaca_ims_{name}_total {count}\n"
            ));
        }
        let open = self.open.load(Ordering::Relaxed);
        put(format_args!(
            "# TYPE alppaca_ims_open_connections gauge\n# HELP alppaca_ims_open_connections Connections that are open.\n\
             alppaca_ims_open_connections {open}\n"
        ));
    }
}
