//! The kinds of upstreams of alppaca, and the HTTP client that they share.

#[macro_use(notice)]
extern crate alppaca_core;

pub mod api_server;
pub mod federation;
pub mod fetch;
pub mod key_sets;
pub mod sign_in;
pub mod source;

use alppaca_core::{clock, credentials, needs, text};
use alppaca_jwt as jwt;
use alppaca_kubernetes as kubernetes;
use alppaca_refresh as refresh;
use alppaca_settings as settings;
use alppaca_ssh_agent as ssh_agent;
