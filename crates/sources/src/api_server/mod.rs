//! The client of a Kubernetes API server: calls with the token of a service account, and the watch of the accounts.

mod accounts;
mod client;

pub use accounts::AccountWatch;
pub use client::{ApiError, ApiServer};

#[cfg(test)]
mod tests;
