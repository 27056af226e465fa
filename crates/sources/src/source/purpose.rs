//! What the call of a source is made for.

use std::time::Duration;

use crate::credentials::{RoleArn, RoleName, SessionFacts, SessionName};

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
}

/// What the credentials of a source are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// They are served.
    Clients,
    /// Other roles are assumed with them.
    ToSign,
}

/// What a session is asked to be like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    /// What the owner of the role wants to hear (`external_id`).
    pub external_id: Option<String>,
    /// Its name (`session_name`).
    pub name: SessionName,
    /// How long it shall last (`duration`).
    pub duration: Option<Duration>,
    /// A session policy, JSON (`policy`).
    pub policy: Option<String>,
    /// ARNs of session policies (`policy_arns`).
    pub policy_arns: Vec<String>,
    /// Session tags (`tags`).
    pub tags: Vec<(String, String)>,
    /// The keys of those that are handed on along a chain (`transitive_tags`).
    pub transitive_tags: Vec<String>,
    /// Who is behind it (`source_identity`).
    pub source_identity: Option<String>,
}
