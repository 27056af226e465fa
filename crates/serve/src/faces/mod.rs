//! The faces: the protocols that programs on this host speak. Each is a pure function from a request to an answer.

mod common;
pub mod ecs;
mod held;
pub mod imds;
pub mod pod_identity;
mod section;
mod visible_roles;

pub use common::{Common, Shared};
pub use held::Standing;
pub use section::{Entry, OpenError, Opened, Opening, Options, OwnSessions, Remote, Section, Work, open_address};
pub use visible_roles::VisibleRoles;

use crate::http::Face;

/// The faces that are there if they have a section, in the order of the documentation. IMDS is always there.
pub static ALL: &[&Entry] = &[&ecs::ENTRY, &pod_identity::ENTRY];

/// All protocols, in the order of the metrics.
pub fn protocols() -> Vec<&'static dyn Face> {
    [imds::FACE].into_iter().chain(ALL.iter().map(|entry| entry.face)).chain([ecs::EXEC]).collect()
}

#[cfg(test)]
mod tests;
