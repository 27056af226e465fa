//! Whether the kernel can distinguish all users: in a user namespace it shows all unmapped users as one.

use std::{fs, io};

/// The kernel's own number for users that are not mapped, where it cannot be read.
const OVERFLOW: u32 = 65_534;

/// The user as whom the kernel shows all that are not mapped into our user namespace; `None` if all are mapped.
pub(super) fn overflow_uid() -> io::Result<Option<u32>> {
    if maps_all(&fs::read_to_string("/proc/self/uid_map")?) {
        return Ok(None);
    }
    let overflow = fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap_or_default();
    Ok(Some(overflow.trim().parse().unwrap_or(OVERFLOW)))
}

/// Whether a map (`user_namespaces(7)`: inside, outside, count) shows each user as what it is.
fn maps_all(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_identity_shows_each_user_as_what_it_is() {
        assert!(maps_all("         0          0 4294967295\n"));
        for map in ["", "0 1000 1\n", "0 0 65536\n", "0 100000 4294967295\n", "0 0 1000\n1000 1000 4294966295\n"] {
            assert!(!maps_all(map), "{map}");
        }
    }
}
