//! What the API server says about service accounts: a page of a list, an event of a watch, a refusal. Of each account only
//! the metadata are asked for, and only the annotations that count are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, de::IgnoredAny};

use crate::{Account, Uid, Wish};

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The accounts on it.
    pub accounts: Vec<Listed>,
    /// The state of the cluster that it shows.
    pub version: String,
    /// What to ask for the next page with, if there is one.
    pub more: Option<String>,
}

/// An account, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which one.
    pub account: Account,
    /// Its uid. Another account may have its name later.
    pub uid: Option<Uid>,
    /// What its annotations ask for.
    pub wish: Option<Wish>,
}

/// An event of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The account is so from now on, at that version.
    Is(Listed, String),
    /// The account is gone, since that version.
    Gone(Account, String),
    /// Nothing else has happened before that version.
    Bookmark(String),
    /// The watch has failed.
    Failed(Status),
}

/// A refusal of the API server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// As the status of an answer.
    #[serde(default)]
    pub code: u16,
    /// Why, in words.
    #[serde(default)]
    pub message: String,
}

/// Why something is no message of an API server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is not even JSON, or has other fields.
    #[error("this is no message of an API server: {0}")]
    Form(String),
    /// It is a message of another kind.
    #[error("the API server sends {0:?}")]
    Kind(String),
    /// The version is missing, without which no watch can begin.
    #[error("a message of the API server has no resourceVersion")]
    NoVersion,
}

#[derive(Deserialize)]
struct RawPage {
    kind: String,
    #[serde(default)]
    metadata: RawListMeta,
    #[serde(default)]
    items: Option<Vec<RawObject>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    r#continue: String,
}

