//! What all calls to AWS have in common: the environment that is honoured, the time, the set in an answer, and what errors mean.

mod environment;
mod failure;
mod session;
mod time;

pub use environment::Environment;
pub(crate) use failure::{Proof, failure};
pub(crate) use session::session;
pub(crate) use time::SdkTime;
