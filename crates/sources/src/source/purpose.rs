//! What the call of a source is made for.

use super::session::Session;
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
}

/// What the credentials of a source are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// They are served.
    Clients,
    /// Other roles are assumed with them.
    ToSign,
}
