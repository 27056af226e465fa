//! Session names, which CloudTrail shows: made of the proven identity, never of what a client writes.

use aws_lc_rs::digest::{SHA256, digest};

use crate::credentials::{SESSION_NAME_LENGTHS, is_name_character, is_session_name};

/// The hexadecimal digits of the mark of a changed name: 64 bits.
const MARK: usize = 16;

/// The name of an identity as STS takes it, also as a source identity: 2 to 64 characters of `A-Z a-z 0-9 _ + = , . @
/// -`. A name that has to be changed ends in `-` and a hash of the whole, so that two identities never share one; a
/// legal name that looks like that is changed, too, so that none can be chosen to look like another's.
pub fn session_name(identity: &str) -> String {
    if is_session_name(identity) && !is_marked(identity) {
        return identity.to_owned();
    }
    let legal = |c: char| if is_name_character(c) { c } else { '-' };
    let clean: String = identity.chars().map(legal).take(SESSION_NAME_LENGTHS.end() - MARK - 1).collect();
    let hash = digest(&SHA256, identity.as_bytes());
    let start = hash.as_ref().iter().take(MARK / 2).fold(0_u64, |start, byte| start << 8 | u64::from(*byte));
    format!("{clean}-{start:016x}")
}

fn is_marked(name: &str) -> bool {
    let lower = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let Some((_, mark)) = name.rsplit_once('-') else { return false };
    mark.len() == MARK && mark.as_bytes().iter().all(lower)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_legal_name_stays_and_another_is_marked() {
        assert_eq!(session_name("web1.example.com"), "web1.example.com");
        assert_eq!(session_name("alice@example.com"), "alice@example.com");
        for odd in ["", "x", "DOM\\alice", "2001:db8::1", "spiffe://example.org/web", "Jürgen", &"x".repeat(65)] {
            assert!(is_marked(&session_name(odd)), "{odd:?}: {}", session_name(odd));
        }
        assert!(session_name("DOM\\alice").starts_with("DOM-alice-"));
    }

    #[test]
    fn the_marked_name_of_another_cannot_be_chosen() {
        let victim = session_name("DOM\\alice");
        assert_ne!(session_name(&victim), victim);
    }

    proptest! {
        #[test]
        fn each_is_legal(name in any::<String>()) {
            let made = session_name(&name);
            prop_assert!((2..=64).contains(&made.len()), "{made}");
            prop_assert!(made.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c)), "{made}");
        }

        #[test]
        fn two_identities_have_two(one in "[a-c :/-]{0,70}", two in "[a-c :/-]{0,70}") {
            prop_assert_eq!(session_name(&one) == session_name(&two), one == two);
        }
    }
}
