//! The addresses that are listened on: each of them once. A second socket at the same address would wait for the first.

use std::{fmt, net::SocketAddr};

use crate::faces;
use alppaca_settings::{
    fields::Fields,
    problem::{Place, Problem},
    read,
    yaml::{Node, Value},
};

/// The keys that name addresses, beside the `listen` of each face.
const KEYS: [&str; 3] = ["listen", "capture_listen", "metrics_listen"];

/// An address, and what names it.
struct Named {
    address: SocketAddr,
    key: String,
    /// None: it is the default.
    place: Option<Place>,
}

/// What is wrong with addresses that would need more than one socket each.
pub(super) fn conflicts(fields: &Fields) -> Vec<Problem> {
    let mut named: Vec<Named> = Vec::new();
    let mut problems = Vec::new();
    for one in usual(fields).into_iter().chain(given(fields)) {
        match named.iter().find(|other| overlap(one.address, other.address)) {
            Some(other) => problems.extend(problem(&one, other)),
            None => named.push(one),
        }
    }
    problems
}

/// The listener of `bind_ip` and `bind_port`.
fn usual(fields: &Fields) -> Option<Named> {
    if fields.given("listen").is_some() {
        return None;
    }
    let address = SocketAddr::new(fields.peek("bind_ip", read::ip)?, fields.peek("bind_port", read::listen_port)?);
    let place = fields.place("bind_port").or_else(|| fields.place("bind_ip"));
    Some(Named { address, key: "bind_port".to_owned(), place })
}

/// Those that are written. What is no address is reported elsewhere.
fn given(fields: &Fields) -> impl Iterator<Item = Named> {
    let keys = KEYS.into_iter().filter_map(|key| Some((key.to_owned(), fields.given(key)?)));
    let sections = faces::ALL.iter().map(|entry| entry.section.key).chain(["status_page"]).filter_map(|section| {
        let Value::Map(entries) = &fields.given(section)?.value else { return None };
        let (_, node) = entries.iter().find(|(key, _)| key.text == "listen")?;
        Some((format!("{section}.listen"), node))
    });
    keys.chain(sections).flat_map(|(key, node)| {
        let nodes = match &node.value {
            Value::List(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(node),
        };
        nodes.iter().filter_map(move |node: &Node| {
            let address = read::socket_address(node).ok()?;
            Some(Named { address, key: key.clone(), place: Some(node.place.clone()) })
        })
    })
}

/// Whether one socket at each of both is too many. Port 0 is another port each time.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_family && same_ip
}

/// It stands where the later one is written; two defaults never overlap.
fn problem(one: &Named, other: &Named) -> Option<Problem> {
    let (at, first, second) = match (&one.place, &other.place) {
        (Some(place), _) => (place, other, one),
        (None, Some(place)) => (place, one, other),
        (None, None) => return None,
    };
    let message = if first.address == second.address {
        format!("{} is already used by {first}; remove one or choose another port", second.address)
    } else {
        format!(
            "{} conflicts with {}, which {first} uses; remove one or choose another port",
            second.address, first.address
        )
    };
    Some(Problem::new(at.clone(), message))
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(Place { source, line, column }) => {
                write!(f, "`{}` ({}:{line}:{column})", self.key, source.name.display())
            }
            None => write!(f, "`{}` (by default)", self.key),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn problems(text: &str) -> String {
        let parsed = parse(vec![("a.yaml".into(), format!("ims_host: x\n{text}"))]);
        parsed.map_or_else(|errors| errors.to_string(), |_| String::new())
    }

    #[test]
    fn an_address_that_is_given_twice_is_reported_with_both_places() {
        for (text, place, message) in [
            (
                "listen: ['127.0.0.1:1', '127.0.0.1:1']",
                "a.yaml:2:25",
                "127.0.0.1:1 is already used by `listen` (a.yaml:2:10)",
            ),
            (
                "listen: ['127.0.0.1:1']\ncapture_listen: 127.0.0.1:1",
                "a.yaml:3:17",
                "127.0.0.1:1 is already used by `listen` (a.yaml:2:10)",
            ),
            ("capture_listen: 127.0.0.1:25772", "a.yaml:2:17", "by `bind_port` (by default)"),
            (
                "bind_port: 9\nstatus_page: {listen: ['unix:/x', '127.0.0.1:9']}",
                "a.yaml:3:35",
                "by `bind_port` (a.yaml:2:1)",
            ),
            ("bind_port: 9\nmetrics_listen: 127.0.0.1:9", "a.yaml:3:17", "by `bind_port` (a.yaml:2:1)"),
            (
                "listen: ['0.0.0.0:1']\ncontainer: {listen: '127.0.0.1:1', roles: {web: {open: true}}}",
                "a.yaml:3:21",
                "127.0.0.1:1 conflicts with 0.0.0.0:1, which `listen` (a.yaml:2:10) uses",
            ),
        ] {
            let problems = problems(text);
            assert!(problems.contains(place) && problems.contains(message), "{text}: {problems}");
        }
    }

    #[test]
    fn addresses_of_their_own_are_no_problem() {
        for text in [
            "listen: ['127.0.0.1:0', '127.0.0.1:0']\nmetrics_listen: 127.0.0.1:0",
            "listen: ['0.0.0.0:1', '[::]:1']",
            "listen: ['127.0.0.1:1', '127.0.0.2:1', '127.0.0.1:2']\ncapture_listen: 127.0.0.1:3",
            "bind_port: 25774",
        ] {
            assert_eq!(problems(text), "", "{text}");
        }
    }
}
