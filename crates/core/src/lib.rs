//! The types that all parts of alppaca share: credentials and their names, both clocks, text fit for a message.

pub mod clock;
pub mod credentials;
pub mod expression;
pub mod needs;
pub mod notice;
pub mod open_metrics;
pub mod refresh_request;
pub mod text;

#[doc(hidden)]
pub use tracing;
