//! The faces: what programs on this host talk to. Protocol logic is a pure function from a request
//! to an answer; the sockets are apart.

mod answer;
mod connection;
mod exchange;
mod guard;
mod imds;
mod listener;
mod path;
mod registry;
mod request;
mod token;

pub use answer::{Answer, Body, Status};
pub use imds::{Imds, Outcome, Settings};
pub use listener::{Limits, Server, ServerError};
pub use request::{MAX_HEAD, Parsed, Request, parse};
pub use token::TokenKey;
