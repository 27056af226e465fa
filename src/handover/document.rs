//! The file that is handed over: a line that says what it is, a checksum, a line of JSON, and the documents of the sets. Pure.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::{
    clock::{BootTime, Moment},
    credentials::{AccountId, Credentials, RoleArn, RoleName, parse_document},
    refresh::{HandedSet, Handover},
    store::Published,
};

/// What it begins with. The number changes with the meaning of what follows.
const HEAD: &[u8] = b"alppaca handover 1\n";
/// Of a SHA-256.
const DIGEST: usize = 32;
/// Where that begins of which this is the checksum.
const BODY: usize = HEAD.len() + DIGEST;

/// Why what was handed over cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandoverError {
    /// Another format: that of another version, or of another program.
    #[error("it was written by another version")]
    Version,
    /// The checksum is wrong, or there is none.
    #[error("it is damaged")]
    Damaged,
    /// It is not what this version writes.
    #[error("its content is not understood")]
    Content,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    /// When, by the boot clock in milliseconds.
    written: u64,
    configuration: Box<str>,
    listed: Option<Vec<String>>,
    sets: Vec<WireSet>,
}

#[derive(Serialize, Deserialize)]
struct WireSet {
    id: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<String>,
    /// How many bytes its document has.
    length: usize,
    /// By the boot clock in milliseconds, as the next one.
    ends: u64,
    due: u64,
    candidate: Option<Box<str>>,
    /// By both clocks, in nanoseconds and milliseconds.
    refused: Option<(i128, u64)>,
    account: Option<String>,
    role_arn: Option<String>,
}

/// Writes what is handed over at the moment `now`. Secret.
pub fn write(handover: &Handover, now: Moment) -> Zeroizing<Vec<u8>> {
    let wire = Wire {
        written: now.boot.as_millis(),
        configuration: (*handover.configuration).into(),
        listed: handover.listed.as_ref().map(|names| names.iter().map(ToString::to_string).collect()),
        sets: handover.sets.iter().map(WireSet::of).collect(),
    };
    // Text and numbers can always be written.
    let line = serde_json::to_vec(&wire).unwrap_or_default();
    let documents = handover.sets.iter().map(|handed| handed.set.document().expose());
    let length = BODY + line.len() + 1 + documents.clone().map(<[u8]>::len).sum::<usize>();
    // At its full size at once: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length));
    bytes.extend_from_slice(HEAD);
    bytes.extend_from_slice(&[0; DIGEST]);
    bytes.extend_from_slice(&line);
    bytes.push(b'\n');
    documents.for_each(|document| bytes.extend_from_slice(document));
    let sum = digest(&SHA256, bytes.get(BODY..).unwrap_or_default());
    if let Some(place) = bytes.get_mut(HEAD.len()..BODY) {
        place.copy_from_slice(sum.as_ref());
    }
    bytes
}

/// Reads it at the moment `now` of the same boot. All of it is good, or none. Also returns when it was written.
pub fn read(bytes: &[u8], now: Moment) -> Result<(BootTime, Handover), HandoverError> {
    let rest = bytes.strip_prefix(HEAD).ok_or(HandoverError::Version)?;
    let (sum, body) = rest.split_at_checked(DIGEST).ok_or(HandoverError::Damaged)?;
    if digest(&SHA256, body).as_ref() != sum {
        return Err(HandoverError::Damaged);
    }
    content(body, now).ok_or(HandoverError::Content)
}

fn content(body: &[u8], now: Moment) -> Option<(BootTime, Handover)> {
    let end = body.iter().position(|byte| *byte == b'\n')?;
    let (line, mut documents) = (body.get(..end)?, body.get(end + 1..)?);
    let wire: Wire = serde_json::from_slice(line).ok()?;
    let mut sets = Vec::with_capacity(wire.sets.len());
    for set in wire.sets {
        let (document, rest) = documents.split_at_checked(set.length)?;
        documents = rest;
        sets.push(set.read(document, now)?);
    }
    let names = |names: Vec<String>| names.iter().map(|name| name.parse()).collect::<Result<Vec<RoleName>, _>>();
    let listed = wire.listed.map(names).transpose().ok()?;
    let handover = Handover { configuration: wire.configuration.into(), listed, sets };
    documents.is_empty().then_some((BootTime::from_millis(wire.written), handover))
}

impl WireSet {
    fn of(handed: &HandedSet) -> Self {
        let set = &handed.set;
        Self {
            id: handed.id.clone(),
            of: handed.of.as_ref().map(ToString::to_string),
            length: set.document().expose().len(),
            ends: set.ends().as_millis(),
            due: handed.due.as_millis(),
            candidate: handed.candidate.clone(),
            refused: handed.refused.map(|since| (since.wall.as_nanosecond(), since.boot.as_millis())),
            account: set.account_id.map(|account| account.as_str().to_owned()),
            role_arn: set.role_arn.as_ref().map(|arn| arn.as_str().to_owned()),
        }
    }

