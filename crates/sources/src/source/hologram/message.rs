//! Messages of Hologram: protobuf (proto2), as far as a client needs it.
//!
//! `Message` has `error` (1), `ServerRequest` (6) and `ServerResponse` (7). A request is `AssumeRole` (4),
//! `SSHChallengeResponse` (5) or `GetUserCredentials` (7); a response is `SSHChallenge` (4), `SSHVerificationFailure` (5)
//! or `STSCredentials` (6).

use jiff::Timestamp;

use crate::credentials::{Credentials, Secret, is_key_text};

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// These bytes are to be signed.
    Challenge(Vec<u8>),
    /// The signature is of no key that it knows. A new challenge follows.
    WrongSignature,
    /// The credentials.
    Credentials(Credentials),
    /// Its reason why there are none.
    Error(String),
    /// Anything else.
    Other,
}

/// `ServerRequest` with `AssumeRole`, or with `GetUserCredentials` for the user's default role.
pub(super) fn request(role: Option<&str>) -> Vec<u8> {
    match role {
        Some(role) => bytes(6, &bytes(4, &bytes(2, role.as_bytes()))),
        None => bytes(6, &bytes(7, b"")),
    }
}

/// `SSHChallengeResponse`.
pub(super) fn signature(signature: &[u8], format: &str) -> Vec<u8> {
    bytes(6, &bytes(5, &[bytes(1, signature), bytes(2, format.as_bytes())].concat()))
}

/// `Message` with an `error`.
pub(super) fn error(text: &str) -> Vec<u8> {
    bytes(1, text.as_bytes())
}

/// A field with bytes, a text or a message.
fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = value.len();
    while let Ok(low) = u8::try_from(length & 0x7f) {
        length >>= 7;
        field.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            break;
        }
    }
    field.extend_from_slice(value);
    field
}

/// Reads a message without its frame. The error says what is wrong with it.
pub fn parse_reply(message: &[u8]) -> Result<Reply, &'static str> {
    let mut reply = Reply::Other;
    for field in Fields(message) {
        match field? {
            // Nothing else counts beside it.
            (1, Value::Bytes(text)) => return Ok(Reply::Error(String::from_utf8_lossy(text).into_owned())),
            (7, Value::Bytes(response)) => reply = parse_response(response)?,
            _ => {}
        }
    }
    Ok(reply)
}

fn parse_response(response: &[u8]) -> Result<Reply, &'static str> {
    let mut reply = Reply::Other;
    for field in Fields(response) {
        reply = match field? {
            (4, Value::Bytes(challenge)) => {
                let field = Fields(challenge).find_map(|field| match field {
                    Ok((1, Value::Bytes(bytes))) => Some(Ok(bytes.to_vec())),
                    Ok(_) => None,
                    Err(error) => Some(Err(error)),
                });
                Reply::Challenge(field.ok_or("a challenge in it is empty")??)
            }
            (5, Value::Bytes(_)) => Reply::WrongSignature,
            (6, Value::Bytes(set)) => Reply::Credentials(parse_credentials(set)?),
            _ => reply,
        };
    }
    Ok(reply)
}

fn parse_credentials(set: &[u8]) -> Result<Credentials, &'static str> {
    let mut texts = [None; 3];
    let mut end = None;
    for field in Fields(set) {
        match field? {
            (number @ 1..=3, Value::Bytes(text)) => texts[usize::from(number) - 1] = Some(text),
            (4, Value::Number(seconds)) => end = Some(seconds.cast_signed()),
            _ => {}
        }
    }
    let text = |index: usize| {
        let text = texts[index].and_then(|text| std::str::from_utf8(text).ok());
        text.filter(|text| is_key_text(text)).ok_or("a part of its credentials is missing or has illegal characters")
    };
    Ok(Credentials {
        access_key_id: text(0)?.to_owned(),
        secret_access_key: Secret::new(text(1)?),
        session_token: Secret::new(text(2)?),
        expiration: end
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or("its credentials have no expiration")?,
        life: None,
        last_updated: None,
        account_id: None,
        role_arn: None,
    })
}

/// The fields of a message: number and value.
struct Fields<'a>(&'a [u8]);

#[derive(Clone, Copy)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        // Ten bytes of seven bits each.
        for shift in (0..70).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u8, Value<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Bytes(self.take(4)?),
            _ => return None,
        };
        // Numbers that are not ours are all the same.
        let number = u8::try_from(tag >> 3).unwrap_or(0);
        // Of a fixed length there is none of ours.
        Some((if matches!(tag & 7, 1 | 5) { 0 } else { number }, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u8, Value<'a>), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or("it is not in the form of protobuf"))
    }
}
