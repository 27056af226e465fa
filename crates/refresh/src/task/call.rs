//! A call to an upstream: whose set is due, what it was made with, and what came of it.

use std::sync::Arc;

use crate::{
    CallLimitId, RoleList, SourceError,
    clock::BootTime,
    credentials::{Credentials, RoleId, RoleName},
};

/// Whose set is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Due {
    /// A role that the lister lists.
    Listed(RoleName),
    /// A node of the graph.
    Planned(RoleId),
}

/// The source that is called, and since when.
pub(super) struct Call {
    pub(super) source: Arc<str>,
    pub(super) began: BootTime,
}

/// What a call was made with, and what came of it.
pub(super) struct Fetched {
    pub(super) call: Call,
    pub(super) due: Due,
    pub(super) call_limit: CallLimitId,
    pub(super) generation: u64,
    /// The credentials that signed it.
    pub(super) signed: Option<Arc<Credentials>>,
    pub(super) answer: Result<Credentials, SourceError>,
    /// The id by which AWS knows it.
    pub(super) request_id: Option<Box<str>>,
}

pub(super) enum Answer {
    Roles(Call, u64, Result<RoleList, SourceError>),
    Set(Fetched),
}

impl Due {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Listed(name) => name.as_str(),
            Self::Planned(id) => id.as_str(),
        }
    }

    pub(super) fn role_id(&self) -> RoleId {
        match self {
            Self::Listed(name) => RoleId::named(name),
            Self::Planned(id) => id.clone(),
        }
    }
}
