//! What became of the spans of calls, where calls are traced.

use std::sync::atomic::{AtomicU64, Ordering};

/// The spans of one process.
#[derive(Debug, Default)]
pub struct SpanCounts {
    made: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
}

impl SpanCounts {
    /// There is another one.
    pub fn make(&self) {
        self.made.fetch_add(1, Ordering::Relaxed);
    }

    /// So many were taken by the collector.
    pub fn send(&self, number: u64) {
        self.sent.fetch_add(number, Ordering::Relaxed);
    }

    /// So many were not.
    pub fn lose(&self, number: u64) {
        self.lost.fetch_add(number, Ordering::Relaxed);
    }

    /// How many were taken.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many were not.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How many are neither.
    pub fn waiting(&self) -> u64 {
        self.made.load(Ordering::Relaxed).saturating_sub(self.sent()).saturating_sub(self.lost())
    }
}
