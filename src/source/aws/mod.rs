//! What all calls to AWS have in common: the environment that is honoured, the time, and what errors mean.

mod environment;
mod failure;
mod time;

pub use environment::Environment;
pub(crate) use failure::failure;
pub(crate) use time::SdkTime;
