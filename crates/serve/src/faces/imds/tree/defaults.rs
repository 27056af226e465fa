//! Metadata that are served by default, and values derived from configured ones.

use super::Draft;
use crate::{credentials::Partition, faces::imds::options::Defaults};

/// What was found out about the host. What is not known is not served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// `i-` and 17 hexadecimal digits.
    pub instance_id: Option<String>,
    /// The name of the host.
    pub hostname: Option<String>,
    /// Its address towards the default route.
    pub local_ipv4: Option<String>,
    /// The hardware address of the interface of the default route.
    pub mac: Option<String>,
    /// In EC2's words: `x86_64`, `arm64`.
    pub architecture: &'static str,
    /// When it started, as EC2 writes times.
    pub started: Option<String>,
}

/// The entries that are served without being configured.
pub(super) fn defaults(defaults: Defaults, region: Option<&str>, host: &HostFacts) -> Draft {
    let mut draft = Draft::default();
    draft.put(&["meta-data"], Draft::default());
    set(&mut draft, &["meta-data", "instance-id"], host.instance_id.as_deref());
    if let Some(region) = region {
        let partition = Partition::of(Some(region));
        set(&mut draft, &["meta-data", "placement", "availability-zone"], Some(&format!("{region}a")));
        set(&mut draft, &["meta-data", "placement", "region"], Some(region));
        set(&mut draft, &["meta-data", "services", "domain"], Some(partition.domain));
        set(&mut draft, &["meta-data", "services", "partition"], Some(partition.name));
        // Without a region there is no document: a program takes `null`, or its absence, worse than that.
        draft.put(&["dynamic", "instance-identity", "document"], Draft::Identity);
    }
    if defaults == Defaults::Ec2 {
        ec2(&mut draft, host);
    }
    draft
}

/// What every instance of EC2 has, and what agents take for the proof that they are on one.
fn ec2(draft: &mut Draft, host: &HostFacts) {
    let instance_type = if host.architecture == "arm64" { "m6g.large" } else { "m6i.large" };
    for (name, value) in [
        // Programs look for the account by its twelve digits, so there are letters between these.
        ("ami-id", Some("ami-0a1b2c3d4e5f67890")),
        ("ami-launch-index", Some("0")),
        ("hostname", host.hostname.as_deref()),
        ("instance-action", Some("none")),
        ("instance-life-cycle", Some("on-demand")),
        ("instance-type", Some(instance_type)),
        ("local-hostname", host.hostname.as_deref()),
        ("local-ipv4", host.local_ipv4.as_deref()),
        ("mac", host.mac.as_deref()),
    ] {
        set(draft, &["meta-data", name], value);
    }
    for name in ["history", "scheduled"] {
        set(draft, &["meta-data", "events", "maintenance", name], Some("[]"));
    }
    draft.put(&["meta-data", "tags", "instance"], Draft::default());
}

/// Adds the directory of the interface that `mac` names. Without its directory `mac` is not there either: programs go from
/// the one to the other.
pub(super) fn interface(draft: &mut Draft, host: &HostFacts) {
    let Some(mac) = draft.file(&["meta-data", "mac"]).map(str::to_owned) else { return };
    let directory = ["meta-data", "network", "interfaces", "macs", &*mac];
    if draft.has_removed(&directory) {
        if host.mac.as_ref() == Some(&mac) {
            draft.put(&["meta-data", "mac"], Draft::Removed);
        }
        return;
    }
    if draft.at(&directory).is_some() {
        return;
    }
    let meta = |name| draft.file(&["meta-data", name]).map(str::to_owned);
    let facts = [
        ("device-number", Some("0".to_owned())),
        ("local-hostname", meta("local-hostname")),
        ("local-ipv4s", meta("local-ipv4")),
        ("mac", Some(mac.clone())),
    ];
    for (name, value) in facts {
        let [meta_data, network, interfaces, macs, mac] = directory;
        set(draft, &[meta_data, network, interfaces, macs, mac, name], value.as_deref());
    }
}

fn set(draft: &mut Draft, path: &[&str], value: Option<&str>) {
    if let Some(value) = value {
        draft.put(path, Draft::File(value.to_owned()));
    }
}
