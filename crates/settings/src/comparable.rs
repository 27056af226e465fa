//! Options of a type that is not known can be compared, which says whether a reload has changed them.

use std::any::Any;

/// What can be compared without its type being known.
pub trait Comparable: Any {
    /// Whether the other one is of the same type and equal.
    fn equals(&self, other: &dyn Any) -> bool;
}

impl<T: Eq + 'static> Comparable for T {
    fn equals(&self, other: &dyn Any) -> bool {
        other.downcast_ref() == Some(self)
    }
}
