//! alppaca fetches temporary AWS credentials ahead of need and serves them on the same host as the
//! EC2 instance metadata service (IMDS) would.
//!
//! One direction of flow: `source → refresh → store → serve`. What each module is for and what it
//! may import is drawn in `ARCHITECTURE.md`.

#[macro_use]
mod notice;

pub mod admin;
pub mod audit;
pub mod caller;
pub mod capture;
pub mod cli;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod daemon;
pub mod fetch;
pub mod host;
pub mod journal;
pub mod logging;
pub mod migrate;
pub mod mock_ims;
pub mod policy;
pub mod refresh;
pub mod relay;
pub mod sandbox;
pub mod serve;
pub mod service;
pub mod source;
pub mod store;
mod text;
mod trust;
