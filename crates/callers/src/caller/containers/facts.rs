//! What is known of one running container, and whether it still runs.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr, sync::Arc};

use jiff::Timestamp;

use super::hold::{Hold, Unheld};
use crate::caller::pidfd;

/// The id that the runtime gave a container: 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(Arc<str>);

/// What a text is that is no [`ContainerId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a container, which has 64 hexadecimal digits")]
pub struct NoContainerId;

impl ContainerId {
    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first twelve digits, as `docker ps` shows them.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl FromStr for ContainerId {
    type Err = NoContainerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if text.len() == 64 && digits { Ok(Self(text.into())) } else { Err(NoContainerId) }
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// What the runtime reports of a container. The user who started it chose all but the id, the addresses and the times:
/// these are requests, never permissions.
#[derive(Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without the slash that the API puts in front.
    pub name: String,
    /// Its image, as it was named when the container was made.
    pub image: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Those of its variables that the configuration asks for. The others, which hold secrets, are never kept.
    pub environment: BTreeMap<String, String>,
    /// Its addresses in all of its networks; none with host networking, and none of a guest.
    pub addresses: Vec<IpAddr>,
    /// Whether it is in the network of another container, whose addresses it shares.
    pub guest: bool,
    /// Its host name with its domain, if it has one.
    pub host_name: String,
    /// Whether it uses the network of the host.
    pub host_network: bool,
    /// Since when it runs; `None` while it is still being started. A container that is started again is another one.
    pub started_at: Option<Timestamp>,
    /// Its first process, in the runtime's process namespace.
    pub pid: Option<i32>,
}

impl fmt::Debug for ContainerFacts {
    /// Without the values of variables: an external id is meant for few.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContainerFacts")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("image", &self.image)
            .field("addresses", &self.addresses)
            .field("started_at", &self.started_at)
            .finish_non_exhaustive()
    }
}

/// A running container: one life of it, from its start to its end.
#[derive(Debug)]
pub struct Container {
    facts: ContainerFacts,
    hold: Hold,
}

impl Container {
    /// A container with a hold on its first process, so that its end is seen before the runtime reports it.
    pub(super) fn held(facts: ContainerFacts, hold: Hold) -> Self {
        Self { facts, hold }
    }

    /// One whose first process is not held onto: it is believed to run. For what is only described.
    pub fn described(facts: ContainerFacts) -> Self {
        Self { facts, hold: Hold::Nothing { why: Unheld::NoProcess, accepted: true } }
    }

    /// Its control group, as the kernel says it; `None` if that is not known.
    pub fn group(&self) -> Option<&str> {
        match &self.hold {
            Hold::Process { group, .. } => group.as_deref(),
            Hold::Nothing { .. } => None,
        }
    }

    /// What the runtime reports of it.
    pub fn facts(&self) -> &ContainerFacts {
        &self.facts
    }

    /// Whether its first process still runs. An address is given away only after that has ended. Where that cannot be
    /// seen it is so only if the administrator accepts it.
    pub fn is_alive(&self) -> bool {
        match &self.hold {
            Hold::Process { process, .. } => !pidfd::has_ended(process),
            Hold::Nothing { accepted, .. } => *accepted,
        }
    }

    /// Why its first process is not held onto; `None` if it is.
    pub(super) fn unheld(&self) -> Option<Unheld> {
        match self.hold {
            Hold::Process { .. } => None,
            Hold::Nothing { why, .. } => Some(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Container {
        /// One that runs, with that control group.
        pub(crate) fn in_group(facts: ContainerFacts, group: &str) -> Self {
            Self { facts, hold: Hold::of(rustix::process::getpid(), Some(group)) }
        }
    }

    #[test]
    fn an_id_has_64_lower_case_hexadecimal_digits() {
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(id.parse::<ContainerId>().expect("legal").short(), "0123456789ab");
        for wrong in ["", "abc", &id[1..], &id.to_uppercase(), &format!("{id}0"), &id.replace('0', "/")] {
            assert_eq!(wrong.parse::<ContainerId>(), Err(NoContainerId), "{wrong}");
        }
    }

    #[test]
    fn the_end_of_the_process_is_the_end_of_the_container() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("it starts");
        let hold = Hold::of(rustix::process::Pid::from_child(&child), None);
        let container = Container::held(super::super::tests::facts('a', "172.17.0.2"), hold);
        assert!(container.is_alive() && container.unheld().is_none());
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        assert!(!container.is_alive());
    }

    #[test]
    fn what_cannot_be_seen_to_run_is_alive_only_if_that_is_accepted() {
        for accepted in [false, true] {
            let hold = Hold::Nothing { why: Unheld::Hidden, accepted };
            let container = Container::held(super::super::tests::facts('a', "172.17.0.2"), hold);
            assert_eq!((container.is_alive(), container.unheld()), (accepted, Some(Unheld::Hidden)));
        }
    }

    #[test]
    fn no_value_of_a_variable_is_shown() {
        let mut facts = super::super::tests::facts('a', "172.17.0.2");
        facts.environment.insert("IAM_EXTERNAL_ID".into(), "hush".into());
        assert!(!format!("{facts:?}").contains("hush"));
    }
}
