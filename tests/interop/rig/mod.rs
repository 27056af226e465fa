//! What the tests with real clients share: the clients, and AWS as they see it.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]
#![allow(
    clippy::disallowed_methods,
    reason = "the environment tells what is installed, and AWS has a clock of its own"
)]

pub mod client;
pub mod clock;
mod cluster;
pub mod front;
pub mod gate;
pub mod kinds;
pub mod moto;
pub mod namespace;
pub mod tools;
pub mod world;

pub use alppaca_mock_sts::{refusal, sigv4};
