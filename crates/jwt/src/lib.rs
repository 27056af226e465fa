//! JSON Web Tokens that others have issued: verified with the issuer's public keys, which somebody else fetches.

mod discovery;
#[cfg(any(test, feature = "fake-issuer"))]
pub mod fake;
mod keys;
mod source;
mod token;

pub use discovery::{Discovery, DiscoveryError, discovery_url};
pub use keys::{KeyRing, PublicKey, parse_key_set};
pub use source::{KEY_COUNT, KEY_SETTINGS, KeyAccess, KeyOptions, KeySource};
pub use token::{ALGORITHMS, Algorithm, Claims, Demands, TokenError, Verified, unverified_claims, verify};

use alppaca_core::{clock, needs, refresh_request, text};
use alppaca_settings as settings;
