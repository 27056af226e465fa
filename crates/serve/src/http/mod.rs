//! The HTTP server: sockets, requests and answers. What is answered is decided by the faces, which it knows by traits only.

mod access;
pub(crate) mod answer;
mod connection;
mod counters;
mod crowd;
pub(crate) mod denial;
mod exchange;
mod face;
pub(crate) mod guard;
mod guest;
mod listener;
mod live;
pub(crate) mod path;
mod place;
mod registry;
pub(crate) mod request;
mod visitor;

pub use answer::{Answer, Body, Handed, Outcome, Status, Style};
pub use counters::Counters;
pub use denial::Denial;
pub use face::{Face, Faces, Respond};
pub use listener::{Limits, Server};
pub use live::Live;
pub use place::{Place, ServerError};
pub use request::{MAX_HEAD, OWN_HEADERS, Parsed, Request, parse};
pub use visitor::Visitor;
