//! A mock IMS: what the quick start and the tests have for an upstream. It can misbehave in every
//! way that an upstream may.

mod behaviour;
mod issue;
mod server;

pub use behaviour::{Behaviour, Misbehaviour};
pub use issue::Issued;
pub use server::{Handle, MockIms};
