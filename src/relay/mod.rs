//! What the faces need from elsewhere and do not fetch themselves: documents of a real IMDS, keys of an issuer of tokens.

mod imds;
mod keys;

pub(crate) use imds::Relay;
pub use keys::KeySource;
pub(crate) use keys::PublicKeys;
