//! The faces: what programs on this host talk to. Protocol logic is a pure function from a request
//! to an answer; the sockets are apart.

#[macro_use(notice)]
extern crate alppaca_core;

mod access;
mod answer;
mod connection;
mod container;
mod counters;
mod crowd;
mod denial;
mod exchange;
mod face;
mod guard;
mod guest;
mod imds;
mod listener;
mod live;
mod path;
mod place;
mod pod_identity;
mod registry;
mod request;
mod token;
mod view;
mod wish;

use alppaca_callers::{audit, caller, policy};
use alppaca_core::{clock, credentials, text};
use alppaca_logging as logging;
use alppaca_store::store;

pub use answer::{Answer, Body, Handed, Outcome, Status};
pub use container::{Container, ContainerSettings, ContainerTokens, Fingerprint, IssueError, Key, KeyFile, KeyFiles};
pub use counters::{Counters, Protocol};
pub use denial::Denial;
pub use face::{Face, Faces};
pub use imds::{
    Defaults, Entry, HostFacts, Imds, Metadata, Passthrough, Replies, Reply, Settings, Wanted, passthrough,
};
pub use listener::{Limits, Server};
pub use live::Live;
pub use place::{Place, ServerError};
pub use pod_identity::{Association, KeyRing, PodIdentity, PodIdentitySettings, PublicKey, parse_key_set};
pub use request::{MAX_HEAD, Parsed, Request, parse};
pub use token::TokenKey;
pub use view::{View, Visitor};
