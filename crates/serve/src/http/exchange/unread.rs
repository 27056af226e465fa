//! What a client has sent that was not used yet.

use zeroize::{Zeroize, Zeroizing};

/// The bytes of requests that are still to be answered, or of the beginning of one. What was used is wiped; the rest is not
/// moved, so that many requests that were sent at once cost no more than the same number one by one.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: Zeroizing<Vec<u8>>,
    used: usize,
}

impl Unread {
    /// A copy of `bytes`. Without any there is no buffer.
    pub(super) fn copied(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec().into(), used: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.used..).unwrap_or_default()
    }

    /// The first `count` are not needed any more.
    pub(super) fn advance(&mut self, count: usize) {
        let end = self.bytes.len().min(self.used.saturating_add(count));
        if end == self.bytes.len() {
            *self = Self::default();
        } else {
            self.bytes.get_mut(self.used..end).unwrap_or_default().zeroize();
            self.used = end;
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_left_is_neither_moved_nor_changed(bytes: Vec<u8>, steps in proptest::collection::vec(0..20_usize, 0..20)) {
            let mut unread = Unread::copied(&bytes);
            let begins = unread.bytes.as_ptr();
            let mut used = 0;
            for step in steps {
                unread.advance(step);
                used = (used + step).min(bytes.len());
                prop_assert_eq!(unread.bytes(), &bytes[used..]);
                if used == bytes.len() {
                    prop_assert_eq!(unread.capacity(), 0);
                } else {
                    prop_assert_eq!(unread.bytes.as_ptr(), begins);
                    prop_assert!(unread.bytes[..used].iter().all(|byte| *byte == 0));
                }
            }
        }
    }
}
