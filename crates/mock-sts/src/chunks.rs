//! Verifies bodies in `aws-chunked` encoding, whose chunks may each be signed.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html>

use aws_lc_rs::hmac;

use super::sigv4::{Refusal, hex, sha256};

/// What chunks are signed with.
pub(super) struct Signer<'a> {
    pub(super) key: &'a hmac::Key,
    pub(super) date: &'a str,
    pub(super) scope: &'a str,
    /// The signature of the head, the first link of the chain.
    pub(super) seed: &'a str,
}

impl Signer<'_> {
    fn chunk(&self, previous: &str, data: &[u8]) -> String {
        let empty = sha256(b"");
        self.sign(&format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{previous}\n{empty}\n{}",
            self.date,
            self.scope,
            sha256(data)
        ))
    }

    fn trailer(&self, previous: &str, trailer: &str) -> String {
        let digest = sha256(trailer.as_bytes());
        self.sign(&format!("AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{previous}\n{digest}", self.date, self.scope))
    }

    fn sign(&self, text: &str) -> String {
        hex(hmac::sign(self.key, text.as_bytes()).as_ref())
    }
}

/// Whether `body` is whole and, if a `signer` is given, each of its chunks is signed. With `trailer`
/// header lines follow the last chunk.
pub(super) fn verify(body: &[u8], signer: Option<&Signer<'_>>, trailer: bool) -> Result<(), Refusal> {
    let mut rest = body;
    let mut previous = signer.map_or(String::new(), |signer| signer.seed.to_owned());
    loop {
        let head = line(&mut rest)?;
        let (length, extension) = head.split_once(';').unwrap_or((head, ""));
        let length = usize::from_str_radix(length, 16).map_err(|_| BROKEN)?;
        let data = take(&mut rest, length)?;
        if let Some(signer) = signer {
            let expected = signer.chunk(&previous, data);
            if extension.strip_prefix("chunk-signature=") != Some(&expected) {
                return Err(Refusal::WrongSignature);
            }
            previous = expected;
        }
        if length > 0 {
            end(&mut rest)?;
            continue;
        }
        return if trailer { verify_trailer(rest, signer, &previous) } else { end(&mut rest) };
    }
}

fn verify_trailer(mut rest: &[u8], signer: Option<&Signer<'_>>, previous: &str) -> Result<(), Refusal> {
    let mut fields = String::new();
    let mut signature = None;
    loop {
        let field = line(&mut rest)?;
        match field.split_once(':') {
            Some(("x-amz-trailer-signature", value)) => signature = Some(value),
            Some((name, value)) => fields.extend([&name.to_ascii_lowercase(), ":", value.trim(), "\n"]),
            None if field.is_empty() => break,
            None => return Err(BROKEN),
        }
        // Some SDKs end the last field's line and nothing more.
        if rest.is_empty() {
            break;
        }
    }
    match signer {
        Some(signer) if signature != Some(&signer.trailer(previous, &fields)) => Err(Refusal::WrongSignature),
        _ => Ok(()),
    }
}

const BROKEN: Refusal = Refusal::Incomplete("the chunks of the body");

fn line<'a>(rest: &mut &'a [u8]) -> Result<&'a str, Refusal> {
    let end = rest.windows(2).position(|pair| pair == b"\r\n").ok_or(BROKEN)?;
    let (line, after) = rest.split_at(end);
    *rest = &after[2..];
    std::str::from_utf8(line).map_err(|_| BROKEN)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Refusal> {
    let (taken, after) = rest.split_at_checked(length).ok_or(BROKEN)?;
    *rest = after;
    Ok(taken)
}

fn end(rest: &mut &[u8]) -> Result<(), Refusal> {
    if take(rest, 2)? == b"\r\n" { Ok(()) } else { Err(BROKEN) }
}
