//! What a set is made for: everything that STS is asked, and whose it is.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use super::Caller;
use crate::{credentials::RoleArn, rules::Grant, source::sts::Request};

/// All inputs of a call, so that no client receives a set that was made for other inputs.
///
/// How the caller has proven who it is belongs to it. `alice` by single sign-on and `alice` by an SSH key have the same
/// session name, but they may be two people, and one access key id in CloudTrail has to lead to one record of the
/// audit that names the proof. The price is one more call for a person who uses both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    arn: RoleArn,
    session_name: String,
    source_identity: Option<String>,
    tags: Vec<(String, String)>,
    transitive_tags: Vec<String>,
    policy: Option<Arc<str>>,
    policy_arns: Vec<String>,
    duration: Option<Duration>,
    caller: Caller,
}

impl Key {
    pub(super) fn new(grant: &Grant, caller: &Caller) -> Self {
        Self {
            arn: grant.arn.clone(),
            session_name: grant.session_name.clone(),
            source_identity: grant.source_identity.clone(),
            tags: grant.tags.clone(),
            transitive_tags: grant.transitive_tags.clone(),
            policy: grant.policy.clone(),
            policy_arns: grant.policy_arns.clone(),
            duration: grant.duration,
            caller: caller.clone(),
        }
    }

    /// What STS is asked.
    pub(super) fn request(&self) -> Request {
        Request {
            role_arn: self.arn.clone(),
            session_name: self.session_name.clone(),
            external_id: None,
            duration: self.duration,
            policy: self.policy.as_deref().map(str::to_owned),
            policy_arns: self.policy_arns.clone(),
            tags: self.tags.clone(),
            transitive_tags: self.transitive_tags.clone(),
            source_identity: self.source_identity.clone(),
        }
    }

    /// The role, for a message.
    pub(super) fn arn(&self) -> &RoleArn {
        &self.arn
    }
}

/// What differs most; equality looks at all.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.arn.as_str().hash(state);
        self.session_name.hash(state);
        self.tags.hash(state);
        self.caller.hash(state);
    }
}
