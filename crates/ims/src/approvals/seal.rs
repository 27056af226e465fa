//! The signature of a record: a MAC over its text and the name of its file, with a key that all replicas have.

use std::fmt::Write;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use zeroize::Zeroizing;

/// The hexadecimal digits of a key: 256 bits.
const DIGITS: usize = 64;
/// What is signed says first what it is, so that no other MAC with this key could be taken for that of a record.
const CONTEXT: &str = "alppaca-ims approval record 1";

/// The key of the records.
#[derive(Debug)]
pub struct Key(hmac::Key);

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is 64 hexadecimal digits in one line, such as `openssl rand -hex 32` prints")]
pub struct KeyError;

impl Key {
    /// The key of this text: 64 hexadecimal digits.
    pub fn new(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim();
        let bytes = Zeroizing::new(unhex(digits).filter(|_| digits.len() == DIGITS).ok_or(KeyError)?);
        Ok(Self(hmac::Key::new(HMAC_SHA256, &bytes)))
    }

    /// The content of the file `name` with the record `text`, which is one line.
    pub(super) fn sign(&self, name: &str, text: &str) -> String {
        let tag = hmac::sign(&self.0, signed(name, text).as_bytes());
        let mut file = format!("{text}\n");
        for byte in tag.as_ref() {
            // Writing to a String cannot fail.
            let _infallible = write!(file, "{byte:02x}");
        }
        file.push('\n');
        file
    }

    /// The record in the file `name`, if this key signed it for a file of this name.
    pub(super) fn verify<'a>(&self, name: &str, file: &'a [u8]) -> Option<&'a str> {
        let (text, tag) = str::from_utf8(file).ok()?.strip_suffix('\n')?.split_once('\n')?;
        hmac::verify(&self.0, signed(name, text).as_bytes(), &unhex(tag)?).ok().map(|()| text)
    }
}

fn signed(name: &str, text: &str) -> String {
    format!("{CONTEXT}\n{name}\n{text}")
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    rest.is_empty().then_some(())?;
    pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}
