//! Where credentials come from: one file (or folder) per kind of upstream, behind the traits of `refresh`.

pub mod aws;
mod aws_login;
pub mod failover;
mod file;
pub mod hologram;
mod host_env;
pub mod imds;
pub mod ims;
pub mod kind;
pub mod listed;
pub mod long_term;
mod pass_on;
mod pem;
mod places;
pub mod process;
pub mod profile;
mod purpose;
pub mod roles_anywhere;
mod session;
pub mod site;
mod sso;
pub mod static_keys;
pub mod sts;
pub mod vault;
pub mod web_identity;

pub use host_env::HostEnv;
pub use kind::{Entry, KINDS, Kind, Named, Opened, Opening, Provides, Unfit, Written, read_kind};
pub use pass_on::PassOn;
pub use purpose::{Purpose, Serves};
pub use session::{Session, session_duration};

use crate::{
    fetch::FetchError,
    refresh::{ErrorKind, Fetch, RoleList, Source, SourceError, SourceFuture, failback},
};

/// Without an answer nothing has been said.
impl From<FetchError> for SourceError {
    fn from(error: FetchError) -> Self {
        Self::transient(error.0)
    }
}
