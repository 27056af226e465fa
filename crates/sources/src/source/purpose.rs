//! What the call of a source is made for.

use std::sync::Arc;

use super::{session::Session, sts::Request};
use crate::credentials::{RoleArn, RoleName, SessionFacts};

/// What a call is made for.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// This host's name.
    pub host: &'a str,
    /// The name under which the role is served.
    pub name: &'a RoleName,
    /// Its name at the source.
    pub upstream_role: Option<&'a str>,
    /// Its ARN.
    pub role_arn: Option<&'a RoleArn>,
    /// What its session shall be like.
    pub session: &'a Session,
    /// The source that says how `AssumeRole` is called, if the role is assumed.
    pub via: Option<&'a str>,
}

impl Purpose<'_> {
    /// The name of the session.
    pub fn session_name(&self) -> String {
        self.session.name.fill(SessionFacts { host: self.host, role: self.name.as_str() })
    }

    /// The session that STS is asked for; `None` if the ARN of the role is not known.
    pub fn request(&self) -> Option<Request> {
        let session = self.session;
        Some(Request {
            external_id: session.external_id.clone(),
            duration: session.duration,
            policy: session.policy.as_deref().map(Arc::from),
            policy_arns: session.policy_arns.clone(),
            tags: session.tags.clone(),
            transitive_tags: session.transitive_tags.clone(),
            source_identity: session.source_identity.clone(),
            ..Request::new(self.role_arn?.clone(), self.session_name())
        })
    }
}

/// What the credentials of a source are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// They are served.
    Clients,
    /// Other roles are assumed with them.
    ToSign,
}
