//! The messages of the Docker Engine API, as far as they matter here. Pure; any input is read without a panic.
//!
//! The fields are those of <https://docs.docker.com/reference/api/engine/version/v1.41/>, checked against a real Docker
//! in `tests/containers.rs`. All may be missing or `null`, as Go writes empty maps and lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::facts::{ContainerFacts, ContainerId};

/// Where a message stops making sense. It quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}")]
pub struct Unreadable {
    line: usize,
    column: usize,
}

/// One line of the list of containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: ContainerId,
    /// Its addresses.
    pub addresses: BTreeSet<IpAddr>,
}

/// A description of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// What it is. A start time and a process only if it runs.
    pub facts: ContainerFacts,
    /// How it is doing.
    pub condition: Condition,
}

/// How a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Made and not started, or just being started (again).
    Coming,
    /// It has a process.
    Running,
    /// It has ended.
    Ended,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something about this container may be different now: ask.
    Changed(ContainerId),
    /// It has ended, or has lost an address: it has none until asked again.
    Lost(ContainerId),
    /// Something about a container, but not which one: look at all.
    Unclear,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawListed {
    id: String,
    network_settings: Option<RawNetworks>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct RawNetworks {
    networks: Option<BTreeMap<String, Option<RawEndpoint>>>,
}

#[derive(Deserialize)]
struct RawEndpoint {
    #[serde(rename = "IPAddress")]
    v4: Option<String>,
    #[serde(rename = "GlobalIPv6Address")]
    v6: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawInspected {
    id: String,
    name: Option<String>,
    state: Option<RawState>,
    config: Option<RawConfig>,
    host_config: Option<RawHostConfig>,
    network_settings: Option<RawNetworks>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct RawState {
    status: Option<String>,
    running: Option<bool>,
    restarting: Option<bool>,
    pid: Option<i32>,
    started_at: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct RawConfig {
    hostname: Option<String>,
    domainname: Option<String>,
    image: Option<String>,
    env: Option<Vec<Wiped>>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct RawHostConfig {
    network_mode: Option<String>,
}

/// A variable. Most are none of our business, and some are secret.
struct Wiped(Zeroizing<String>);

impl<'de> Deserialize<'de> for Wiped {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(Zeroizing::new(text)))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawEvent {
    #[serde(rename = "Type")]
    kind: Option<String>,
    action: Option<String>,
    actor: Option<RawActor>,
}

#[derive(Deserialize)]
struct RawActor {
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(rename = "Attributes")]
    attributes: Option<BTreeMap<String, String>>,
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Unreadable> {
    serde_json::from_slice(body).map_err(|error| Unreadable { line: error.line(), column: error.column() })
}

/// An id that is none makes the whole message unreadable.
fn id(text: &str) -> Result<ContainerId, Unreadable> {
    text.parse().map_err(|_none| Unreadable { line: 0, column: 0 })
}

/// The `Server` line of an answer, for people: which runtime it is.
pub(super) fn server(line: &[u8]) -> String {
    let graphic = line.iter().take(40).take_while(|byte| byte.is_ascii_graphic());
    let printable: String = graphic.copied().map(char::from).collect();
    match printable.split_once('/') {
        Some(("Libpod", version)) => format!("Podman {version}"),
        Some((name, version)) => format!("{name} {version}"),
        None => "a runtime".to_owned(),
    }
}

/// Reads the answer to `GET /containers/json`.
pub fn list(body: &[u8]) -> Result<Vec<Listed>, Unreadable> {
    let read: Vec<RawListed> = json(body)?;
    read.into_iter()
        .map(|listed| {
            let addresses = addresses(listed.network_settings.as_ref()).into_iter().collect();
            Ok(Listed { id: id(&listed.id)?, addresses })
        })
        .collect()
}

/// Reads the answer to `GET /containers/{id}/json`, keeping only the variables that are `wanted`.
pub fn inspected(body: &[u8], wanted: &[String]) -> Result<Inspected, Unreadable> {
    let read: RawInspected = json(body)?;
    let (state, config) = (read.state.unwrap_or_default(), read.config.unwrap_or_default());
    let labels = config.labels.unwrap_or_default();
    let pid = state.pid.filter(|pid| *pid > 0);
    let running = state.running == Some(true) && state.restarting != Some(true) && pid.is_some();
    let condition = match state.status.as_deref() {
        _ if running => Condition::Running,
        Some("created" | "initialized" | "restarting") => Condition::Coming,
        _ => Condition::Ended,
    };
    let mut environment = BTreeMap::new();
    for variable in config.env.unwrap_or_default() {
        // A variable without "=" is one that is only passed on; it has no value here.
        if let Some((name, value)) = variable.0.split_once('=')
            && wanted.iter().any(|wanted| wanted == name)
        {
            environment.insert(name.to_owned(), value.to_owned());
        }
    }
    let mode = read.host_config.and_then(|host| host.network_mode).unwrap_or_default();
    // In another container's network, which has the addresses: Podman reports them for its guests, too.
    let guest = mode.starts_with("container:");
    let domain = config.domainname.filter(|domain| !domain.is_empty()).map(|domain| format!(".{domain}"));
    let facts = ContainerFacts {
        id: id(&read.id)?,
        name: read.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        image: config.image.unwrap_or_default(),
        addresses: addresses(read.network_settings.as_ref().filter(|_| !guest)),
        guest,
        labels,
        environment,
        host_name: format!("{}{}", config.hostname.unwrap_or_default(), domain.unwrap_or_default()),
        host_network: mode == "host",
        started_at: state.started_at.filter(|_| running).and_then(|text| text.parse::<Timestamp>().ok()),
        pid: pid.filter(|_| running),
    };
    Ok(Inspected { facts, condition })
}

/// All addresses that the runtime gave a container, each once.
fn addresses(networks: Option<&RawNetworks>) -> Vec<IpAddr> {
    let endpoints = networks.and_then(|networks| networks.networks.as_ref()).into_iter().flat_map(BTreeMap::values);
    let texts = endpoints.flatten().flat_map(|endpoint| [endpoint.v4.as_deref(), endpoint.v6.as_deref()]).flatten();
    let all: BTreeSet<IpAddr> = texts.filter_map(address).collect();
    all.into_iter().collect()
}

/// The address in a label, with or without a prefix length. The user who starts a container chooses its labels.
pub(super) fn claimed(labels: &BTreeMap<String, String>, label: &str) -> Option<IpAddr> {
    address(labels.get(label)?.split('/').next()?)
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical()).filter(is_of_one)
}

/// Whether an address can belong to one container and no other.
fn is_of_one(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

/// Reads one line of `GET /events`; `None` for what changes nothing here.
pub fn event(line: &[u8]) -> Result<Option<Event>, Unreadable> {
    // JSON sequences (RFC 7464), which newer servers may choose, begin each with this.
    let line = line.strip_prefix(b"\x1e").unwrap_or(line).trim_ascii();
    if line.is_empty() {
        return Ok(None);
    }
    let read: RawEvent = json(line)?;
    let (Some(kind), Some(action), Some(actor)) = (read.kind, read.action, read.actor) else { return Ok(None) };
    match kind.as_str() {
        "container" => {
            let container = actor.id.as_deref().map(str::parse::<ContainerId>);
            Ok(match (action.as_str(), container) {
                // `died`, `remove` and `cleanup` are Podman's own words.
                ("die" | "died" | "destroy" | "remove" | "cleanup", Some(Ok(id))) => Some(Event::Lost(id)),
                // `init` is Podman's, too: the process is there, but does not run yet.
                ("create" | "init" | "start" | "restart" | "rename" | "restore", Some(Ok(id))) => {
                    Some(Event::Changed(id))
                }
                ("die" | "died" | "start", _) => Some(Event::Unclear),
                _ => None,
            })
        }
        "network" => {
            let container = actor.attributes.and_then(|mut all| all.remove("container")).map(|id| id.parse());
            Ok(match (action.as_str(), container) {
                ("disconnect", Some(Ok(id))) => Some(Event::Lost(id)),
                ("connect", Some(Ok(id))) => Some(Event::Changed(id)),
                ("disconnect" | "connect", _) => Some(Event::Unclear),
                _ => None,
            })
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "ba53da6caf50af784b9630030de6849729776299f1131e6adb6bf1eed443fd83";

    /// As Docker 20.10 said it, cut to what could matter.
    fn description(state: &str) -> String {
        format!(
            r#"{{"Id":"{ID}","Created":"2026-11-24T18:53:47.674130874Z","State":{state},"Name":"/t1",
            "Config":{{"Hostname":"ba53da6caf50","Domainname":"example.com","Image":"bb:1","Labels":{{"a":"b"}},
            "Env":["IAM_ROLE=web=1","SECRET=hush","EMPTY","IAM_ROLES=x"]}},"HostConfig":{{"NetworkMode":"default"}},
            "NetworkSettings":{{"Networks":{{"bridge":{{"IPAddress":"172.30.7.2","GlobalIPv6Address":""}},
            "other":{{"IPAddress":"10.1.0.3","GlobalIPv6Address":"fd00::3"}},"none":null}}}}}}"#
        )
    }

    const RUNNING: &str = r#"{"Status":"running","Running":true,"Restarting":false,"Pid":11923,
        "StartedAt":"2026-11-24T18:53:47.920427694Z"}"#;

    #[test]
    fn a_description_keeps_what_is_wanted_and_nothing_else() {
        let read = inspected(description(RUNNING).as_bytes(), &["IAM_ROLE".to_owned()]).expect("legal");
        assert_eq!(read.condition, Condition::Running);
        let facts = read.facts;
        assert_eq!((facts.name.as_str(), facts.image.as_str()), ("t1", "bb:1"));
        assert_eq!(facts.host_name, "ba53da6caf50.example.com");
        assert_eq!(facts.environment, BTreeMap::from([("IAM_ROLE".to_owned(), "web=1".to_owned())]));
        let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.1.0.3", "172.30.7.2", "fd00::3"]);
        assert_eq!(facts.started_at, "2026-11-24T18:53:47.920427694Z".parse().ok());
        assert_eq!((facts.pid, facts.host_network), (Some(11923), false));
    }

    #[test]
    fn who_is_in_the_network_of_another_has_no_address() {
        for (mode, guest) in [("container:0a1b", true), ("bridge", false), ("containers", false)] {
            let text = description(RUNNING).replace("\"default\"", &format!("\"{mode}\""));
            let facts = inspected(text.as_bytes(), &[]).expect("legal").facts;
            assert_eq!((facts.guest, facts.addresses.is_empty()), (guest, guest), "{mode}");
        }
    }

    #[test]
    fn only_what_has_a_process_runs() {
        for (state, condition) in [
            (RUNNING, Condition::Running),
            (r#"{"Status":"paused","Running":true,"Paused":true,"Pid":7}"#, Condition::Running),
            (r#"{"Status":"created","Running":false,"Pid":0}"#, Condition::Coming),
            (r#"{"Status":"restarting","Running":true,"Restarting":true,"Pid":0}"#, Condition::Coming),
            (r#"{"Status":"running","Running":true,"Restarting":false,"Pid":0}"#, Condition::Ended),
            (r#"{"Status":"exited","Running":false,"Pid":0}"#, Condition::Ended),
            ("{}", Condition::Ended),
            ("null", Condition::Ended),
        ] {
            let read = inspected(description(state).as_bytes(), &[]).expect("legal");
            assert_eq!(read.condition, condition, "{state}");
            assert_eq!(read.facts.pid.is_some(), condition == Condition::Running, "{state}");
            assert!(read.facts.environment.is_empty());
        }
    }

    #[test]
    fn a_list_tells_the_addresses_that_the_runtime_gave() {
        let body = format!(
            r#"[{{"Id":"{ID}","Names":["/t1"],"Labels":{{"io.rancher.container.ip":"10.42.1.2/16"}},
            "NetworkSettings":{{"Networks":{{"bridge":{{"IPAddress":"172.30.7.2","GlobalIPv6Address":""}}}}}}}},
            {{"Id":"{}","Labels":null,"NetworkSettings":null}}]"#,
            ID.replace('b', "c")
        );
        let read = list(body.as_bytes()).expect("legal");
        let addresses: Vec<String> = read[0].addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["172.30.7.2"], "a label gives none");
        assert!(read[1].addresses.is_empty());
    }

    #[test]
    fn an_address_that_many_share_is_nobodys() {
        let label = "io.rancher.container.ip";
        let labels = |text: &str| BTreeMap::from([(label.to_owned(), text.to_owned())]);
        assert_eq!(claimed(&labels("10.42.1.2/16"), label), "10.42.1.2".parse().ok());
        assert_eq!(claimed(&labels("::ffff:10.42.1.2"), label), "10.42.1.2".parse().ok());
        for text in ["127.0.0.1", "0.0.0.0", "224.0.0.1", "::", "::1", "::ffff:127.0.0.1", "", "x", "/", "1.2.3"] {
            assert_eq!(claimed(&labels(text), label), None, "{text}");
        }
    }

    #[test]
    fn events_say_who_changed_and_who_lost_an_address() {
        let container = |action: &str| {
            format!(r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{ID}","Attributes":{{"name":"t"}}}}}}"#)
        };
        let network = |action: &str| {
            format!(
                r#"{{"Type":"network","Action":"{action}","Actor":{{"ID":"1","Attributes":{{"container":"{ID}"}}}}}}"#
            )
        };
        let id: ContainerId = ID.parse().expect("an id");
        for (line, expected) in [
            (container("start"), Some(Event::Changed(id.clone()))),
            (container("die"), Some(Event::Lost(id.clone()))),
            (container("died"), Some(Event::Lost(id.clone()))),
            (container("create"), Some(Event::Changed(id.clone()))),
            (container("init"), Some(Event::Changed(id.clone()))),
            (container("sync"), None),
            (container("exec_start: /bin/sh -c die"), None),
            (network("connect"), Some(Event::Changed(id.clone()))),
            (network("disconnect"), Some(Event::Lost(id.clone()))),
            (network("create"), None),
            (network("connect").replace(ID, "../x"), Some(Event::Unclear)),
            (container("die").replace(ID, "name"), Some(Event::Unclear)),
            (format!("\u{1e}{}\n", container("start")), Some(Event::Changed(id))),
            (r#"{"Type":"image","Action":"pull"}"#.to_owned(), None),
            ("\r\n".to_owned(), None),
        ] {
            assert_eq!(event(line.as_bytes()), Ok(expected), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_message_is_told_without_quoting_it() {
        let broken = description(RUNNING).replace("\"SECRET=hush\"", "\"SECRET=hush");
        let error = inspected(broken.as_bytes(), &[]).expect_err("broken").to_string();
        assert!(error.starts_with("line ") && !error.contains("hush"), "{error}");
        assert!(event(b"{\"Type\":\"container\"").is_err());
    }

    #[test]
    fn the_runtime_says_its_name() {
        assert_eq!(server(b"Libpod/4.3.1 (linux)"), "Podman 4.3.1");
        assert_eq!(server(b"Docker/20.10.24+dfsg1 (linux)"), "Docker 20.10.24+dfsg1");
        assert_eq!(server(b""), "a runtime");
    }
}
