//! A login, in the form of the AWS CLI's cache file: JSON, in which unknown entries are preserved (pure).

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    credentials::{AccountId, Credentials, Secret, format_timestamp, is_key_text, parse_timestamp},
    fetch::secret,
};

/// No set of a login lives longer, as the service's model says.
const LONGEST_LIFE: u32 = 900;

/// A login.
pub(crate) struct Token(Map<String, Value>);

/// The answer of the sign-in service.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Renewal {
    access_token: Keys,
    expires_in: u32,
    #[serde(default, deserialize_with = "secret")]
    refresh_token: Option<Zeroizing<String>>,
    /// Only for a login, not when it is renewed.
    #[serde(default, deserialize_with = "secret")]
    pub(super) id_token: Option<Zeroizing<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Keys {
    access_key_id: String,
    #[serde(default, deserialize_with = "secret")]
    secret_access_key: Option<Zeroizing<String>>,
    #[serde(default, deserialize_with = "secret")]
    session_token: Option<Zeroizing<String>>,
}

impl Token {
    /// A login with this client that has no set yet.
    pub(super) fn new(client: &str, account: Option<AccountId>) -> Self {
        let access = account.map(|id| ("accountId".to_owned(), id.to_string().into()));
        let access = Value::Object(access.into_iter().collect());
        Self(Map::from_iter([("clientId".to_owned(), client.into()), ("accessToken".to_owned(), access)]))
    }

    /// Reads a file of the cache. Nothing of it is in the error.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let content = serde_json::from_slice(bytes).map_err(|error| {
            format!("this is not the JSON of a login (line {}, column {})", error.line(), error.column())
        })?;
        let token = Self(content);
        token.set()?;
        Ok(token)
    }

    fn text(&self, name: &str) -> Result<&str, String> {
        self.0.get(name).and_then(Value::as_str).ok_or_else(|| format!("the login has no {name}"))
    }

    fn access(&self, name: &str) -> Result<&str, String> {
        let access = self.0.get("accessToken").and_then(|access| access.get(name));
        access.and_then(Value::as_str).ok_or_else(|| format!("the login has no {name}"))
    }

    /// The set in it, whether it still lives or not.
    pub(crate) fn set(&self) -> Result<Credentials, String> {
        let [key, secret, token] = ["accessKeyId", "secretAccessKey", "sessionToken"].map(|name| {
            let text = self.access(name)?;
            if is_key_text(text) { Ok(text) } else { Err(format!("the {name} is empty or has illegal characters")) }
        });
        Ok(Credentials {
            access_key_id: key?.to_owned(),
            secret_access_key: Secret::new(secret?),
            session_token: Secret::new(token?),
            expiration: self.end()?,
            life: None,
            last_updated: None,
            account_id: self.access("accountId").ok().and_then(|id| id.parse().ok()),
            role_arn: None,
        })
    }

    pub(crate) fn end(&self) -> Result<Timestamp, String> {
        let text = self.access("expiresAt")?;
        // botocore may also write `2026-11-23T10:00:00UTC`.
        let end =
            text.strip_suffix("UTC").map_or_else(|| parse_timestamp(text), |rest| parse_timestamp(&format!("{rest}Z")));
        end.ok_or_else(|| "the expiresAt of the login is not a time such as 2026-11-23T10:00:00Z".to_owned())
    }

    /// The region where the login was made, in those of newer CLIs.
    pub(crate) fn region(&self) -> Option<&str> {
        self.text("signInRegion").ok().filter(|region| !region.is_empty())
    }

    /// The private key to which the login is bound, in PEM.
    pub(crate) fn key(&self) -> Result<&str, String> {
        self.text("dpopKey")
    }

    /// What brings the next set.
    pub(super) fn refresh(&self) -> Result<Secret, String> {
        self.text("refreshToken").map(Secret::new)
    }

    /// What is asked of the sign-in service.
    pub(crate) fn question(&self) -> Result<Zeroizing<Vec<u8>>, String> {
        let mut question = json!({
            "clientId": self.text("clientId")?,
            "grantType": "refresh_token",
            "refreshToken": self.text("refreshToken")?,
        });
        let bytes = written(&question);
        wipe(&mut question);
        Ok(bytes)
    }

    /// Takes over what the sign-in service has given `now`.
    pub(crate) fn renew(&mut self, renewal: Renewal, now: Timestamp) -> Result<(), String> {
        let Renewal { access_token: Keys { access_key_id, secret_access_key, session_token }, expires_in, .. } =
            renewal;
        let (Some(key), Some(session), Some(refresh)) = (secret_access_key, session_token, renewal.refresh_token)
        else {
            return Err("the sign-in service returned incomplete credentials".to_owned());
        };
        if ![&access_key_id, &*key, &*session].into_iter().all(|text| is_key_text(text)) {
            return Err("the sign-in service returned credentials that are empty or have illegal characters".to_owned());
        }
        let end = now + jiff::SignedDuration::from_secs(expires_in.min(LONGEST_LIFE).into());
        let new = [
            ("accessKeyId", access_key_id),
            ("secretAccessKey", key.to_string()),
            ("sessionToken", session.to_string()),
            ("expiresAt", format_timestamp(end)),
        ];
        let access =
            self.0.get_mut("accessToken").and_then(Value::as_object_mut).ok_or("the login has no accessToken")?;
        for (name, value) in new {
            replace(access, name, value);
        }
        replace(&mut self.0, "refreshToken", refresh.to_string());
        Ok(())
    }

    /// The content of its file.
    pub(crate) fn bytes(&self) -> Zeroizing<Vec<u8>> {
        written(&self.0)
    }
}

