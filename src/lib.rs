//! alppaca fetches temporary AWS credentials ahead of need and serves them on the same host as the
//! EC2 instance metadata service (IMDS) would.
//!
//! One direction of flow: `source → refresh → store → serve`. What each module is for and what it
//! may import is drawn in `ARCHITECTURE.md`.

#[macro_use(notice)]
extern crate alppaca_core;

pub mod admin;
pub mod capture;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod handover;
pub mod host;
pub mod host_events;
pub mod migrate;
pub mod plan;
pub mod relay;
pub mod service;

pub use alppaca_admission as admission;
use alppaca_callers::audit;
pub use alppaca_callers::{caller, policy};
pub use alppaca_core::{clock, credentials};
use alppaca_core::{expression, needs, open_metrics, text};
pub use alppaca_files as files;
pub use alppaca_hardening::confinement;
use alppaca_hardening::{sandbox, trust};
use alppaca_https as https;
pub use alppaca_jwt as jwt;
use alppaca_kubernetes as kubernetes;
pub use alppaca_logging as logging;
pub use alppaca_mock_ims as mock_ims;
use alppaca_page as page;
pub use alppaca_refresh as refresh;
pub use alppaca_serve::{faces, http};
use alppaca_sources::{api_server, federation, key_sets};
pub use alppaca_sources::{fetch, sign_in, source};
use alppaca_store::refresh_stats;
pub use alppaca_store::store;
pub use alppaca_webhook as webhook;
