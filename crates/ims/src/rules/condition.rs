//! Whom a rule is about: conditions over an identity, all of which must hold, and what they capture.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use ipnet::IpNet;
use regex_lite::Regex;

use crate::{
    expression::Expression,
    identity::{Identity, Peer},
    text::printable,
};

/// More combinations of names, groups and claims than any identity has for one rule.
const MAX_COMBINATIONS: usize = 1_000;

/// Named captures with their values.
pub(super) type Captures = BTreeMap<String, String>;

/// Patterns of which one has to match one of the values.
#[derive(Debug, Clone)]
pub struct Condition(pub Vec<Expression>);

impl Condition {
    fn find(&self, values: &[String]) -> Vec<Captures> {
        let mut found = Vec::new();
        for captures in self.0.iter().flat_map(|pattern| values.iter().filter_map(|value| pattern.captures(value))) {
            if found.len() <= MAX_COMBINATIONS && !found.contains(&captures) {
                found.push(captures);
            }
        }
        found
    }

    fn written(&self) -> String {
        self.0.iter().map(|pattern| format!("`{}`", pattern.as_str())).collect::<Vec<_>>().join(" or ")
    }
}

/// A part of a captured text is replaced before templates are filled in.
#[derive(Debug, Clone)]
pub struct Rewrite {
    /// The capture.
    pub capture: String,
    /// What is replaced, wherever it is in the captured text.
    pub from: Regex,
    /// By what; `$1` and `${name}` stand for what `from` captured.
    pub to: String,
}

/// All conditions of a rule.
#[derive(Debug, Clone, Default)]
pub struct Match {
    /// Kinds of proof, or names of configured methods.
    pub method: Option<Vec<String>>,
    /// Patterns of a name.
    pub name: Option<Condition>,
    /// Patterns of a group.
    pub groups: Option<Condition>,
    /// Patterns of claims.
    pub claims: Vec<(String, Condition)>,
    /// Networks of the caller.
    pub from: Option<Vec<IpNet>>,
    /// Changes of what was captured.
    pub rewrite: Vec<Rewrite>,
}

/// The conditions, for a message.
impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self.method.iter().map(|names| format!("method {}", names.join(" or "))).collect();
        parts.extend(self.name.iter().map(|condition| format!("name {}", condition.written())));
        parts.extend(self.groups.iter().map(|condition| format!("group {}", condition.written())));
        parts.extend(self.claims.iter().map(|(claim, condition)| format!("claim {claim} {}", condition.written())));
        let networks = |from: &Vec<IpNet>| from.iter().map(IpNet::to_string).collect::<Vec<_>>().join(" or ");
        parts.extend(self.from.iter().map(|from| format!("from {}", networks(from))));
        f.write_str(&parts.join(", "))
    }
}

/// What came of the conditions.
pub(super) enum Found {
    /// One of them does not hold, for this reason.
    Nothing(String),
    /// All hold, in these ways; at least one.
    Captures(Vec<Captures>),
    /// All hold so far, in too many ways.
    TooMany,
}

impl Found {
    pub(super) fn too_many() -> String {
        format!(
            "names, groups and claims match in more than {MAX_COMBINATIONS} combinations; make the patterns narrower"
        )
    }
}

impl Match {
    /// Whether there is a condition on who the caller is, and not only on where it calls from.
    pub fn is_about_identity(&self) -> bool {
        self.method.is_some() || self.name.is_some() || self.groups.is_some() || !self.claims.is_empty()
    }

    /// The names that all ways to match capture.
    pub fn capture_names(&self) -> Vec<String> {
        let conditions = self.name.iter().chain(&self.groups).chain(self.claims.iter().map(|(_, condition)| condition));
        let mut names: Vec<String> = Vec::new();
        for Condition(patterns) in conditions {
            let Some(first) = patterns.first() else { continue };
            let in_all =
                |name: &&str| patterns.iter().all(|pattern| pattern.capture_names().any(|other| other == *name));
            names.extend(first.capture_names().filter(in_all).map(str::to_owned));
        }
        names.sort();
        names.dedup();
        names
    }

