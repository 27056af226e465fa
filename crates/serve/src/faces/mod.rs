//! The faces: the protocols that programs on this host speak. Each is a pure function from a request to an answer.

pub(crate) mod ecs;
pub(crate) mod face;
pub(crate) mod imds;
pub(crate) mod pod_identity;
mod view;
mod wish;

pub use view::View;
