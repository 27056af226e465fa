//! What the command lines of alppaca's programs share: how a command fails, what is taken from the environment, programs
//! in a session of their own, generated manual pages and completions, the service manager.

#[macro_use(notice)]
extern crate alppaca_core;

pub mod confined;
pub mod environment;
pub mod failure;
mod fingerprint;
pub mod generate;
pub mod helper;
pub mod launch;
pub mod output;
pub mod service_manager;
pub mod temporary;
mod version;

use alppaca_core::clock;
use alppaca_hardening::{confinement, sandbox};
use alppaca_logging as logging;
use alppaca_sources::{fetch, sign_in, source};

pub use failure::{Failure, Outcome, end, parse};
pub use fingerprint::fingerprint;
pub use version::version;
