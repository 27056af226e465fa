//! Audit records: which caller got which credentials, which did not, and why. As JSON, and never with a secret.

use std::{borrow::Cow, sync::Arc};

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    caller::{Holder, Origin, Peer, ProvenPod, cgroup::Cgroup, containers::Container},
    credentials::{RoleId, format_timestamp},
};

/// How many characters of a text that clients choose are recorded.
const LONGEST: usize = 512;

/// Something that happened to a caller.
#[derive(Debug, Clone)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// To whom.
    pub peer: Peer,
    /// The container in which it is, if that is known.
    pub container: Option<Arc<Container>>,
    /// What.
    pub what: What,
    /// How often the same has happened to its owner since the last record of that.
    pub more: u64,
    /// The rule that decided, or any other reason.
    pub reason: Arc<str>,
    /// The face: `imds`, …
    pub face: &'static str,
    /// How it asked: `v1` or `v2` at the IMDS face.
    pub version: Option<&'static str>,
    /// What it calls itself.
    pub user_agent: Option<Box<str>>,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// It got credentials.
    Issued {
        /// Of this role.
        role: RoleId,
        /// The public half of the key: CloudTrail names it, too.
        access_key_id: Box<str>,
        /// Until then they are valid.
        expiration: Timestamp,
        /// The pod that has proved who it is, at the face where pods do.
        pod: Option<Arc<ProvenPod>>,
    },
    /// It got none.
    Denied {
        /// What it asked for.
        path: Box<str>,
        /// The pod, as above.
        pod: Option<Arc<ProvenPod>>,
    },
}

/// What was found out about a caller after the event.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// Its user's name.
    pub user: Option<Box<str>>,
    /// Its control group.
    pub cgroup: Option<Arc<Cgroup>>,
    /// Its process.
    pub holder: Option<Holder>,
}

/// The keys are explained in `docs/audit.md`.
#[derive(Serialize)]
struct Record<'a> {
    time: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<u64>,
    reason: Cow<'a, str>,
    origin: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<ContainerRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<&'a ProvenPod>,
    face: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<&'a str>,
}

#[derive(Serialize)]
struct ContainerRecord<'a> {
    id: &'a str,
    name: Cow<'a, str>,
    image: Cow<'a, str>,
}

impl Event {
    /// It as a line of JSON.
    pub fn render(&self, findings: &Findings) -> String {
        let (event, role, key, expiration, path, pod) = match &self.what {
            What::Issued { role, access_key_id, expiration, pod } => {
                ("hand-out", Some(role.as_str()), Some(&**access_key_id), Some(*expiration), None, pod.as_deref())
            }
            What::Denied { path, pod } => ("denial", None, None, None, Some(&**path), pod.as_deref()),
        };
        let (origin, uid) = match &self.peer.origin {
            Origin::Process(process) => ("process", Some(process.uid)),
            Origin::Elsewhere => ("elsewhere", None),
            Origin::Unknown { .. } | Origin::Unasked => ("unknown", None),
        };
        let container = self.container.as_ref().map(|container| container.facts()).map(|facts| ContainerRecord {
            id: facts.id.as_str(),
            name: bounded(&facts.name),
            image: bounded(&facts.image),
        });
        let exe = findings.holder.as_ref().and_then(|holder| holder.exe.as_ref());
        let record = Record {
            time: self.time.to_string(),
            event,
            role,
            access_key_id: key,
            expiration: expiration.map(format_timestamp),
            path,
            more: Some(self.more).filter(|more| *more > 0),
            reason: bounded(&self.reason),
            origin,
            address: self.peer.address.map(|address| address.to_string()),
            uid,
            user: findings.user.as_deref(),
            pid: findings.holder.as_ref().map(|holder| holder.pid),
            exe: exe.map(|exe| bounded(&exe.to_string_lossy()).into_owned()),
            cgroup: findings.cgroup.as_ref().map(|group| bounded(&group.path)),
            unit: findings.cgroup.as_ref().and_then(|group| group.unit.as_deref()).map(bounded),
            container,
            pod,
            face: self.face,
            version: self.version,
            user_agent: self.user_agent.as_deref(),
        };
        // It has text keys only, and nothing in it can fail.
        serde_json::to_string(&record).unwrap_or_default()
    }
}

