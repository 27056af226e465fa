//! Files that have the credentials of a role, for programs that read nothing else: written anew at each publication, and taken
//! away with the role.

#[macro_use(notice)]
extern crate alppaca_core;

mod access;
mod file;
mod follow;
mod manage;
mod place;
mod record;
mod render;
mod report;

use alppaca_core::{clock, credentials};
use alppaca_hardening::trust;
use alppaca_store::store;

pub use access::{Access, legal_mode};
pub use file::{Command, DIRECTORY, Deed, File, Format, Profile, Run, Sink, Witness, WrittenSet};
pub use manage::{Files, Setup};
pub use place::is_in_memory;
pub use record::recorded;
pub use report::{FileReport, FileReports, Standing};
