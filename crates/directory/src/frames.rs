//! Where one LDAP message ends and the next one begins (RFC 4511, section 5.1), so that none is longer than it may be.
//! Pure.

/// The longest message. A person in ten thousand groups is shorter.
const MAX_MESSAGE: usize = 4 * 1024 * 1024;
/// The type of a SEQUENCE, which each message is.
const SEQUENCE: u8 = 0x30;

/// Why a stream is not one of LDAP messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// It begins with something else.
    #[error("what the server sends is not LDAP")]
    Foreign,
    /// The message is too long.
    #[error("the server sends a message of more than {MAX_MESSAGE} bytes")]
    TooLong,
}

/// Follows the messages in a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// What is known of a header that is not complete.
    header: Vec<u8>,
    /// How many bytes of the current message are to come.
    left: usize,
}

impl Frames {
    /// The next bytes of the stream.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                bytes = &bytes[taken..];
                continue;
            }
            self.header.push(*first);
            bytes = rest;
            if let Some(length) = body_length(&self.header)? {
                self.header.clear();
                self.left = length;
            }
        }
        Ok(())
    }
}

/// How long the body of the message is that begins with this header; `None` as long as the header is not complete.
pub(crate) fn body_length(header: &[u8]) -> Result<Option<usize>, FrameError> {
    let length = match header {
        [] | [SEQUENCE] => return Ok(None),
        [SEQUENCE, short, ..] if *short < 0x80 => usize::from(*short),
        [SEQUENCE, long, digits @ ..] => {
            let count = usize::from(long & 0x7f);
            if !(1..=4).contains(&count) {
                return Err(if count == 0 { FrameError::Foreign } else { FrameError::TooLong });
            }
            if digits.len() < count {
                return Ok(None);
            }
            digits.iter().take(count).fold(0, |length: usize, digit| (length << 8) | usize::from(*digit))
        }
        _ => return Err(FrameError::Foreign),
    };
    if length > MAX_MESSAGE { Err(FrameError::TooLong) } else { Ok(Some(length)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let long = [&[0x30, 0x82, 0x01, 0x00][..], &[7; 256]].concat();
        let stream = [&[0x30, 2, 9, 9][..], &[0x30, 0x81, 1, 5], &long, &[0x30, 0]].concat();
        for size in [1, 2, 3, 7, 100, stream.len()] {
            let mut frames = Frames::default();
            for piece in stream.chunks(size) {
                frames.feed(piece).unwrap_or_else(|error| panic!("{size}: {error}"));
            }
            assert_eq!((frames.left, frames.header.as_slice()), (0, &[][..]), "{size}");
        }
    }

    #[test]
    fn what_is_too_long_or_foreign_is_refused_at_its_header() {
        for (bytes, error) in [
            (&b"HTTP/1.1 400"[..], FrameError::Foreign),
            (&[0x30, 0x80, 0, 0], FrameError::Foreign),
            (&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], FrameError::TooLong),
            (&[0x30, 0x83, 0x40, 0, 1], FrameError::TooLong),
            (&[0x30, 0x88, 0, 0, 0, 0], FrameError::TooLong),
            (&[0x30, 1, 5, 0x15, 3, 3], FrameError::Foreign),
        ] {
            assert_eq!(Frames::default().feed(bytes), Err(error), "{bytes:x?}");
        }
        assert_eq!(Frames::default().feed(&[0x30, 0x83, 0x40, 0, 0]), Ok(()));
    }
}
