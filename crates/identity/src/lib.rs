//! How hosts and people prove to alppaca-ims who they are. It decides nothing about roles.

pub mod dns;
mod evidence;
pub mod mtls;
mod names;
pub mod proxy;

pub use evidence::{Evidence, Identity, Peer, Prove, Refusal};

use alppaca_core::text;
