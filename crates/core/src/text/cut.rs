//! Shortens text from clients: they choose its length and its bytes, and a log must not grow with either.

use std::{
    ascii,
    fmt::{self, Write},
};

/// Bytes of a client as printable ASCII, cut to a maximum of characters. An omission is marked.
#[derive(Debug, Clone, Copy)]
pub struct Cut<'a> {
    bytes: &'a [u8],
    limit: usize,
    /// Whether quotes are escaped, too.
    quoted: bool,
}

impl<'a> Cut<'a> {
    /// As much as belongs into a line of the log.
    pub fn for_log(bytes: &'a [u8]) -> Self {
        Self { bytes, limit: 256, quoted: true }
    }

    /// As much as belongs into a record of the audit.
    pub fn for_audit(bytes: &'a [u8]) -> Self {
        Self { bytes, limit: 512, quoted: false }
    }

    fn is_plain(&self, byte: u8) -> bool {
        !self.quoted && matches!(byte, b'"' | b'\'')
    }
}

impl fmt::Display for Cut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = self.limit;
        for byte in self.bytes.iter().copied() {
            let (plain, escaped) = (self.is_plain(byte), ascii::escape_default(byte));
            let Some(left) = room.checked_sub(if plain { 1 } else { escaped.len() }) else {
                return write!(f, "...[{} bytes]", self.bytes.len());
            };
            room = left;
            if plain { f.write_char(byte.into())? } else { escaped.fmt(f)? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_escaped_and_what_is_too_long_is_cut_between_two_and_marked() {
        assert_eq!(Cut::for_log(b"curl/8 \"x\"\n").to_string(), "curl/8 \\\"x\\\"\\n");
        assert_eq!(Cut::for_audit(b"curl/8 \"x\"\n").to_string(), "curl/8 \"x\"\\n");
        assert_eq!(Cut::for_log(&[b'x'; 256]).to_string(), "x".repeat(256));
        assert_eq!(Cut::for_log(&[b'x'; 257]).to_string(), format!("{}...[257 bytes]", "x".repeat(256)));
        let odd = [&b"abc"[..], &[0xff; 15_000]].concat();
        assert_eq!(Cut::for_log(&odd).to_string(), format!("abc{}...[15003 bytes]", "\\xff".repeat(63)));
        assert_eq!(Cut::for_audit(&odd).to_string(), format!("abc{}...[15003 bytes]", "\\xff".repeat(127)));
    }
}
