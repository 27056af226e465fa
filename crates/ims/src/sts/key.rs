//! What a set is made for: everything that STS is asked, and whose it is.

use std::{
    hash::{Hash, Hasher},
    time::Duration,
};

use jiff::Timestamp;

use super::Caller;
use crate::{
    clock::until,
    credentials::RoleArn,
    rules::{Approved, Grant, SHORTEST_SESSION, USUAL_SESSION},
    source::sts::Request,
};

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
    /// The approval that no session may outlive.
    approval: Option<Approved>,
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
        Self { request, caller: caller.clone(), approval: grant.approval.clone() }
    }

    /// What STS is asked at `now`: under an approval, for no longer than that. `None` if no session is as short.
    pub(super) fn request_at(&self, now: Timestamp) -> Option<Request> {
        let Some(Approved { until: end, .. }) = self.approval else { return Some(self.request.clone()) };
        // STS counts whole seconds, and from when it has the call.
        let left = Duration::from_secs(until(end, now).as_secs());
        if left >= self.request.duration.unwrap_or(USUAL_SESSION) {
            return Some(self.request.clone());
        }
        (left >= SHORTEST_SESSION).then(|| Request { duration: Some(left), ..self.request.clone() })
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
        self.request.duration.hash(state);
        self.request.tags.hash(state);
        self.caller.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    fn key(duration: Option<u64>, end: Option<Timestamp>) -> Key {
        let arn: RoleArn = "arn:aws:iam::111111111111:role/admin".parse().expect("an ARN");
        let duration = duration.map(Duration::from_secs);
        let request = Request { duration, ..Request::new(arn, "alice".to_owned()) };
        let caller = Caller { name: "alice".to_owned(), method: "proxy", proven_by: "sso".to_owned() };
        Key { request, caller, approval: end.map(|until| Approved { id: "1".to_owned(), until }) }
    }

    proptest! {
        #[test]
        fn no_session_outlives_its_approval(
            duration in prop::option::of(900_u64..43_200),
            left in -5_000_i64..50_000,
            part in 0_i32..1_000_000_000,
        ) {
            let end = Timestamp::from_second(1_800_000_000).expect("a time");
            let now = end - SignedDuration::new(left, part);
            let asked = key(duration, Some(end)).request_at(now);
            prop_assert_eq!(asked.is_some(), left >= 900);
            if let Some(Request { duration: asked, .. }) = asked {
                let life = asked.unwrap_or(USUAL_SESSION);
                prop_assert!(now + SignedDuration::try_from(life).expect("hours") <= end);
                prop_assert!(life >= SHORTEST_SESSION && life <= duration.map_or(USUAL_SESSION, Duration::from_secs));
            }
            let free = key(duration, None).request_at(now).expect("no approval");
            prop_assert_eq!(free.duration, duration.map(Duration::from_secs));
        }
    }
}
