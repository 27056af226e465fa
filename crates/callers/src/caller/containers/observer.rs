//! What is told of containers that come and go.

use super::facts::{ContainerFacts, ContainerId};

/// Is notified of each container's start and end.
pub trait Observer: Send + Sync + 'static {
    /// It runs or is about to. Called before anybody finds it in the index.
    fn appeared(&self, container: &ContainerFacts);

    /// It is gone. Called after it has left the index.
    fn gone(&self, container: &ContainerId);

    /// Readers see something else now.
    fn changed(&self) {}
}