pub(super) fn written(content: &impl serde::Serialize) -> Zeroizing<Vec<u8>> {
    // As large as it may become, since a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * super::service::MAX_BYTES));
    // A Vec takes whatever is written.
    let _infallible = serde_json::to_writer(&mut *bytes, content);
    bytes
}

fn replace(map: &mut Map<String, Value>, name: &str, text: String) {
    if let Some(mut old) = map.insert(name.to_owned(), Value::String(text)) {
        wipe(&mut old);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.values_mut().for_each(wipe);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGIN: &str = r#"{"accessToken":{"accessKeyId":"ASIAOLD","secretAccessKey":"s","sessionToken":"t",
        "accountId":"123456789012","expiresAt":"2026-11-23T10:00:00UTC"},"tokenType":"aws_sigv4","refreshToken":"r1",
        "clientId":"arn:aws:signin:::devtools/same-device","dpopKey":"k","later":{"a":[1]}}"#;

    #[test]
    fn what_is_not_known_stays_in_it() {
        let mut token = Token::parse(LOGIN.as_bytes()).expect("a login");
        assert_eq!(token.end().map(|end| end.to_string()).as_deref(), Ok("2026-11-23T10:00:00Z"));
        let answer = r#"{"accessToken":{"accessKeyId":"ASIANEW","secretAccessKey":"s2","sessionToken":"t2"},
            "tokenType":"aws_sigv4","expiresIn":900,"refreshToken":"r2"}"#;
        let now = "2026-11-23T11:00:00.7Z".parse().expect("a moment");
        token.renew(serde_json::from_str(answer).expect("an answer"), now).expect("good");
        let written: Value = serde_json::from_slice(&token.bytes()).expect("JSON");
        let expected = json!({
            "accessToken": {"accessKeyId": "ASIANEW", "secretAccessKey": "s2", "sessionToken": "t2",
                "accountId": "123456789012", "expiresAt": "2026-11-23T11:15:00Z"},
            "tokenType": "aws_sigv4", "refreshToken": "r2", "clientId": "arn:aws:signin:::devtools/same-device",
            "dpopKey": "k", "later": {"a": [1]},
        });
        assert_eq!(written, expected);
    }

    #[test]
    fn what_is_no_login_is_told_without_its_content() {
        for (text, problem) in [
            ("{\"accessToken\": s3cret", "this is not the JSON of a login (line 1, column 17)"),
            ("{}", "the login has no accessKeyId"),
            (&LOGIN.replace("ASIAOLD", "s3cret key"), "the accessKeyId is empty or has illegal characters"),
            (&LOGIN.replace("10:00:00UTC", "s3cret"), "the expiresAt of the login is not a time such as"),
        ] {
            let said = Token::parse(text.as_bytes()).err().expect(text);
            assert!(said.starts_with(problem) && !said.contains("s3cret"), "{said}");
        }
        let none = Token::parse(LOGIN.replace("refreshToken", "x").as_bytes()).expect("a set").question();
        assert_eq!(none.expect_err("nothing to renew it with"), "the login has no refreshToken");
    }
}
