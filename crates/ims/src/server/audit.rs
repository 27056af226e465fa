//! The record of a decision: one line of JSON; those of denials are bounded in number.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{client::Client, counters::Ending, respond::Reply};
use crate::{
    Owner, Subordinates,
    approvals::{Entry, Word},
    budget::{Allowance, Rate},
    clock::BootTime,
    credentials::format_timestamp,
    identity::{Identity, Peer},
    rules::Grant,
    sts::Minted,
};

/// How many denials of an identity, or of a peer that proves none, are recorded. The others in between are counted.
const RATE: Rate = Rate { burst: 60, every: Duration::from_mins(1) };

/// Which denials are recorded, since clients can cause as many as they like.
#[derive(Debug)]
pub(super) struct Denials {
    /// A host with one IPv6 address can use those of its whole network, which is one peer.
    peers: Mutex<Allowance<Owner>>,
    /// By method and name. Apart from the peers, so that who proves nothing takes no room from those who do.
    identities: Mutex<Allowance<(&'static str, String)>>,
}

impl Denials {
    pub(super) fn new() -> Self {
        Self { peers: Mutex::new(Allowance::new(RATE)), identities: Mutex::new(Allowance::new(RATE)) }
    }

    /// Whether such an ending is recorded now. If so: how many denials were not since the last one that was. What is no
    /// denial always is.
    pub(super) fn admit(
        &self,
        ending: Ending,
        client: &Client,
        identity: Option<&Identity>,
        now: BootTime,
    ) -> Option<u64> {
        if !matches!(ending, Ending::Denied | Ending::Unproven) {
            return Some(0);
        }
        if let Some(Identity { method, name, .. }) = identity {
            return lock(&self.identities).spend((*method, name.clone()), now);
        }
        let owner = match &client.peer {
            Peer::Tcp(address) => Owner::Address(address.to_canonical()),
            Peer::Unix { uid } => Owner::User(*uid),
        };
        lock(&self.peers).spend(Subordinates::default().party(owner), now)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One decision. Keys without a value are left out.
#[derive(Debug, Serialize)]
pub(super) struct Record<'a> {
    time: String,
    event: &'static str,
    mount: &'a str,
    peer: String,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proven_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_identity: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    console: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    emergency: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approval: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    requested_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aws_request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    more: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> Record<'a> {
    /// What is known of each request.
    pub(super) fn new(ending: Ending, mount: &'a str, client: &Client, path: &'a str, now: Timestamp) -> Self {
        Self {
            time: now.to_string(),
            event: ending.word(),
            mount: if mount.is_empty() { "/" } else { mount },
            peer: place(&client.peer),
            path,
            identity: None,
            method: None,
            proven_by: None,
            proof: None,
            rule: None,
            account: None,
            role: None,
            session_name: None,
            source_identity: None,
            console: false,
            emergency: None,
            approval: None,
            requested_by: None,
            until: None,
            access_key_id: None,
            aws_request_id: None,
            expiration: None,
            more: None,
            reason: None,
        }
    }

    /// All that is known of a reply.
    pub(super) fn of(reply: &'a Reply, client: &Client, path: &'a str, now: Timestamp) -> Self {
        let mut record = Self::new(reply.ending, &reply.mount, client, path, now);
        if let Some(identity) = &reply.identity {
            record = record.by(identity);
        }
        if let Some(grant) = &reply.grant {
            record = record.about(grant, reply.console);
        }
        if let Some(minted) = &reply.minted {
            record = record.with(minted);
        }
        if let Some(reason) = &reply.reason {
            record = record.because(reason);
        }
        record
    }

    /// How many denials before it were not recorded.
    pub(super) fn after(self, more: u64) -> Self {
        Self { more: (more > 0).then_some(more), ..self }
    }

    /// Who it was, and how that was proven.
    pub(super) fn by(self, identity: &'a Identity) -> Self {
        Self {
            identity: Some(&identity.name),
            method: Some(identity.method),
            proven_by: Some(&identity.proven_by),
            proof: Some(&identity.proof),
            ..self
        }
    }

    /// What it is about.
    pub(super) fn about(self, grant: &'a Grant, console: bool) -> Self {
        Self {
            rule: Some(&grant.rule),
            account: Some(grant.account.id.as_str()),
            role: Some(grant.role.as_str()),
            session_name: Some(&grant.session_name),
            source_identity: grant.source_identity.as_deref(),
            console,
            emergency: grant.emergency.as_deref(),
            approval: grant.approval.as_ref().map(|approved| approved.id.as_str()),
            ..self
        }
    }

    /// What was handed out.
    pub(super) fn with(self, minted: &'a Minted) -> Self {
        Self {
            access_key_id: Some(&minted.credentials.access_key_id),
            aws_request_id: minted.request_id.as_deref(),
            expiration: Some(format_timestamp(minted.credentials.expiration)),
            ..self
        }
    }

    /// That it is the alert before a hand-out in an emergency, for this reason.
    pub(super) fn alert(self, reason: &'a str) -> Self {
        Self { event: "emergency", reason: Some(reason), ..self }
    }

    /// That this happens to a request for approval.
    pub(super) fn approval(self, event: &'static str, entry: &'a Entry) -> Self {
        let Entry { request, answer } = entry;
        let approved = answer.as_ref().filter(|answer| answer.word == Word::Approved);
        Self {
            event,
            rule: Some(&request.rule),
            account: Some(request.account_id()),
            role: Some(&request.role),
            approval: Some(request.id.as_str()),
            requested_by: Some(&request.by.name),
            until: approved.map(|answer| format_timestamp(answer.until)),
            reason: answer.as_ref().map_or(Some(request.reason.as_str()), |answer| answer.note.as_deref()),
            ..self
        }
    }

    /// Why not.
    pub(super) fn because(self, reason: &'a str) -> Self {
        Self { reason: Some(reason), ..self }
    }
}

/// Where a client is, for people.
pub(super) fn place(peer: &Peer) -> String {
    match peer {
        Peer::Tcp(address) => address.to_canonical().to_string(),
        Peer::Unix { uid } => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc};

    use super::*;
    use crate::budget::MAX_OWNERS;

    fn client(peer: Peer) -> Client {
        Client { peer, certificates: Arc::from([]) }
    }

    fn tcp(address: &str) -> Client {
        client(Peer::Tcp(address.parse().expect("an address")))
    }

    fn identity(method: &'static str, name: &str) -> Identity {
        Identity::new(name, method, "hosts")
    }

    /// How many of 100 denials are recorded.
    fn recorded(denials: &Denials, client: &Client, identity: Option<&Identity>) -> usize {
        let ending = if identity.is_some() { Ending::Denied } else { Ending::Unproven };
        (0..100).filter(|_| denials.admit(ending, client, identity, BootTime::ZERO).is_some()).count()
    }

    #[test]
    fn denials_beyond_a_budget_are_counted_and_nothing_else_is_withheld() {
        let denials = Denials::new();
        let (balancer, one) = (tcp("192.0.2.1"), identity("mtls", "web1"));
        assert_eq!(recorded(&denials, &balancer, None), 60);
        // Others have budgets of their own, wherever they come from.
        assert_eq!(recorded(&denials, &balancer, Some(&one)), 60);
        assert_eq!(recorded(&denials, &tcp("192.0.2.2"), Some(&one)), 0);
        assert_eq!(recorded(&denials, &balancer, Some(&identity("mtls", "web2"))), 60);
        assert_eq!(recorded(&denials, &balancer, Some(&identity("proxy", "web1"))), 60);
        assert_eq!(recorded(&denials, &tcp("192.0.2.2"), None), 60);
        assert_eq!(recorded(&denials, &client(Peer::Unix { uid: 1 }), None), 60);
        assert_eq!(recorded(&denials, &client(Peer::Unix { uid: 2 }), None), 60);
        for ending in [Ending::HandedOut, Ending::Answered, Ending::Unavailable, Ending::Unknown] {
            assert_eq!(denials.admit(ending, &balancer, None, BootTime::ZERO), Some(0), "{ending:?}");
            assert_eq!(denials.admit(ending, &balancer, Some(&one), BootTime::ZERO), Some(0), "{ending:?}");
        }
        // The next record tells how many there would have been.
        let later = BootTime::ZERO + Duration::from_mins(1);
        assert_eq!(denials.admit(Ending::Denied, &balancer, None, later), Some(40));
        assert_eq!(denials.admit(Ending::Denied, &balancer, Some(&one), later), Some(140));
        assert_eq!(denials.admit(Ending::Denied, &balancer, Some(&one), later), None);
    }

    #[test]
    fn many_peers_have_a_bounded_number_of_denials_and_hide_no_identity() {
        let denials = Denials::new();
        // One network, however many addresses it has, and one address, however it is written.
        assert_eq!(recorded(&denials, &tcp("2001:db8::1"), None), 60);
        assert_eq!(recorded(&denials, &tcp("2001:db8::ffff:0:0:1"), None), 0);
        assert_eq!(recorded(&denials, &tcp("2001:db8:0:1::1"), None), 60);
        assert_eq!(recorded(&denials, &tcp("::ffff:192.0.2.1"), None), 60);
        assert_eq!(recorded(&denials, &tcp("192.0.2.1"), None), 0);

        let all = (0..1100_u32).map(|number| client(Peer::Tcp(std::net::Ipv4Addr::from(number).into())));
        let spent: usize = all.map(|client| recorded(&denials, &client, None)).sum();
        assert_eq!(spent, (MAX_OWNERS - 3) * 60);
        assert_eq!(recorded(&denials, &tcp("192.0.2.1"), Some(&identity("mtls", "web1"))), 60);
    }

    #[test]
    fn each_key_is_published_and_no_other() {
        let text = Some("");
        let record = Record {
            time: String::new(),
            event: "",
            mount: "",
            peer: String::new(),
            path: "",
            identity: text,
            method: text,
            proven_by: text,
            proof: text,
            rule: text,
            account: text,
            role: text,
            session_name: text,
            source_identity: text,
            console: true,
            emergency: text,
            approval: text,
            requested_by: text,
            until: Some(String::new()),
            access_key_id: text,
            aws_request_id: text,
            expiration: Some(String::new()),
            more: Some(1),
            reason: text,
        };
        let schema: serde_json::Value =
            serde_json::from_str(include_str!("../../../../docs/schemas/ims/audit.schema.json")).expect("JSON");
        let keys = |value: &serde_json::Value| -> BTreeSet<String> {
            value.as_object().expect("a mapping").keys().cloned().collect()
        };
        assert_eq!(keys(&serde_json::to_value(record).expect("JSON")), keys(&schema["oneOf"][0]["properties"]));
    }
}
