//! People, their groups and their SSH keys in an LDAP directory: looked up apart from the requests, and remembered for
//! a short time.

#[macro_use(notice)]
extern crate alppaca_core;

mod connection;
mod dn;
mod entry;
mod filter;
mod frames;
mod memory;
mod options;
mod transport;
mod worker;

pub use options::{Options, SETTINGS, TABLE, read};
pub use worker::{Directory, Worker};

use alppaca_core::{clock, needs, text};
use alppaca_identity as identity;
use alppaca_settings as settings;
use alppaca_sources::fetch;
