//! The admin socket: HTTP over a Unix socket, by which `status`, `credentials` and `exec` talk to the daemon, and both
//! of its sides. What is answered is pure; the sockets are apart.

mod book;
mod client;
mod conversations;
mod document;
mod files;
mod lease;
mod metrics;
mod observe;
mod overview;
mod peer;
mod replacing;
mod reply;
mod respond;
mod roles;
mod selection;
mod server;
mod sign_in;
mod sign_in_document;
mod socket;
mod timed;

pub use client::{Answered, Client, ClientError};
pub use conversations::Conversations;
pub use document::{
    ChoiceDocument, ChoiceRequest, ChosenBy, Code, CredentialsDocument, ErrorDocument, ExecDocument, ExecRequest,
    LastError, ListRefused, Listener, OwnSets, RoleStatus, RolesDocument, SandboxStatus, ServiceAccountsStatus,
    SignInNeeded, Status,
};
pub use files::FileStatus;
pub use lease::{LeaseError, Leases};
pub use peer::{PeerCredentials, ProcessId};
pub use replacing::{Meeting, REPLACEMENT, Replacing, TURN};
pub use reply::{Call, Outcome, Reply};
pub use respond::{Admin, ExecEndpoint};
pub use selection::Selections;
pub use server::{serve, serve_metrics, serve_page};
pub use sign_in_document::{
    BeginRequest, Begun, CallbackRequest, MethodWord, ProgressDocument, SignInStatus, SignInsDocument, SignOutRequest,
};
pub use socket::{Access, AdminSocket, Former, SocketError, SocketId, SocketPlace};
pub use timed::{NotNow, TimedFetcher};

/// Where the socket is by default.
pub const DEFAULT_SOCKET: &str = "/run/alppaca/alppaca.sock";
/// The number of the admin socket's listener, for the policy.
pub const ADMIN_LISTENER: u16 = u16::MAX;
/// The longest that a request may wait for the first credentials of a role (`wait=`), in seconds.
pub const MAX_WAIT: u64 = 60;
