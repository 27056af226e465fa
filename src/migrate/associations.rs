//! Which service account of a cluster has which role, as it is being collected.

use std::collections::{BTreeMap, BTreeSet};

use alppaca_settings::render::quoted;

use super::text::Text;
use crate::{
    credentials::{RoleArn, RoleName},
    kubernetes::Account,
};

/// The source with the role of the node. No role has its name.
const NODE: &str = "node";

/// A role that is assumed, with all that its call says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Role {
    pub(super) arn: String,
    /// The role that assumes it, by its name; otherwise the node's own does.
    pub(super) via: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) session_name: Option<String>,
    /// A session policy.
    pub(super) policy: Option<String>,
}

impl Role {
    pub(super) fn new(arn: &RoleArn) -> Self {
        Self { arn: arn.as_str().to_owned(), via: None, external_id: None, session_name: None, policy: None }
    }
}

/// The associations, and the roles that they need.
#[derive(Default)]
pub(super) struct Associations {
    roles: BTreeMap<Role, String>,
    taken: BTreeSet<String>,
    entries: Vec<Entry>,
    /// With why a person has to decide about it first.
    fallback: Option<(String, Option<String>)>,
    tags: Option<String>,
}

struct Entry {
    account: Account,
    role: String,
    session_tags: bool,
    /// Why a person has to decide about it first.
    held: Option<String>,
}

impl Associations {
    /// The name of the role, which there is from now on.
    pub(super) fn role(&mut self, role: Role) -> String {
        if let Some(name) = self.roles.get(&role) {
            return name.clone();
        }
        let arn = role.arn.parse::<RoleArn>();
        let own = arn.as_ref().map(|arn| arn.name().to_string()).ok();
        let of_account = arn.as_ref().map(|arn| format!("{}-{}", arn.name(), arn.account())).ok();
        let numbers = (1_u64..).map(|number| format!("role-{number}"));
        let is_free = |name: &String| name != NODE && !self.taken.contains(name) && name.parse::<RoleName>().is_ok();
        let name = own.into_iter().chain(of_account).chain(numbers).find(is_free).unwrap_or_default();
        self.taken.insert(name.clone());
        self.roles.insert(role, name.clone());
        name
    }

    /// The account has the role. With a reason in `held` the line is a comment, until a person has decided.
    pub(super) fn add(&mut self, account: Account, role: Role, session_tags: bool, held: Option<String>) {
        let role = self.role(role);
        self.entries.push(Entry { account, role, session_tags, held });
    }

    /// All other accounts have this role. With a reason in `held` the line is a comment, until a person has decided.
    pub(super) fn otherwise(&mut self, role: Role, held: Option<String>) {
        self.fallback = Some((self.role(role), held));
    }

    /// Each pod has a session of its own, by this mapping.
    pub(super) fn tagged(&mut self, tags: String) {
        self.tags = Some(tags);
    }

    /// Whether there are no roles at all.
    pub(super) fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }

    /// Writes sources, roles and associations.
    pub(super) fn write(&self, text: &mut Text) {
        text.line("sources:");
        text.note(
            "The role of the node assumes the others: the trust policy of each has to name it, with sts:AssumeRole.",
        );
        text.note("Outside of EC2 take another source.");
        text.line(&format!("  {NODE}: {{kind: imds}}"));
        text.line("roles:");
        let mut roles: Vec<_> = self.roles.iter().collect();
        roles.sort_by_key(|(_, name)| *name);
        for (role, name) in roles {
            text.line(&format!("  {}: {{{}}}", quoted(name), keys_of(role)));
        }
        let mut reasons =
            self.entries.iter().map(|entry| &entry.held).chain(self.fallback.iter().map(|(_, held)| held));
        let counts = reasons.any(Option::is_none);
        if !counts {
            text.note("No line below counts yet. Decide about each, and uncomment them with the section.");
        }
        let line = |text: &mut Text, line: &str, held: bool| {
            text.line(&if held || !counts { format!("# {line}") } else { line.to_owned() });
        };
        line(text, "pod_identity:", false);
        text.note("What it says of itself: kubectl get --raw /.well-known/openid-configuration");
        line(text, "  issuer: https://kubernetes.default.svc.cluster.local", false);
        line(text, "  jwks_url: https://kubernetes.default.svc/openid/v1/jwks", false);
        line(text, "  jwks_ca_file: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt", false);
        line(text, "  jwks_token_file: /var/run/secrets/kubernetes.io/serviceaccount/token", false);
        if let Some(tags) = &self.tags {
            line(text, &format!("  session_tags: {tags}"), false);
        }
        line(text, "  associations:", false);
        let mut said = None;
        for Entry { account, role, session_tags, held } in &self.entries {
            if let Some(reason) = held.as_ref().filter(|reason| said != Some(*reason)) {
                text.note(reason);
            }
            said = held.as_ref();
            let Account { namespace, name } = account;
            let (namespace, account, role) = (quoted(namespace), quoted(name), quoted(role));
            let untagged = if *session_tags { "" } else { ", session_tags: false" };
            let entry = format!("    - {{namespace: {namespace}, service_account: {account}, role: {role}{untagged}}}");
            line(text, &entry, held.is_some());
        }
        if let Some((role, held)) = &self.fallback {
            if let Some(reason) = held {
                text.note(reason);
            }
            let entry = format!("    - {{namespace: \"*\", service_account: \"*\", role: {}}}", quoted(role));
            line(text, &entry, held.is_some());
        }
    }
}

fn keys_of(role: &Role) -> String {
    let Role { arn, via, external_id, session_name, policy } = role;
    let keys = [
        ("source", Some(via.as_deref().unwrap_or(NODE))),
        ("role_arn", Some(&**arn)),
        ("external_id", external_id.as_deref()),
        ("session_name", session_name.as_deref()),
        ("policy", policy.as_deref()),
    ];
    let keys = keys.into_iter().filter_map(|(key, value)| Some(format!("{key}: {}", quoted(value?))));
    keys.collect::<Vec<_>>().join(", ")
}
