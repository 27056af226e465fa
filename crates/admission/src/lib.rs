//! What is added to a pod so that its programs get credentials, as EKS's own webhook adds it: a request of the API server
//! in, a patch out. Pure.
//!
//! <https://github.com/aws/amazon-eks-pod-identity-webhook>, `pkg/handler/handler.go`: names and rules are those, but that
//! a patch only adds what is missing, and does not write containers anew.

mod decision;
mod pod;
mod review;

use alppaca_core::text;
pub use decision::{Decision, Injected, Injection, Skip, decide};

pub use review::{Malformed, Review};

#[cfg(test)]
mod tests;
