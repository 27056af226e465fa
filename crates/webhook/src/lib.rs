//! The mutating admission webhook: what the API server of a cluster asks before it makes a pod, over HTTPS.

#[macro_use(notice)]
extern crate alppaca_core;

mod connection;
mod counters;
mod options;
mod respond;
mod run;

pub use options::{Options, SECTION};
pub use respond::{Known, Roles, Rules, Webhook};
pub use run::Running;

use alppaca_admission as admission;
use alppaca_callers::caller::budget;
use alppaca_core::{clock, needs, open_metrics};
use alppaca_https as https;
use alppaca_settings as settings;
