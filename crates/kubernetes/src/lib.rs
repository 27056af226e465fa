//! What a Kubernetes cluster says about its service accounts: messages of the API server, annotations, and the index of
//! them that requests read. Somebody else makes the calls.

mod account;
mod index;
mod lines;
mod message;
mod options;
mod pod;
mod uid;
mod watched;
mod wish;

pub use account::Account;
pub use index::{Asking, Draft, Index, Known, WatchState};
pub use lines::{LineTooLong, Lines};
pub use message::{Event, Listed, MessageError, Page, Status, parse_event, parse_page, parse_status};
pub use options::ApiOptions;
pub use pod::Pod;
pub use uid::Uid;
pub use watched::{Following, Watched};
pub use wish::{ROLE, ROLE_ARN, Wish};

use alppaca_core::{credentials, needs, open_metrics};
use alppaca_settings as settings;
