//! Fetches for the faces, which make no calls themselves: documents of a real IMDS, keys of an issuer of tokens.

mod imds;
mod keys;

pub(crate) use imds::Relay;
pub use keys::KeySource;
pub(crate) use keys::PublicKeys;
