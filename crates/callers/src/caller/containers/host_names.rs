//! Finding a container by the host name of an address, for networks whose addresses the runtime does not know.
//!
//! A name counts for as much as the name server that says it: who can write PTR records can be any container whose host
//! name fits.

use std::{net::IpAddr, process::Stdio, time::Duration};

use regex_lite::Regex;
use tokio::process::Command;

/// For one look-up.
const PATIENCE: Duration = Duration::from_secs(3);

/// The part of a host name by which it is compared.
#[derive(Debug, Clone)]
pub struct HostNames {
    pattern: Regex,
}

/// Why a pattern is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is no regular expression.
    #[error("not a regular expression: {0}")]
    Syntax(String),
    /// Nothing says which part to compare.
    #[error("a group in parentheses must select the part of the host name to compare, such as ^([a-z0-9-]+)\\..*$")]
    NoGroup,
}

impl HostNames {
    /// Compares what the first group of `pattern` matches. It has to match at the beginning, as in Python's
    /// `re.match`, which metadataproxy uses.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        let pattern =
            Regex::new(&format!("^(?:{pattern})")).map_err(|error| PatternError::Syntax(error.to_string()))?;
        if pattern.captures_len() < 2 {
            return Err(PatternError::NoGroup);
        }
        Ok(Self { pattern })
    }

    fn part<'a>(&self, name: &'a str) -> Option<&'a str> {
        self.pattern.captures(name)?.get(1).map(|group| group.as_str()).filter(|part| !part.is_empty())
    }

    /// Whether both names are of the same container.
    pub fn same(&self, one: &str, other: &str) -> bool {
        self.part(one).is_some_and(|part| self.part(other) == Some(part))
    }
}

/// The host name of an address, as this host's name service knows it. It may take seconds.
pub(super) async fn of(address: IpAddr) -> Option<String> {
    // The C library's resolver, with all that /etc/nsswitch.conf says, in a process that can be ended.
    let mut command = Command::new("getent");
    command.args(["hosts", &address.to_string()]).stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            tracing::warn!("containers: no host name for {address}: cannot run getent: {error}");
            return None;
        }
        Err(_late) => {
            tracing::warn!("containers: no host name for {address} within {} s", PATIENCE.as_secs());
            return None;
        }
    };
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().nth(1).filter(|_| output.status.success()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_group_is_what_is_compared() {
        let names = HostNames::new(r"^([a-z0-9-]+)\..*$").expect("legal");
        assert!(names.same("web-1.example.com", "web-1.internal"));
        for (one, other) in [("web-1.a", "web-2.a"), ("web-1", "web-1"), (".a", ".a"), ("x web-1.a", "web-1.a")] {
            assert!(!names.same(one, other), "{one} {other}");
        }
        assert!(!HostNames::new("(x)?.*").expect("legal").same("a", "b"), "nothing is not the same as nothing");
    }

    #[test]
    fn a_pattern_without_a_group_could_never_match() {
        assert_eq!(HostNames::new("^.*$").expect_err("no group"), PatternError::NoGroup);
        assert!(matches!(HostNames::new("(").expect_err("broken"), PatternError::Syntax(_)));
    }

    #[tokio::test]
    async fn this_hosts_name_service_is_asked() {
        let name = of(std::net::Ipv4Addr::LOCALHOST.into()).await;
        assert!(name.is_some_and(|name| name.contains("localhost")));
    }
}
