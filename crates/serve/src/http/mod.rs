//! The HTTP server: sockets, requests and answers. What is answered is decided by the faces, which it knows by traits only.

mod access;
pub(crate) mod answer;
mod caller_class;
mod client;
mod connection;
mod counters;
mod crowd;
mod current;
pub(crate) mod denial;
mod exchange;
mod face;
mod listener;
mod open_sockets;
pub(crate) mod path;
mod place;
mod registry;
pub(crate) mod request;
mod request_context;
pub(crate) mod request_filter;
mod seen;
mod turns;

pub use answer::{Answer, Body, Issued, Outcome, Status, Style};
pub use caller_class::CallerClass;
pub use counters::{Answered, Counters};
pub use current::CurrentFaces;
pub use denial::Denial;
pub use face::{Face, Faces, Respond};
pub use listener::{Limits, Server, drive};
pub use open_sockets::{OpenSocket, OpenSockets};
pub use place::{Place, ServerError};
pub use request::{MAX_HEAD, OWN_HEADERS, Parsed, Request, parse};
pub use request_context::RequestContext;
pub use seen::{Seen, Served, Who};
