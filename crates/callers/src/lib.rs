//! Who is at the other end of a connection, what that caller may have, and the record of it.

#[macro_use(notice)]
extern crate alppaca_core;

pub mod audit;
pub mod caller;
pub mod policy;

use alppaca_core::{clock, credentials};
use alppaca_logging as logging;
