//! IAM Roles Anywhere: real certificates and keys, and a server that checks every request with `openssl`.

#![allow(unreachable_pub, reason = "each module is for the others of this test only")]

mod daemon;
mod keys;
mod pki;
mod refusals;
mod rotation;
mod server;
#[path = "../support/mod.rs"]
mod support;
#[cfg(feature = "pkcs11")]
mod token;

use std::{path::Path, sync::Arc, time::Duration};

use alppaca::{
    clock::{Clock, Moment, SharedClock, SystemClock},
    credentials::Credentials,
    fetch::{Options, Proxies},
    refresh::{Fetch, SourceError},
    source::roles_anywhere::{Identity, IdentitySettings, Location, RolesAnywhere, Settings},
};
use server::Server;

/// The identity in files.
pub fn files(certificate: &Path, key: &Path) -> IdentitySettings {
    IdentitySettings {
        certificate: Location::File(certificate.to_owned()),
        chain: None,
        key: Location::File(key.to_owned()),
        passphrase_file: None,
        pkcs11_module: None,
        pin_file: None,
    }
}

/// A role at `server`, as a configuration would make it.
pub fn role(server: &Server, identity: &Arc<Identity>) -> RolesAnywhere {
    role_at(server, identity, SystemClock::shared())
}

/// The same with a clock that may be wrong.
pub fn role_at(server: &Server, identity: &Arc<Identity>, clock: SharedClock) -> RolesAnywhere {
    let settings = Settings {
        endpoint: server.endpoint(),
        region: "eu-central-1".to_owned(),
        trust_anchor_arn: "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/t".to_owned(),
        profile_arn: "arn:aws:rolesanywhere:eu-central-1:123456789012:profile/p".to_owned(),
        role_arn: "arn:aws:iam::123456789012:role/web".parse().expect("an ARN"),
        duration: Some(Duration::from_hours(1)),
        session_name: Some("alppaca-on-host".to_owned()),
    };
    let options = Options {
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(20),
        limit_name: None,
        ca_file: None,
        client_certificate: None,
        proxies: Proxies::none(),
    };
    RolesAnywhere::new(settings, Arc::clone(identity), &options, clock).expect("fine settings")
}

/// Fetches once, on a runtime of its own.
pub fn fetch(role: &RolesAnywhere) -> Result<Credentials, SourceError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(role.fetch(None))
}

/// A clock that is so many minutes fast, or slow.
pub struct Off(pub i64);

impl Clock for Off {
    fn now(&self) -> Moment {
        let now = SystemClock.now();
        Moment { wall: now.wall + jiff::SignedDuration::from_mins(self.0), ..now }
    }
}
