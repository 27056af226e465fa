//! Who is at the other end of a connection. It never decides what the caller may have.

pub mod containers;
