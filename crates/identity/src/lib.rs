//! How hosts and people prove to `alppaca-ims` who they are. It decides nothing about roles.

mod evidence;

pub use evidence::{Evidence, Identity, Peer, Prove, Refusal};
