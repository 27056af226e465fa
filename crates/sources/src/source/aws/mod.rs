//! What all calls to AWS have in common: the HTTP client, the environment that is honoured, the time, the set in an answer, and what errors mean.

mod answered;
mod client;
mod environment;
mod failure;
mod options;
mod session;
mod sts;
mod time;

pub(crate) use answered::AnsweredAt;
pub use client::sdk_client;
pub use environment::Environment;
pub(crate) use failure::{Proof, failure, is_throttling};
pub use options::{Aws, COUNT, Rate, SETTINGS};
pub(in crate::source) use options::{CA_FILE, CONNECT_TIMEOUT, DUAL_STACK, FIPS, TIMEOUT};
pub(in crate::source) use options::{endpoint, rate, render_rate, warn_of_clear_text};
pub(crate) use session::session;
pub use sts::StsSettings;
pub(crate) use time::SdkTime;
