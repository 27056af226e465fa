//! How hosts and people prove to alppaca-ims who they are. It decides nothing about roles.

pub mod dns;
mod evidence;
mod method;
pub mod mtls;
mod names;
pub mod proxy;

pub use evidence::{Evidence, Identity, Peer, Prove, Refusal};
pub use method::{Entry, METHODS, Method, Named, Opened, Opening, Reload, SETTINGS, read};

use alppaca_core::text;
use alppaca_settings as settings;