/// As much of a text as is recorded; what is left out is marked.
pub(super) fn bounded(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => Cow::Owned(format!("{}...[{} bytes]", text.get(..end).unwrap_or_default(), text.len())),
        None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::caller::{Membership, Process, containers::tests::facts};

    fn pod() -> ProvenPod {
        let (namespace, service_account) = ("prod".into(), "web".into());
        ProvenPod { namespace, service_account, name: Some("web-0".into()), uid: None, session_name: None }
    }

    #[test]
    fn each_key_is_published_and_no_other() {
        let container = ContainerRecord { id: "", name: "".into(), image: "".into() };
        let text = Some("");
        let pod = ProvenPod { uid: Some("".into()), session_name: Some("".into()), ..pod() };
        let record = Record {
            time: String::new(),
            event: "",
            role: text,
            access_key_id: text,
            expiration: Some(String::new()),
            path: text,
            more: Some(1),
            reason: "".into(),
            origin: "",
            address: Some(String::new()),
            uid: Some(0),
            user: text,
            pid: Some(1),
            exe: Some(String::new()),
            cgroup: Some("".into()),
            unit: Some("".into()),
            container: Some(container),
            pod: Some(&pod),
            face: "",
            version: text,
            user_agent: text,
        };
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../../../docs/schemas/audit.schema.json")).expect("JSON");
        let keys = |value: &serde_json::Value| -> BTreeSet<String> {
            value.as_object().expect("a mapping").keys().cloned().collect()
        };
        let [hand_out, denial] = [0, 1].map(|at| &schema["oneOf"][at]["properties"]);
        let record = serde_json::to_value(record).expect("JSON");
        assert_eq!(keys(&record), &keys(hand_out) | &keys(denial));
        for part in ["container", "pod"] {
            assert_eq!(keys(&record[part]), keys(&hand_out[part]["properties"]), "{part}");
        }
        let common = &keys(hand_out) & &keys(denial);
        assert!(common.iter().filter(|key| *key != "event").all(|key| hand_out[key] == denial[key]));
    }

    #[test]
    fn a_record_is_one_line_with_what_is_known_and_no_more() {
        let process = Process { uid: 33, gid: None, pid: None, inode: 7, cgroup: Membership::Id(1) };
        let event = Event {
            time: "2026-11-24T19:00:00.25Z".parse().expect("a timestamp"),
            peer: Peer { origin: Origin::Process(process), ..Peer::unasked("127.0.0.1:5000".parse().expect("legal")) },
            container: None,
            what: What::Issued {
                role: RoleId::named(&"deploy".parse().expect("a name")),
                access_key_id: "ASIAEXAMPLE".into(),
                expiration: "2026-11-24T20:00:00Z".parse().expect("a timestamp"),
                pod: None,
            },
            more: 0,
            reason: "rule 1".into(),
            face: "imds",
            version: Some("v2"),
            user_agent: Some("curl\n\"8".into()),
        };
        let findings = Findings {
            user: Some("www-data".into()),
            cgroup: Some(Arc::new(Cgroup::parse("/system.slice/web.service"))),
            holder: Some(Holder { pid: 12, exe: Some("/usr/bin/curl".into()) }),
        };
        assert_eq!(
            event.render(&findings),
            "{\"time\":\"2026-11-24T19:00:00.25Z\",\"event\":\"hand-out\",\"role\":\"deploy\",\
             \"access_key_id\":\"ASIAEXAMPLE\",\"expiration\":\"2026-11-24T20:00:00Z\",\"reason\":\"rule 1\",\
             \"origin\":\"process\",\"address\":\"127.0.0.1:5000\",\"uid\":33,\"user\":\"www-data\",\"pid\":12,\
             \"exe\":\"/usr/bin/curl\",\"cgroup\":\"/system.slice/web.service\",\"unit\":\"web.service\",\
             \"face\":\"imds\",\"version\":\"v2\",\"user_agent\":\"curl\\n\\\"8\"}"
        );
        let denial = Event {
            what: What::Denied { path: "/x".into(), pod: Some(Arc::new(pod())) },
            more: 3,
            reason: "é".repeat(600).into(),
            container: Some(Arc::new(Container::described(facts('a', "172.17.0.2")))),
            peer: Peer { origin: Origin::Elsewhere, ..event.peer.clone() },
            ..event
        };
        let record: serde_json::Value = serde_json::from_str(&denial.render(&Findings::default())).expect("JSON");
        assert_eq!(
            (&record["event"], &record["path"], &record["uid"]),
            (&"denial".into(), &"/x".into(), &serde_json::Value::Null)
        );
        assert_eq!(record["container"]["name"], "name-a");
        assert_eq!(record["pod"], serde_json::json!({"namespace": "prod", "service_account": "web", "name": "web-0"}));
        assert_eq!(
            (&record["more"], &record["reason"]),
            (&3.into(), &format!("{}...[1200 bytes]", "é".repeat(512)).into())
        );
        assert!(!record.to_string().contains("role-a"), "no variable of a container is recorded");
    }
}
