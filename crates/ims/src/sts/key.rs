//! What a set is made for: everything that STS is asked, and whose it is.

use std::hash::{Hash, Hasher};

use super::Caller;
use crate::{credentials::RoleArn, rules::Grant, source::sts::Request};

/// All inputs of a call, so that no client receives a set that was made for other inputs.
///
/// How the caller has proven who it is belongs to it. `alice` by single sign-on and `alice` by an SSH key have the same
/// session name, but they may be two people, and one access key id in CloudTrail has to lead to one record of the
/// audit that names the proof. The price is one more call for a person who uses both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// What STS is asked.
    pub(super) request: Request,
    caller: Caller,
}

impl Key {
    pub(super) fn new(grant: &Grant, caller: &Caller) -> Self {
        let request = Request {
            duration: grant.duration,
            policy: grant.policy.clone(),
            policy_arns: grant.policy_arns.clone(),
            tags: grant.tags.clone(),
            transitive_tags: grant.transitive_tags.clone(),
            source_identity: grant.source_identity.clone(),
            ..Request::new(grant.arn.clone(), grant.session_name.clone())
        };
        Self { request, caller: caller.clone() }
    }

    /// The role, for a message.
    pub(super) fn arn(&self) -> &RoleArn {
        &self.request.role_arn
    }
}

/// What differs most; equality looks at all.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.request.role_arn.as_str().hash(state);
        self.request.session_name.hash(state);
        self.request.tags.hash(state);
        self.caller.hash(state);
    }
}
