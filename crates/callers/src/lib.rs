//! Identifies callers, decides which roles they get, and records what they got.

#[macro_use(notice)]
extern crate alppaca_core;

pub mod audit;
pub mod caller;
pub mod policy;

use alppaca_core::{clock, credentials};
use alppaca_logging as logging;
