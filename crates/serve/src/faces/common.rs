//! What is the same for all faces: their common settings, and what they show.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::{
    credentials::{AccountId, Partition},
    http::{
        Style,
        request::Request,
        request_filter::{self, Refusal},
    },
    settings::{
        Fields, Setting, Topic, read,
        render::{list, quoted},
    },
    store::Store,
};

/// JSON, as ECS and EKS give credentials, and ECS errors.
pub(super) const JSON: Style = Style { content_type: "application/json", also: None, server: None };

/// EC2's own names for the host of IMDS.
const EC2_HOSTS: [&str; 2] = ["instance-data", "instance-data.ec2.internal"];

/// The settings of all faces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Common {
    /// Whether expired credentials are still served, as EC2 does (`serve_expired`).
    pub serve_expired: bool,
    /// Host names, in addition to addresses and `localhost`, that a `Host` header may have (`allowed_hosts`). Lower case.
    pub allowed_hosts: Vec<String>,
}

impl Common {
    /// How they are written.
    pub const SETTINGS: [Setting; 2] = [
        Setting::new(
            Topic::Serving,
            "serve_expired",
            "false",
            "Whether expired credentials are still served, as on EC2; otherwise the answer is 503.",
        ),
        Setting::new(
            Topic::Serving,
            "allowed_hosts",
            "[]",
            "Names that a `Host` header may have in addition to addresses, `localhost` and `instance-data`, and from \
             containers \
             `host.docker.internal` and `host.containers.internal`. Others are refused: they may be rebound DNS names.",
        ),
    ];

    /// Reads them.
    pub fn read(fields: &mut Fields) -> Option<Self> {
        let serve_expired = fields.value("serve_expired", read::boolean);
        let allowed_hosts = fields.value("allowed_hosts", |node| read::list(node, read::host_name));
        Some(Self { serve_expired: serve_expired?, allowed_hosts: allowed_hosts? })
    }

    /// Whether a host may have that name, beside those that every host has.
    fn knows(&self, name: &str) -> bool {
        let allowed = self.allowed_hosts.iter().map(String::as_str);
        EC2_HOSTS.into_iter().chain(allowed).any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The value of one of them as YAML.
    pub fn render(&self, key: &str) -> Option<String> {
        match key {
            "serve_expired" => Some(self.serve_expired.to_string()),
            "allowed_hosts" => Some(list(self.allowed_hosts.iter().map(|host| quoted(host)))),
            _ => None,
        }
    }
}

/// What all faces have.
#[derive(Debug, Clone)]
pub struct Shared {
    /// Their settings.
    pub common: Common,
    /// The account, where the credentials do not contain it; at IMDS it takes precedence.
    pub account_id: Option<AccountId>,
    /// The region that programs see.
    pub region: Option<String>,
    /// What they show.
    pub store: Arc<Store>,
    /// Notified when something has arrived that a request may be waiting for, other than in the store.
    pub arrived: Arc<Notify>,
}

impl Shared {
    /// Whether a request is refused, whatever it is for; see [`request_filter::judge`].
    pub(super) fn judge(&self, request: &Request, authority: Option<&str>, in_container: bool) -> Result<(), Refusal> {
        request_filter::judge(request, authority, |name| self.common.knows(name), in_container)
    }

    /// Faces that show `store`, with the default settings.
    pub fn of(store: Arc<Store>) -> Self {
        Self { common: Common::default(), account_id: None, region: None, store, arrived: Arc::default() }
    }

    /// The partition of the region.
    pub(super) fn partition(&self) -> Partition {
        Partition::of(self.region.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ec2s_names_and_those_that_are_allowed_are_known_in_any_case() {
        let common = Common { allowed_hosts: vec!["imds.example.com".to_owned()], ..Common::default() };
        for name in ["instance-data", "Instance-Data.EC2.internal", "imds.Example.com"] {
            assert!(common.knows(name), "{name}");
        }
        for name in ["instance-data.evil.com", "example.com", "evil.imds.example.com", ""] {
            assert!(!common.knows(name), "{name}");
        }
    }
}