    pub(super) fn find(&self, identity: &Identity, peer: &Peer) -> Found {
        if let Some(methods) = &self.method
            && !methods.iter().any(|method| *method == identity.method || *method == identity.proven_by)
        {
            let methods_wanted = methods.join(" or ");
            // Only `explain` does not know it.
            if identity.method.is_empty() {
                return Found::Nothing(format!(
                    "the method has to be {methods_wanted}, and it is not said which it is (--proven-by)"
                ));
            }
            let (kind, name) = (identity.method, printable(&identity.proven_by, 60));
            return Found::Nothing(format!("the method is {kind} ({name}), not {methods_wanted}"));
        }
        if let Some(networks) = &self.from
            && !address(peer).is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
        {
            return Found::Nothing("the caller's address is in none of the networks (`from`)".to_owned());
        }
        let empty = Vec::new();
        let claims = self.claims.iter().map(|(claim, condition)| {
            (format!("claim `{claim}`"), condition, identity.claims.get(claim).unwrap_or(&empty))
        });
        let name = self.name.iter().map(|condition| ("name".to_owned(), condition, &identity.names));
        let groups = self.groups.iter().map(|condition| ("group".to_owned(), condition, &identity.groups));
        let mut ways = vec![Captures::new()];
        for (what, condition, values) in name.chain(groups).chain(claims) {
            let found = condition.find(values);
            if found.is_empty() {
                return Found::Nothing(format!("no {what} matches {}{}", condition.written(), shown(values)));
            }
            ways = join(&ways, &found);
            if ways.is_empty() {
                return Found::Nothing(format!(
                    "each {what} that matches captures other values than the conditions before it"
                ));
            }
            if ways.len() > MAX_COMBINATIONS {
                return Found::TooMany;
            }
        }
        for captures in &mut ways {
            self.rewrite(captures);
        }
        Found::Captures(ways)
    }

    fn rewrite(&self, captures: &mut Captures) {
        for Rewrite { capture, from, to } in &self.rewrite {
            if let Some(value) = captures.get_mut(capture) {
                *value = from.replace_all(value, to.as_str()).into_owned();
            }
        }
    }
}

/// An IPv4 address as such, also where the socket is one of IPv6.
fn address(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Tcp(address) => Some(address.to_canonical()),
        Peer::Unix { .. } => None,
    }
}

/// Each of `left` with each of `right`, where they do not contradict each other; stops when there are too many.
fn join(left: &[Captures], right: &[Captures]) -> Vec<Captures> {
    let mut joined = Vec::new();
    for (one, two) in left.iter().flat_map(|one| right.iter().map(move |two| (one, two))) {
        if joined.len() > MAX_COMBINATIONS {
            break;
        }
        if two.iter().all(|(name, value)| one.get(name).is_none_or(|other| other == value)) {
            let mut both = one.clone();
            both.extend(two.clone());
            joined.push(both);
        }
    }
    joined
}

/// The first values, for a message.
fn shown(values: &[String]) -> String {
    if values.is_empty() {
        return "; there is none".to_owned();
    }
    let first: Vec<String> = values.iter().take(5).map(|value| format!("{:?}", printable(value, 80))).collect();
    let more = values.len().checked_sub(6).map_or(String::new(), |more| format!(" and {} more", more + 1));
    format!("; there are {}{more}", first.join(", "))
}

/// What was captured, for a message.
pub(super) fn describe(captures: &Captures) -> String {
    if captures.is_empty() {
        return String::new();
    }
    let parts: Vec<String> =
        captures.iter().map(|(name, value)| format!("{name}={:?}", printable(value, 80))).collect();
    format!(" (captured: {})", parts.join(", "))
}
