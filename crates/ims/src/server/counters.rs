//! What is counted, for the metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::open_metrics::{Histogram, Page};

/// From an answer that is there to one that waited for STS.
const BUCKETS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

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
pub(super) const WORDS: [&str; 6] = ["handed_out", "answered", "denied", "unproven", "unavailable", "unknown"];

impl Ending {
    /// Its word.
    pub(super) fn word(self) -> &'static str {
        WORDS[self as usize]
    }
}

/// What happens to requests for approval, in the audit and, without its beginning, in the metrics.
const APPROVALS: [&str; 4] = ["approval_requested", "approval_given", "approval_refused", "approval_revoked"];

/// The counters of the server. They only grow, but for the open connections.
#[derive(Debug)]
pub struct Counters {
    requests: [AtomicU64; WORDS.len()],
    approvals: [AtomicU64; APPROVALS.len()],
    took: Histogram,
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

impl Default for Counters {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            requests: Default::default(),
            approvals: Default::default(),
            took: Histogram::new(BUCKETS),
            connections: zero(),
            open: zero(),
            refused: zero(),
            handshakes_failed: zero(),
            emergencies: zero(),
            alarms_failed: zero(),
            headers_refused: zero(),
        }
    }
}

impl Counters {
    pub(super) fn request(&self, ending: Ending) {
        self.requests[ending as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many requests have ended so.
    pub(super) fn total(&self, ending: Ending) -> u64 {
        self.requests[ending as usize].load(Ordering::Relaxed)
    }

    /// Something happened to a request for approval.
    pub(super) fn approval(&self, event: &str) {
        for (word, count) in APPROVALS.iter().zip(&self.approvals) {
            if *word == event {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A request was answered after so long.
    pub(super) fn answered(&self, took: Duration) {
        self.took.observe(took);
    }

    /// Appends them to the metrics.
    pub fn render(&self, page: &mut Page) {
        let mut requests = page.counter("alppaca_ims_requests_total", "Requests by how they ended.");
        for (word, count) in WORDS.iter().zip(&self.requests) {
            requests.put(&[("ending", word)], count.load(Ordering::Relaxed));
        }
        let took = "How long answers took, with the calls of STS that they waited for.";
        page.histogram("alppaca_ims_request_duration_seconds", took).put_histogram(&[], &self.took);
        let help = "Requests for approval, and the answers to them.";
        let mut approvals = page.counter("alppaca_ims_approvals_total", help);
        for (word, count) in APPROVALS.iter().zip(&self.approvals) {
            approvals.put(&[("event", word.trim_start_matches("approval_"))], count.load(Ordering::Relaxed));
        }
        for (name, help, counter) in [
            ("alppaca_ims_connections_total", "Connections that were accepted.", &self.connections),
            (
                "alppaca_ims_connections_refused_total",
                "Connections that were closed at once: there were too many.",
                &self.refused,
            ),
            ("alppaca_ims_handshakes_failed_total", "TLS handshakes that failed.", &self.handshakes_failed),
            ("alppaca_ims_emergencies_total", "Emergencies whose alert was recorded.", &self.emergencies),
            (
                "alppaca_ims_emergency_alerts_failed_total",
                "Runs of `emergency_alert` that failed.",
                &self.alarms_failed,
            ),
            (
                "alppaca_ims_proxy_headers_refused_total",
                "Connections of balancers without a good PROXY header.",
                &self.headers_refused,
            ),
        ] {
            page.counter(name, help).put(&[], counter.load(Ordering::Relaxed));
        }
        let open = self.open.load(Ordering::Relaxed);
        page.gauge("alppaca_ims_open_connections", "Connections that are open.").put(&[], open);
    }
}
