//! The roles of containers: which they request, which are granted, and the roles that are fetched for them.

mod ask;
mod mapping;
mod roles;

pub use ask::{Allow, Ask, NoRole, Place, Rules, WrittenRole, clean_session_name};
pub use mapping::{MappingError, parse as parse_mapping};
pub use roles::{ContainerRoles, Fetcher};

#[cfg(test)]
pub(crate) mod tests {
    pub(crate) use super::{ask::tests::rules, roles::tests::Counter};
}
