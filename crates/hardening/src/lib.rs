//! What a daemon that holds secrets does to itself, and whom it trusts with its files.

pub mod confinement;
pub mod sandbox;
pub mod trust;

use alppaca_core::needs;
use alppaca_settings as settings;
