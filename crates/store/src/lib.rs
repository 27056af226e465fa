//! What the refresher publishes and the server reads: the newest set of each role, and the history of refreshing.

pub mod refresh_stats;
pub mod store;

use alppaca_core::{clock, credentials, open_metrics};
