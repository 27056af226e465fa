//! A directory of people: what the identity methods need of one.

use std::{collections::BTreeMap, sync::Arc};

use crate::{Evidence, Identity, Prove, Refusal};

/// What a directory says of a person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Person {
    /// The groups.
    pub groups: Vec<String>,
    /// Claims with their values. One without any says that the person has none, whatever a proof says.
    pub claims: BTreeMap<String, Vec<String>>,
}

/// A directory of people. An error says why it cannot answer now.
pub trait Directory: Send + Sync {
    /// The person of exactly this name; one without groups if there is nobody. It may wait for the directory.
    fn person(&self, name: &str) -> Result<Person, String>;

    /// From now on SSH keys are needed.
    fn want_keys(&self);

    /// The names of the people who have this SSH key, as it is on the wire. It waits for nothing.
    fn key_owners(&self, key: &[u8]) -> Result<Vec<String>, String>;
}

/// Adds what a directory says to what another method proves.
pub(crate) struct WithDirectory(pub(crate) Arc<dyn Prove>, pub(crate) Arc<dyn Directory>);

impl Prove for WithDirectory {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn challenge(&self) -> Option<String> {
        self.0.challenge()
    }

    fn blocks(&self) -> bool {
        true
    }

    fn prove(&self, evidence: &Evidence<'_>) -> Result<Option<Identity>, Refusal> {
        let Some(mut identity) = self.0.prove(evidence)? else { return Ok(None) };
        let Person { groups, claims } = self.1.person(&identity.name).map_err(Refusal::Unavailable)?;
        identity.join(groups);
        for (claim, values) in claims {
            if values.is_empty() {
                identity.claims.remove(&claim);
            } else {
                identity.claims.insert(claim, values);
            }
        }
        Ok(Some(identity))
    }
}
