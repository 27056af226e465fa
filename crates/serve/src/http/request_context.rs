//! What the faces are told of the caller of a request.

use crate::{caller::Peer, policy::Grant};

/// The caller, and what it was granted.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext<'a> {
    /// The number of the listener to which it came: tokens are bound to it.
    pub listener: u16,
    /// The other end of its connection: tokens are bound to its owner.
    pub peer: &'a Peer,
    /// What it may see.
    pub grant: &'a Grant,
    /// Whether it is in a container; `false` where the request does not depend on it.
    pub in_container: bool,
}
