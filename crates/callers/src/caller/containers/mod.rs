//! Containers: what a Docker or Podman socket reports, and which container has an address or an id.

mod api;
mod container_state;
mod facts;
mod hold;
mod host_names;
mod index;
mod messages;
mod observer;
mod watch;

pub use api::{Api, ApiError};
pub use facts::{Container, ContainerFacts, ContainerId, NoContainerId};
pub use host_names::{HostNames, PatternError};
pub use index::{ContainerIndex, Lookup, Sought};
pub use messages::{Condition, Event, Inspected, Listed, Unreadable, event, inspected, list};
pub use observer::Observer;
pub use watch::{Settings, Watcher};

#[cfg(test)]
pub(crate) mod tests {
    use super::ContainerFacts;

    /// A running container whose id is made of one digit.
    pub(crate) fn facts(id: char, address: &str) -> ContainerFacts {
        ContainerFacts {
            id: id.to_string().repeat(64).parse().expect("an id"),
            name: format!("name-{id}"),
            image: "image:1".into(),
            labels: [("team".to_owned(), "x".to_owned())].into(),
            environment: [("IAM_ROLE".to_owned(), format!("role-{id}"))].into(),
            addresses: address.split_whitespace().map(|address| address.parse().expect("an address")).collect(),
            guest: false,
            host_name: format!("host-{id}"),
            host_network: address.is_empty(),
            started_at: Some("2026-11-24T10:00:00Z".parse().expect("a timestamp")),
            pid: None,
        }
    }
}
