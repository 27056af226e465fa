//! The faces: the protocols that programs on this host speak. Each is a pure function from a request to an answer.

pub mod ecs;
mod held;
pub mod imds;
pub mod pod_identity;
mod view;
mod wish;

pub use view::View;

use crate::http::Face;

/// All faces, in the order of the metrics.
pub const ALL: &[&dyn Face] = &[imds::FACE, ecs::FACE, pod_identity::FACE, ecs::EXEC];
