//! How hosts and people prove to alppaca-ims who they are. It decides nothing about roles.

pub mod dns;
mod evidence;
mod groups;
pub mod jwt;
mod lines;
mod lookups;
mod method;
pub mod mtls;
mod names;
mod once;
mod people;
pub mod proxy;
pub mod ssh;
pub mod token;

use evidence::authorization;
pub use evidence::{Evidence, Identity, Peer, Prove, Refusal};
pub use groups::GroupsFrom;
pub use lines::LinesError;
pub use method::{COMMON, Entry, KeyFeed, METHODS, Method, Named, Opened, Opening, Reload, SETTINGS, read};
pub use once::{Hold, UsedOnce};
pub use people::{Directory, Person};

use alppaca_core::{clock, credentials, expression, needs, text};
use alppaca_settings as settings;
use alppaca_ssh_agent as ssh_agent;
