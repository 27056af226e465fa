//! The server: connections, the proof of who the caller is, the decision, and what is recorded of it.

mod access;
mod alarm;
mod approvals;
mod audit;
mod client;
mod connection;
mod counters;
mod current;
mod emergency;
mod listener;
mod metrics;
mod overview;
mod proof;
mod proxy_header;
mod respond;
mod run;
mod seen;
mod tls;
mod watch;

pub use alarm::Alarm;
pub use client::Client;
pub use counters::Counters;
pub use current::{Current, OpenError};
pub use listener::{Bound, ListenError, bind};
pub use metrics::Shown;
pub use proxy_header::{HeaderError, Origin, read_header};
pub use respond::Server;
pub use run::{Aside, Background, Running};
pub use tls::Tls;
pub use watch::Watched;
