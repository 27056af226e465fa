//! What is counted, for the metrics.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    admission::{Decision, Skip},
    open_metrics::{Histogram, Page},
};

/// The API server waits for seconds at most.
const BUCKETS: &[Duration] = &[
    Duration::from_micros(100),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// Why a request got no decision, so that `failurePolicy` decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// It is no request that the webhook knows.
    Unknown,
    /// Its body is not understood.
    Malformed,
    /// Its body is too large.
    TooLarge,
    /// Its body takes too long, or ends early.
    TooSlow,
    /// Too much is being read at once.
    Busy,
    /// It is not known yet which accounts have roles.
    NotReady,
}

const FAILURES: [(Failure, &str); 6] = [
    (Failure::Unknown, "unknown"),
    (Failure::Malformed, "malformed"),
    (Failure::TooLarge, "too_large"),
    (Failure::TooSlow, "too_slow"),
    (Failure::Busy, "busy"),
    (Failure::NotReady, "not_ready"),
];

/// The counters of the webhook. They only grow, but for the open connections.
#[derive(Debug)]
pub(crate) struct Counters {
    mutated: AtomicU64,
    skipped: [AtomicU64; Skip::ALL.len()],
    failures: BTreeMap<Failure, AtomicU64>,
    took: Histogram,
    pub(crate) open: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) handshakes_failed: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            mutated: AtomicU64::default(),
            skipped: Default::default(),
            failures: FAILURES.iter().map(|(failure, _)| (*failure, AtomicU64::default())).collect(),
            took: Histogram::new(BUCKETS),
            open: AtomicU64::default(),
            refused: AtomicU64::default(),
            handshakes_failed: AtomicU64::default(),
        }
    }
}

impl Counters {
    /// A pod was judged, in that time.
    pub(crate) fn judged(&self, decision: &Decision, took: Duration) {
        let counter = match decision {
            Decision::Inject(_) => Some(&self.mutated),
            Decision::Skip(skip) => Skip::ALL.iter().position(|it| it == skip).and_then(|at| self.skipped.get(at)),
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.took.observe(took);
    }

    /// A request got no decision.
    pub(crate) fn failed(&self, failure: Failure) {
        if let Some(counter) = self.failures.get(&failure) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn render(&self, page: &mut Page) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        page.counter("alppaca_webhook_pods_mutated_total", "Pods to which something was added.")
            .put(&[], get(&self.mutated));
        let help = "Pods to which nothing was added, by the reason.";
        let mut skipped = page.counter("alppaca_webhook_pods_skipped_total", help);
        for (skip, counter) in Skip::ALL.iter().zip(&self.skipped) {
            skipped.put(&[("reason", skip.word())], get(counter));
        }
        let help = "Requests without a decision, by the reason: for these pods the failurePolicy counts.";
        let mut failures = page.counter("alppaca_webhook_failures_total", help);
        for (failure, word) in FAILURES {
            failures.put(&[("reason", word)], self.failures.get(&failure).map_or(0, get));
        }
        let help = "How long decisions took, with the body of the request.";
        page.histogram("alppaca_webhook_request_duration_seconds", help).put_histogram(&[], &self.took);
        page.gauge("alppaca_webhook_connections", "Open connections.").put(&[], get(&self.open));
        let help = "Connections that were closed at once because there were too many.";
        page.counter("alppaca_webhook_connections_refused_total", help).put(&[], get(&self.refused));
        page.counter("alppaca_webhook_tls_handshakes_failed_total", "TLS handshakes that failed.")
            .put(&[], get(&self.handshakes_failed));
    }
}
