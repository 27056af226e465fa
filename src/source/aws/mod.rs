//! What all calls to AWS have in common.

mod environment;

pub use environment::Environment;
