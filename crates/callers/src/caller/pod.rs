//! A pod that has proved by the token of its service account who it is.

use std::fmt;

use serde::Serialize;

/// What its token says, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProvenPod {
    /// The namespace.
    pub namespace: Box<str>,
    /// The service account.
    pub service_account: Box<str>,
    /// The pod's name, if the token is bound to a pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// The pod's uid, if the token is bound to a pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<Box<str>>,
    /// The name of its own session, which CloudTrail has, too. None if it got what all have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_name: Option<Box<str>>,
}

impl fmt::Display for ProvenPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, service_account, name, .. } = self;
        match name {
            Some(name) => write!(f, "pod {namespace}/{name}, service account {service_account}"),
            None => write!(f, "service account {namespace}/{service_account}"),
        }
    }
}