/// An account, or a refusal.
#[derive(Deserialize)]
struct RawObject {
    #[serde(default)]
    metadata: RawMeta,
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawMeta {
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    resource_version: String,
    /// There if the account is being deleted: it stays as long as finalizers want it to.
    #[serde(default)]
    deletion_timestamp: Option<IgnoredAny>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct RawEvent {
    r#type: String,
    object: RawObject,
}

impl RawMeta {
    fn account(&self) -> Result<Account, MessageError> {
        let illegal = || MessageError::Form(format!("{:?} in {:?} is no service account", self.name, self.namespace));
        Account::new(&self.namespace, &self.name).ok_or_else(illegal)
    }

    fn listed(&self) -> Result<Listed, MessageError> {
        let wish = self.annotations.as_ref().filter(|_| self.deletion_timestamp.is_none()).and_then(Wish::of);
        Ok(Listed { account: self.account()?, uid: Uid::new(&self.uid), wish })
    }
}

fn form(error: &serde_json::Error) -> MessageError {
    MessageError::Form(error.to_string())
}

/// Reads a page of a list.
pub fn parse_page(text: &[u8]) -> Result<Page, MessageError> {
    let page: RawPage = serde_json::from_slice(text).map_err(|error| form(&error))?;
    if page.kind != "PartialObjectMetadataList" {
        return Err(MessageError::Kind(page.kind));
    }
    let accounts =
        page.items.unwrap_or_default().iter().map(|item| item.metadata.listed()).collect::<Result<_, _>>()?;
    let RawListMeta { resource_version: version, r#continue: more } = page.metadata;
    if version.is_empty() {
        return Err(MessageError::NoVersion);
    }
    Ok(Page { accounts, version, more: Some(more).filter(|more| !more.is_empty()) })
}

/// Reads an event of a watch, which is one line.
pub fn parse_event(line: &[u8]) -> Result<Event, MessageError> {
    let RawEvent { r#type: kind, object } = serde_json::from_slice(line).map_err(|error| form(&error))?;
    if kind == "ERROR" {
        return Ok(Event::Failed(Status { code: object.code, message: object.message }));
    }
    let version = object.metadata.resource_version.clone();
    if version.is_empty() {
        return Err(MessageError::NoVersion);
    }
    match kind.as_str() {
        "ADDED" | "MODIFIED" => Ok(Event::Is(object.metadata.listed()?, version)),
        "DELETED" => Ok(Event::Gone(object.metadata.account()?, version)),
        "BOOKMARK" => Ok(Event::Bookmark(version)),
        other => Err(MessageError::Kind(other.chars().take(50).collect())),
    }
}

/// Reads a refusal.
pub fn parse_status(text: &[u8]) -> Result<Status, MessageError> {
    serde_json::from_slice(text).map_err(|error| form(&error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{ROLE, ROLE_ARN};

    #[test]
    fn a_page_is_read_and_what_does_not_count_is_left_out() {
        let text = serde_json::json!({
            "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": "812", "continue": "abc", "remainingItemCount": 3},
            "items": [
                {"kind": "PartialObjectMetadata", "metadata": {"name": "web", "namespace": "prod", "uid": "x",
                 "resourceVersion": "7", "annotations": {ROLE: "web", "other": "x"}, "managedFields": [{"a": {}}]}},
                {"metadata": {"name": "default", "namespace": "prod", "annotations": null}},
            ],
        });
        let page = parse_page(text.to_string().as_bytes()).expect("a page");
        let account = |name: &str| Account::new("prod", name).expect("legal");
        let wish = Some(Wish::Role("web".parse().expect("a name")));
        let accounts = [
            Listed { account: account("web"), uid: Uid::new("x"), wish },
            Listed { account: account("default"), uid: None, wish: None },
        ]
        .to_vec();
        assert_eq!(page, Page { accounts, version: "812".into(), more: Some("abc".into()) });
        let empty = br#"{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"1"},"items":null}"#;
        assert_eq!(parse_page(empty).expect("a page"), Page { accounts: vec![], version: "1".into(), more: None });
    }

    #[test]
    fn what_is_no_page_is_no_empty_list() {
        for text in [
            "",
            "[]",
            "<html>",
            r#"{"kind":"Status","code":403}"#,
            r#"{"kind":"ServiceAccountList","metadata":{"resourceVersion":"1"},"items":[]}"#,
            r#"{"kind":"PartialObjectMetadataList","metadata":{},"items":[]}"#,
            r#"{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"1"},"items":[{}]}"#,
            r#"{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"1"},"items":[{"metadata":{"name":"../x","namespace":"a"}}]}"#,
        ] {
            assert!(parse_page(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn events_are_read() {
        let event = |text: &str| parse_event(text.as_bytes());
        let account = Account::new("prod", "web").expect("legal");
        let arn = "arn:aws:iam::123456789012:role/web";
        let object = |annotations: &str| {
            format!(r#"{{"metadata":{{"name":"web","namespace":"prod","resourceVersion":"9"{annotations}}}}}"#)
        };
        let with = object(&format!(r#","annotations":{{"{ROLE_ARN}":"{arn}"}}"#));
        let wish = Some(Wish::Arn(arn.parse().expect("an ARN")));
        let is = |wish| Ok(Event::Is(Listed { account: account.clone(), uid: None, wish }, "9".to_owned()));
        assert_eq!(event(&format!(r#"{{"type":"ADDED","object":{with}}}"#)), is(wish));
        assert_eq!(event(&format!(r#"{{"type":"MODIFIED","object":{}}}"#, object(""))), is(None));
        let ends = format!(r#","deletionTimestamp":"2026-11-27T10:00:00Z","annotations":{{"{ROLE_ARN}":"{arn}"}}"#);
        assert_eq!(event(&format!(r#"{{"type":"MODIFIED","object":{}}}"#, object(&ends))), is(None));
        let gone = Ok(Event::Gone(account.clone(), "9".to_owned()));
        assert_eq!(event(&format!(r#"{{"type":"DELETED","object":{with}}}"#)), gone);
        let bookmark = r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"10"}}}"#;
        assert_eq!(event(bookmark), Ok(Event::Bookmark("10".to_owned())));
        let failed = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old","reason":"Expired"}}"#;
        assert_eq!(event(failed), Ok(Event::Failed(Status { code: 410, message: "too old".to_owned() })));
        for wrong in [
            "",
            "{}",
            r#"{"type":"ADDED"}"#,
            r#"{"type":"ADDED","object":{"metadata":{"name":"web","namespace":"prod"}}}"#,
            r#"{"type":"BOOKMARK","object":{}}"#,
            r#"{"type":"OTHER","object":{"metadata":{"name":"web","namespace":"prod","resourceVersion":"9"}}}"#,
        ] {
            assert!(event(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_may_say_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _page = parse_page(&text);
            let _event = parse_event(&text);
        }
    }
}
