//! AWS's federation endpoint, and what stands in the place of the console. A token for a session of this mock opens it, once
//! and within 15 minutes.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_enable-console-custom-url.html>

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    State,
    respond::{form, principal, random},
    sigv4::{Request, hex},
};
use crate::text::page::{escaped, page};

/// Where it is.
pub(super) const PATH: &str = "/federation";

/// How long a token is of use.
const LIFETIME: Duration = Duration::from_mins(15);

/// A document, or a page if `is_page`.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) is_page: bool,
    pub(super) body: String,
}

pub(super) fn reply(state: &mut State, request: &Request, now: Timestamp) -> Reply {
    if request.method == "POST" {
        return match sign_in(state, &request.body, now) {
            Ok(token) => Reply { status: 200, is_page: false, body: json!({"SigninToken": token}).to_string() },
            Err(why) => Reply { status: 400, is_page: false, body: why.to_owned() },
        };
    }
    let (status, title, content) = match console(state, request.query.as_bytes(), now) {
        Ok(content) => (200, "AWS console", content),
        Err(why) => (400, "Not signed in", format!("<p>{why}</p>")),
    };
    Reply { status, is_page: true, body: page(title, &content) }
}

/// `getSigninToken`.
fn sign_in(state: &mut State, body: &[u8], now: Timestamp) -> Result<String, &'static str> {
    let form = form(body);
    let get = |key: &str| form.get(key).map(String::as_str);
    if get("Action") != Some("getSigninToken") {
        return Err("Invalid action");
    }
    let session: Value = serde_json::from_str(get("Session").unwrap_or_default()).map_err(|_| "Invalid session")?;
    let part = |key: &str| session.get(key).and_then(Value::as_str).unwrap_or_default();
    let known = state.sessions.get(part("sessionId")).filter(|known| {
        known.secret == part("sessionKey") && known.token == part("sessionToken") && now < known.expires
    });
    let known = known.ok_or("Invalid session")?;
    if let Some(duration) = get("SessionDuration") {
        let is_allowed = duration.parse().is_ok_and(|duration: u32| (900..=43_200).contains(&duration));
        if known.is_chained || !is_allowed {
            return Err("Invalid credentials parameter");
        }
    }
    let token = hex(&random::<32>());
    let (id, end) = (part("sessionId").to_owned(), now + LIFETIME);
    state.sign_ins.retain(|_, (_, end)| now < *end);
    state.sign_ins.insert(token.clone(), (id, end));
    Ok(token)
}

/// `login`: what the console shows.
fn console(state: &mut State, query: &[u8], now: Timestamp) -> Result<String, &'static str> {
    let form = form(query);
    let get = |key: &str| form.get(key).map(String::as_str).unwrap_or_default();
    if get("Action") != "login" {
        return Err("There is nothing here.");
    }
    let sign_in = state.sign_ins.remove(get("SigninToken")).filter(|(_, end)| now < *end);
    let (id, _) = sign_in.ok_or("This URL has been used, or is too old.")?;
    let (who, _) = principal(state, &id);
    Ok(format!(
        "<p>This is a demonstration. In AWS the browser would be at</p>\n<p><code>{}</code></p>\n<p>as</p>\n\
         <p><code>{}</code></p>",
        escaped(get("Destination")),
        escaped(&who)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Session, State};

    fn state() -> State {
        let session = |is_chained| Session {
            secret: "s".to_owned(),
            token: "t".to_owned(),
            expires: Timestamp::from_second(1000).expect("a time"),
            role_arn: "arn:aws:iam::111122223333:role/web".to_owned(),
            name: "alice".to_owned(),
            source_identity: None,
            transitive: Vec::new(),
            is_chained,
        };
        let sessions = [("ASIA1".to_owned(), session(false)), ("ASIA2".to_owned(), session(true))];
        State { sessions: sessions.into(), ..State::default() }
    }

    fn ask(state: &mut State, id: &str, key: &str, more: &str, second: i64) -> Result<String, &'static str> {
        let session = json!({"sessionId": id, "sessionKey": key, "sessionToken": "t"});
        let body = format!("Action=getSigninToken{more}&Session={session}");
        sign_in(state, body.as_bytes(), Timestamp::from_second(second).expect("a time"))
    }

    #[test]
    fn only_a_session_of_this_mock_signs_in_and_only_once() {
        let mut state = state();
        for (id, key, more, second) in [
            ("ASIA3", "s", "", 0),
            ("ASIA1", "x", "", 0),
            ("ASIA1", "s", "", 1000),
            ("ASIA1", "s", "&SessionDuration=899", 0),
            ("ASIA2", "s", "&SessionDuration=900", 0),
        ] {
            assert!(ask(&mut state, id, key, more, second).is_err(), "{id} {key} {more} {second}");
        }
        let token = ask(&mut state, "ASIA1", "s", "&SessionDuration=900", 0).expect("good");
        let query = format!("Action=login&Destination=https%3A%2F%2Fc%2F%3Cx&SigninToken={token}");
        let open = |state: &mut State, second| {
            console(state, query.as_bytes(), Timestamp::from_second(second).expect("a time"))
        };
        let shown = open(&mut state, 1).expect("good");
        assert!(shown.contains("https://c/&lt;x") && shown.contains("assumed-role/web/alice"), "{shown}");
        assert!(open(&mut state, 1).is_err());
        let token = ask(&mut state, "ASIA2", "s", "", 0).expect("good");
        let late = Timestamp::from_second(900).expect("a time");
        assert!(console(&mut state, format!("Action=login&SigninToken={token}").as_bytes(), late).is_err());
    }
}
