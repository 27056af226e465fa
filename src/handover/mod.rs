//! What this daemon hands over to the one that comes after it: to a text and back (pure), where it is kept meanwhile, and how
//! it is passed on.

mod document;
mod fd_store;
mod memory;
pub mod passing;

pub use document::{HandoverError, read, write};
pub use fd_store::{
    FdStore, discard, drop_listeners, face_of_listener, is_of_any_version, is_ours, keep_listener, name_of_listener,
    take,
};
pub use memory::{MemoryError, read_sealed, sealed};
