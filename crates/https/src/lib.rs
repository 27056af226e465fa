//! What our servers on the network have in common: connections with TLS, a certificate that is read anew, and where metrics
//! and health are shown.

mod certificate;
mod connections;
mod health;

pub use certificate::{Certificate, CertificateError, Files};
pub use connections::{HANDSHAKE, Listener, accept, handshake, stopped};
pub use health::{Report, run as show};

use alppaca_callers::caller::budget;
use alppaca_core::{clock, open_metrics};
use alppaca_sources::fetch;
