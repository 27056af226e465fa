//! The level *notice*: normal, but worth a line at the default level (start, stop, reload, a role's change of state).
//! `tracing` has no such level, so an event of this kind is an info event with a field that marks it.

/// The name of that field.
pub const FIELD: &str = "notice";

/// An event at the level notice.
#[macro_export]
macro_rules! notice {
    ($($message:tt)+) => { $crate::tracing::info!(notice = true, $($message)+) };
}
