//! Decides when to fetch, fetches, and publishes: the only writer of the store.

mod report;
mod schedule;
mod task;

pub use schedule::{Cadence, Timer};
pub use task::{Policy, Refresher};
