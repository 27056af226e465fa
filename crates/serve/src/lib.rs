//! The faces: what programs on this host talk to. Protocol logic is a pure function from a request
//! to an answer; the sockets are apart.

#[macro_use(notice)]
extern crate alppaca_core;

pub mod faces;
pub mod http;

use alppaca_callers::{audit, caller, policy};
use alppaca_core::{clock, credentials, needs, open_metrics, refresh_request, text};
use alppaca_jwt as jwt;
use alppaca_kubernetes as kubernetes;
use alppaca_logging as logging;
use alppaca_settings as settings;
use alppaca_store::store;
