//! `alppaca-ims`, the role server: it proves who a caller is, decides by rules what it may have, and answers as AWS
//! Federation Proxy (AFP) did. So far a library: the
//! rules, the protocol, and the calls to AWS.

#[macro_use(notice)]
extern crate alppaca_core;

pub mod console;
pub mod protocol;
pub mod rules;
pub mod sts;

use alppaca_core::{clock, credentials, expression, text};
use alppaca_identity as identity;
use alppaca_refresh as refresh;
use alppaca_settings as settings;
use alppaca_sources::{fetch, source};
