//! Decides when to fetch, fetches, and publishes: the only writer of the store's roles.

#[macro_use(notice)]
extern crate alppaca_core;

mod graph;
mod lane;
mod listing;
mod node;
mod replace;
mod report;
mod requests;
mod schedule;
mod task;
mod upstream;
pub mod way_back;
mod ways;

use alppaca_core::{clock, credentials};
use alppaca_store::{journal, store};

pub use graph::{Graph, Lane, LaneId, Lister, Node, Visibility, Way};
pub use replace::{Fate, Replacement, Replacer};
pub use report::clock_difference;
pub use requests::{Maker, OnDemand, RoleRequests};
pub use schedule::{Cadence, Timer, left_when_fetched, wait_by_age};
pub use task::Refresher;
pub use upstream::{ErrorKind, Fetch, RoleList, Source, SourceError, SourceFuture};
