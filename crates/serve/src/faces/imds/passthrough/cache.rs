//! The answers of a real IMDS that are kept for a moment: bounded in number and size.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::clock::BootTime;

/// How long an answer is given again without asking.
const FRESH: Duration = Duration::from_secs(5);
/// How long a failure is.
const FAILED: Duration = Duration::from_secs(1);
/// How many answers are kept, and how many bytes of them.
pub(super) const MAX_ENTRIES: usize = 256;
pub(super) const MAX_BYTES: usize = 1024 * 1024;

/// What a real IMDS said to one path.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This, last modified then.
    Found(Arc<[u8]>, Option<Arc<str>>),
    /// There is no such thing.
    Absent,
    /// Nothing that can be used.
    Failed,
}

impl Reply {
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Found(body, _) => body.len(),
            Self::Absent | Self::Failed => 0,
        }
    }
}

/// What is known of one path.
#[derive(Debug)]
pub(super) enum Entry {
    /// It was asked for then.
    Underway { since: BootTime },
    /// This came then.
    Held { reply: Reply, since: BootTime },
}

impl Entry {
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Held { reply, .. } => reply.length(),
            Self::Underway { .. } => 0,
        }
    }
}

/// The answers, by their paths.
#[derive(Debug, Default)]
pub(super) struct Cache {
    pub(super) entries: HashMap<Box<str>, Entry>,
}

/// How long it is given again.
pub(super) fn life(reply: &Reply) -> Duration {
    match reply {
        Reply::Found(..) | Reply::Absent => FRESH,
        Reply::Failed => FAILED,
    }
}

impl Cache {
    /// Makes room for an answer of `length` bytes to `path`; whether there is some.
    pub(super) fn make_room(&mut self, path: &str, length: usize, now: BootTime) -> bool {
        self.entries.remove(path);
        self.entries.retain(|_, entry| match entry {
            Entry::Held { reply, since } => now < *since + life(reply),
            Entry::Underway { .. } => true,
        });
        let too_much = |entries: &HashMap<_, Entry>| {
            entries.len() >= MAX_ENTRIES || entries.values().map(Entry::length).sum::<usize>() + length > MAX_BYTES
        };
        while too_much(&self.entries) {
            let oldest = self.entries.iter().filter_map(|(path, entry)| match entry {
                Entry::Held { since, .. } => Some((*since, path.clone())),
                Entry::Underway { .. } => None,
            });
            let Some((_, path)) = oldest.min() else { return false };
            self.entries.remove(&path);
        }
        true
    }
}
