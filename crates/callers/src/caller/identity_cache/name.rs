//! The number of a user or group that is known by its name.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::Known;
use crate::caller::Accounts;

/// The number of a user or group that is known by its name. It follows the name service.
#[derive(Debug)]
pub struct Name {
    text: Box<str>,
    kind: NameKind,
    value: AtomicU64,
    /// Whether it is being looked up, or waits for that.
    pub(super) open: AtomicBool,
    /// Whether the last look-up failed.
    pub(super) failed: AtomicBool,
}

/// What a name is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameKind {
    /// A user.
    User,
    /// A group.
    Group,
}

const NO_NUMBER: u64 = u64::MAX;
const NOT_KNOWN: u64 = u64::MAX - 1;
const NOT_ASKED: u64 = u64::MAX - 2;

impl Name {
    /// A name whose number is to be found out. A number stands for itself.
    pub fn new(text: &str, kind: NameKind) -> Self {
        let value = text.parse::<u32>().map_or(NOT_ASKED, u64::from);
        let (open, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { text: text.into(), kind, value: value.into(), open, failed }
    }

    /// The number.
    pub fn number(&self) -> Known<u32> {
        match self.value.load(Ordering::Relaxed) {
            NO_NUMBER => Known::No,
            NOT_ASKED => Known::Pending,
            value => u32::try_from(value).map_or(Known::Unknown, Known::Yes),
        }
    }

    /// The name.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it is the name of, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self.kind {
            NameKind::User => "user",
            NameKind::Group => "group",
        }
    }

    /// Whether it stands for itself.
    pub(super) fn is_number(&self) -> bool {
        self.text.parse::<u32>().is_ok()
    }

    /// Looks it up; whether that changed anything. After a failure what was known before stays.
    pub(super) fn resolve(&self, accounts: &dyn Accounts) -> io::Result<bool> {
        let number = match self.kind {
            NameKind::User => accounts.uid(&self.text),
            NameKind::Group => accounts.gid(&self.text),
        };
        let number = number.inspect_err(|_| {
            // A failure is no news of what is known already.
            let _known = self.value.compare_exchange(NOT_ASKED, NOT_KNOWN, Ordering::Relaxed, Ordering::Relaxed);
        })?;
        let value = number.map_or(NO_NUMBER, u64::from);
        Ok(self.value.swap(value, Ordering::Relaxed) != value)
    }
}
