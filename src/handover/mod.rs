//! What this daemon hands over to the one that comes after it: to a text and back (pure), and where it is kept meanwhile.

mod document;
mod fd_store;

pub use document::{HandoverError, read, write};
pub use fd_store::{FdStore, FdStoreError, face_of_listener, is_ours, keep_listeners, take};
