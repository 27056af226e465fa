//! What a person types and reads: one file per subcommand. The only place that prints.

mod failure;

pub use failure::{Failure, Outcome};