    fn read(self, document: &[u8], now: Moment) -> Option<HandedSet> {
        let account_id = self.account.map(|id| id.parse::<AccountId>()).transpose().ok()?;
        let role_arn = self.role_arn.map(|arn| arn.parse::<RoleArn>()).transpose().ok()?;
        let credentials = Credentials { account_id, role_arn, ..parse_document(document).ok()? };
        let since = |(wall, boot)| {
            let wall = Timestamp::from_nanosecond(wall).ok()?;
            Some(Moment { wall, boot: BootTime::from_millis(boot) })
        };
        Some(HandedSet {
            id: self.id,
            of: self.of.map(|name| name.parse()).transpose().ok()?,
            set: Arc::new(Published::handed_over(&credentials, BootTime::from_millis(self.ends), now)),
            due: BootTime::from_millis(self.due),
            candidate: self.candidate,
            refused: self.refused.and_then(since),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::credentials::Secret;

    fn now() -> Moment {
        Moment { wall: "2026-11-23T10:00:00Z".parse().expect("a time"), boot: BootTime::from_millis(7_000) }
    }

    fn handover() -> Handover {
        let set = |id: &str, role_arn: Option<&str>| {
            let credentials = Credentials {
                access_key_id: format!("ASIA{}", id.len()),
                secret_access_key: Secret::new("secret"),
                session_token: Secret::new("token"),
                expiration: "2026-11-23T11:00:00Z".parse().expect("a time"),
                life: None,
                last_updated: None,
                account_id: Some("123456789012".parse().expect("an id")),
                role_arn: role_arn.map(|arn| arn.parse().expect("an ARN")),
            };
            HandedSet {
                id: id.into(),
                of: role_arn.is_none().then(|| "app".parse().expect("a name")),
                set: Arc::new(Published::new(&credentials, now())),
                due: BootTime::from_millis(9_000),
                candidate: role_arn.map(Into::into),
                refused: role_arn.map(|_| now()),
            }
        };
        let arn = "arn:aws:iam::123456789012:role/app";
        let sets = vec![set("app", Some(arn)), set("on demand: name=\"x\" tag=\"\\n\"", None)];
        Handover { configuration: "listen: [x]\n".into(), listed: Some(vec!["app".parse().expect("a name")]), sets }
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let written = handover();
        let bytes = write(&written, now());
        assert_eq!(bytes.len(), bytes.capacity(), "nothing was copied while it grew");
        let later = Moment { wall: now().wall, boot: BootTime::from_millis(8_000) };
        let (at, after) = read(&bytes, later).expect("it is good");
        assert_eq!(at, now().boot);
        assert_eq!((&after.configuration, &after.listed), (&written.configuration, &written.listed));
        for (read, written) in after.sets.iter().zip(&written.sets) {
            assert_eq!(read.set.document(), written.set.document());
            assert_eq!((&read.id, read.due, &read.candidate), (&written.id, written.due, &written.candidate));
            assert_eq!(read.of, written.of);
            assert_eq!((read.refused, read.set.ends()), (written.refused, written.set.ends()));
            assert_eq!((read.set.account_id, &read.set.role_arn), (written.set.account_id, &written.set.role_arn));
        }
        assert_eq!(after.sets.len(), 2);
    }

    #[test]
    fn what_is_damaged_or_of_another_version_is_not_read() {
        let bytes = write(&handover(), now());
        let error = |bytes: &[u8]| read(bytes, now()).map(|_| ()).expect_err("it is not good");
        assert_eq!(error(b""), HandoverError::Version);
        assert_eq!(error(b"alppaca handover 2\n"), HandoverError::Version);
        for cut in [HEAD.len() + 9, BODY, bytes.len() / 2, bytes.len() - 1] {
            assert_eq!(error(&bytes[..cut]), HandoverError::Damaged);
        }
        let mut one_bit = bytes.to_vec();
        one_bit[bytes.len() / 2] ^= 1;
        assert_eq!(error(&one_bit), HandoverError::Damaged);
        assert_eq!(error(&of(b"{}\n")), HandoverError::Content);
        let more = [&bytes[BODY..], b"more"].concat();
        assert_eq!(error(&of(&more)), HandoverError::Content);
    }

    fn of(content: &[u8]) -> Vec<u8> {
        [HEAD, digest(&SHA256, content).as_ref(), content].concat()
    }

    proptest! {
        #[test]
        fn no_content_makes_it_panic(content in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&of(&content), now());
        }
    }
}
