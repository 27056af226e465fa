//! What the upstream's side publishes and the server's side reads: the newest set of each role, and what is remembered of the refreshing.

pub mod journal;
pub mod store;

use alppaca_core::{clock, credentials};
