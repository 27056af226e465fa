//! The two kinds of records: a request, and the answer to it. Each is a file of one line of JSON and its signature.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::seal::Key;
use crate::identity::Identity;

/// No file of a record is longer.
pub const MAX_FILE: usize = 16 * 1024;

/// The name of a request, in its files and in URLs: 16 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// One that no other request has, made of random bytes.
    pub fn of(random: [u8; 8]) -> Self {
        Self(format!("{:016x}", u64::from_be_bytes(random)))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Id {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let legal = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if legal { Ok(Self(text)) } else { Err("the id of a request is 16 hexadecimal digits") }
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

/// A person, as proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// The name that rules match.
    pub name: String,
    /// All names of the proof.
    pub names: Vec<String>,
    /// The identity method that accepted the proof.
    pub proven_by: String,
}

impl Person {
    /// The person with this identity.
    pub fn of(identity: &Identity) -> Self {
        Self { name: identity.name.clone(), names: identity.names.clone(), proven_by: identity.proven_by.clone() }
    }

    /// Whether it is this identity: the same name by the same method. Another method may know another person by the name.
    pub fn is(&self, identity: &Identity) -> bool {
        self.name == identity.name && self.proven_by == identity.proven_by
    }

    /// Whether it may be the same person, by whatever method: the name of one is among the names of the other.
    pub fn may_be(&self, identity: &Identity) -> bool {
        let has = |names: &[String], name: &str| names.iter().any(|other| other.to_lowercase() == name.to_lowercase());
        let same = |one: &str, two: &str| one.to_lowercase() == two.to_lowercase();
        same(&self.name, &identity.name) || has(&self.names, &identity.name) || has(&identity.names, &self.name)
    }
}

/// A person wants a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Its name.
    pub id: Id,
    /// When it was made.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// By whom.
    pub by: Person,
    /// The rule that gives the role.
    pub rule: String,
    /// The account, by alias or number.
    pub account: String,
    /// The role.
    pub role: String,
    /// The same with number, partition and path: what is approved, whatever names mean later.
    pub arn: String,
    /// What for.
    pub reason: String,
}

impl Request {
    /// The number of the account.
    pub fn account_id(&self) -> &str {
        self.arn.split(':').nth(4).unwrap_or_default()
    }
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// The person may have the role.
    Approved,
    /// It may not.
    Refused,
    /// It may no longer, or no longer wants to.
    Revoked,
}

impl Word {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Refused => "refused",
            Self::Revoked => "revoked",
        }
    }
}

/// The answer to a request. There is one: a revocation replaces what was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The request.
    pub id: Id,
    /// When it was answered.
    #[serde(with = "time")]
    pub at: Timestamp,
    /// By whom.
    pub by: Person,
    /// What.
    pub word: Word,
    /// When an approval ends.
    #[serde(with = "time")]
    pub until: Timestamp,
    /// What the person wrote.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub note: Option<String>,
}

/// A kind of record.
pub trait Record: Serialize + DeserializeOwned {
    /// How the names of its files end.
    const ENDING: &'static str;

    /// The request that it is about.
    fn id(&self) -> &Id;

    /// When it was made.
    fn at(&self) -> Timestamp;

    /// The name of its file.
    fn file_name(&self) -> String {
        format!("{}.{}", self.id().as_str(), Self::ENDING)
    }

    /// Its file. `None` if it would be too long, or has no form in JSON.
    fn seal(&self, key: &Key) -> Option<String> {
        let file = key.sign(&self.file_name(), &serde_json::to_string(self).ok()?);
        (file.len() <= MAX_FILE).then_some(file)
    }

    /// The record in the file `name`, or why it is none that counts.
    fn open(name: &str, file: &[u8], key: &Key) -> Result<Self, String> {
        let text = key.verify(name, file).ok_or("it is not signed with the key, or not as this file")?;
        let record: Self = serde_json::from_str(text).map_err(|error| format!("it cannot be read: {error}"))?;
        if record.file_name() == name { Ok(record) } else { Err("it is about another request".to_owned()) }
    }
}

impl Record for Request {
    const ENDING: &'static str = "request";

    fn id(&self) -> &Id {
        &self.id
    }

    fn at(&self) -> Timestamp {
        self.at
    }
}

impl Record for Answer {
    const ENDING: &'static str = "answer";

    fn id(&self) -> &Id {
        &self.id
    }

    fn at(&self) -> Timestamp {
        self.at
    }
}

/// Times in records, to the second.
mod time {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::credentials::{format_timestamp, parse_timestamp};

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format_timestamp(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(from)?;
        parse_timestamp(&text).ok_or_else(|| D::Error::custom("no time"))
    }
}
