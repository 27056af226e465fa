//! `alppaca-ims`, the role server: it proves who a caller is, decides by rules what it may have, and answers as AWS
//! Federation Proxy (AFP) did.

#[macro_use(notice)]
extern crate alppaca_core;

pub mod approvals;
pub mod cli;
pub mod console;
pub mod migrate;
pub mod protocol;
pub mod record_files;
pub mod rules;
pub mod server;
pub mod site;
pub mod sts;

use alppaca_callers::caller::{Owner, Subordinates, budget};
use alppaca_core::{clock, credentials, expression, needs, open_metrics, text};
use alppaca_directory as directory;
use alppaca_hardening::{confinement, sandbox, trust};
use alppaca_https as https;
use alppaca_identity as identity;
use alppaca_logging as logging;
use alppaca_page as page;
use alppaca_refresh as refresh;
use alppaca_settings as settings;
use alppaca_sources::{federation, fetch, key_sets, source};
