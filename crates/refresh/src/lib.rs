//! Decides when to fetch, fetches, and publishes: the only writer of the store's roles.

#[macro_use(notice)]
extern crate alppaca_core;

mod candidates;
pub mod failback;
mod graph;
mod handover;
mod limiter;
mod listing;
mod node;
mod replace;
mod report;
mod requests;
mod schedule;
mod task;
mod upstream;
mod watch;

use alppaca_core::{clock, credentials, text};
use alppaca_store::{refresh_stats, store};

pub use alppaca_store::refresh_stats::{Ending, SpanCounts};
pub use graph::{CallLimit, CallLimitId, Candidate, Graph, Lister, Node, OnRequest, Visibility};
pub use handover::{HandOver, HandedSet, Handover};
pub use limiter::CallQueue;
pub use replace::{Carryover, Replacement, Replacer};
pub use report::clock_difference;
pub use requests::{OnDemand, OnDemandFactory, RoleRequests, Tagged, Timed, Wanted};
pub use schedule::{Cadence, Timer, left_when_fetched, wait_by_age};
pub use task::Refresher;
pub use upstream::{ErrorKind, Fetch, RoleList, Source, SourceError, SourceFuture};
pub use watch::{EndedCall, Follower, Watch, Work, note_request_id};
