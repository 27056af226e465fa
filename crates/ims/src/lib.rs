//! `alppaca-ims`, the role server: it proves who a caller is, decides by rules what it may have, and answers as AWS
//! Federation Proxy (AFP) did. So far a library: the
//! rules and the protocol.

pub mod protocol;
pub mod rules;

use alppaca_core::{credentials, text};
use alppaca_identity as identity;
use alppaca_settings as settings;
