//! Requests and their answers: RFC 6749 with PKCE (RFC 7636), RFC 7009, RFC 9207, `OpenID` Connect Core and Discovery.

use std::{collections::VecDeque, time::Duration};

use aws_lc_rs::{
    digest::{SHA256, digest},
    error::Unspecified,
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    CLIENT, Person,
    form::{Form, encoded},
    key::{Key, encode, random},
};
use crate::text::page::{escaped, page};

/// How long a person may look at the page, and how long a code is of use.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long ID tokens are valid.
const LIFETIME: Duration = Duration::from_hours(1);
/// The most sign-ins that are under way, and the most that last. Beyond that the oldest is forgotten.
const MOST: usize = 64;

/// The paths.
pub(super) const DISCOVERY: &str = "/.well-known/openid-configuration";
pub(super) const KEYS: &str = "/jwks";
pub(super) const AUTHORIZE: &str = "/authorize";
pub(super) const CHOOSE: &str = "/choose";
pub(super) const TOKEN: &str = "/token";
pub(super) const REVOKE: &str = "/revoke";

/// What is answered.
#[derive(Debug, PartialEq)]
pub(super) enum Reply {
    /// A page for the person, with a status.
    Page(u16, String),
    /// The browser goes there.
    Redirect(String),
    /// A document for the client, with a status.
    Json(u16, Value),
    /// The system provides no random numbers.
    Broken,
}

impl From<Unspecified> for Reply {
    fn from(_: Unspecified) -> Self {
        Self::Broken
    }
}

/// A request for an authorization.
#[derive(Debug, Clone)]
struct Request {
    redirect_uri: String,
    state: String,
    nonce: String,
    challenge: String,
}

/// What a code stands for.
struct Authorized {
    request: Request,
    person: Person,
}

/// Values by secrets that were given away.
struct Kept<T>(VecDeque<(String, Timestamp, T)>);

impl<T> Kept<T> {
    /// Keeps a value until `end`.
    fn put(&mut self, value: T, end: Timestamp) -> Result<String, Unspecified> {
        let secret = random()?;
        self.0.truncate(MOST - 1);
        self.0.push_front((secret.clone(), end, value));
        Ok(secret)
    }

    fn find(&self, secret: &str, now: Timestamp) -> Option<&T> {
        self.0.iter().find(|(known, end, _)| known == secret && now < *end).map(|(_, _, value)| value)
    }

    /// Values are of use once.
    fn take(&mut self, secret: &str, now: Timestamp) -> Option<T> {
        let place = self.0.iter().position(|(known, _, _)| known == secret)?;
        self.0.remove(place).filter(|(_, end, _)| now < *end).map(|(_, _, value)| value)
    }
}

/// The provider.
pub(super) struct Provider {
    issuer: String,
    people: Vec<Person>,
    key: Key,
    /// Those whose page a person looks at.
    requests: Kept<Request>,
    codes: Kept<Authorized>,
    refresh_tokens: Kept<Person>,
}

impl Provider {
    pub(super) fn new(issuer: String, people: Vec<Person>) -> Result<Self, Unspecified> {
        let (requests, codes, refresh_tokens) = (Kept(VecDeque::new()), Kept(VecDeque::new()), Kept(VecDeque::new()));
        Ok(Self { issuer, people, key: Key::new()?, requests, codes, refresh_tokens })
    }

    /// What it says of itself.
    pub(super) fn discovery(&self) -> Reply {
        let at = |path: &str| format!("{}{path}", self.issuer);
        Reply::Json(
            200,
            json!({
                "issuer": self.issuer,
                "authorization_endpoint": at(AUTHORIZE),
                "token_endpoint": at(TOKEN),
                "revocation_endpoint": at(REVOKE),
                "jwks_uri": at(KEYS),
                "response_types_supported": ["code"],
                "grant_types_supported": ["authorization_code", "refresh_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "scopes_supported": ["openid", "offline_access"],
                "token_endpoint_auth_methods_supported": ["none"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": true,
            }),
        )
    }

    pub(super) fn keys(&self) -> Reply {
        Reply::Json(200, self.key.set())
    }

    /// The page on which a person is chosen. Without a client that may be told so, errors are shown there.
    pub(super) fn authorize(&mut self, query: &str, now: Timestamp) -> Result<Reply, Unspecified> {
        let form = Form::parse(query);
        let request = match request(&form) {
            Ok(request) => request,
            Err(why) => return Ok(refused(why)),
        };
        let id = self.requests.put(request, end(now, PATIENCE))?;
        let button = |person: &Person| {
            let name = escaped(&person.name);
            format!("<button name=\"person\" value=\"{name}\">Sign in as {name}</button>\n")
        };
        let buttons: String = self.people.iter().map(button).collect();
        let content = format!(
            "<p>This is a demonstration: there are no passwords, and the credentials are worth nothing.</p>\n\
             <form method=\"post\" action=\"{}{CHOOSE}\">\n<input type=\"hidden\" name=\"request\" value=\"{id}\">\n\
             {buttons}</form>",
            self.issuer
        );
        Ok(Reply::Page(200, page("Who are you?", &content)))
    }

    /// A person has been chosen on that page.
    pub(super) fn choose(&mut self, body: &str, now: Timestamp) -> Result<Reply, Unspecified> {
        let form = Form::parse(body);
        let Some(person) = self.people.iter().find(|person| person.name == form.get("person")).cloned() else {
            return Ok(refused("There is no such person."));
        };
        let Some(request) = self.requests.take(form.get("request"), now) else {
            return Ok(refused("This page has been used, or is too old. Run alppaca login again."));
        };
        let (redirect_uri, state) = (request.redirect_uri.clone(), request.state.clone());
        let code = self.codes.put(Authorized { request, person }, end(now, PATIENCE))?;
        let answer = encoded(&[("code", &code), ("state", &state), ("iss", &self.issuer)]);
        Ok(Reply::Redirect(format!("{redirect_uri}?{answer}")))
    }

    /// Tokens for a code, or a new ID token.
    pub(super) fn token(&mut self, body: &str, now: Timestamp) -> Result<Reply, Unspecified> {
        let form = Form::parse(body);
        if form.get("client_id") != CLIENT {
            return Ok(error(401, "invalid_client"));
        }
        match form.get("grant_type") {
            "authorization_code" => {
                let authorized = self.codes.take(form.get("code"), now);
                let Some(Authorized { request, person }) = authorized.filter(|known| is_for(&known.request, &form))
                else {
                    return Ok(error(400, "invalid_grant"));
                };
                let refresh_token = self.refresh_tokens.put(person.clone(), Timestamp::MAX)?;
                let id_token = self.id_token(&person, Some(&request.nonce), now)?;
                Ok(granted(&id_token, &refresh_token))
            }
            "refresh_token" => {
                let refresh_token = form.get("refresh_token");
                let Some(person) = self.refresh_tokens.find(refresh_token, now) else {
                    return Ok(error(400, "invalid_grant"));
                };
                Ok(granted(&self.id_token(person, None, now)?, refresh_token))
            }
            _ => Ok(error(400, "unsupported_grant_type")),
        }
    }

    /// Forgets a refresh token. That it never was one is no error.
    pub(super) fn revoke(&mut self, body: &str, now: Timestamp) -> Reply {
        let form = Form::parse(body);
        if form.get("client_id") != CLIENT {
            return error(401, "invalid_client");
        }
        self.refresh_tokens.take(form.get("token"), now);
        Reply::Json(200, json!({}))
    }

    fn id_token(&self, person: &Person, nonce: Option<&str>, now: Timestamp) -> Result<String, Unspecified> {
        let mut claims = json!({
            "iss": self.issuer,
            "sub": person.name,
            "aud": CLIENT,
            "iat": now.as_second(),
            "exp": end(now, LIFETIME).as_second(),
            "groups": person.groups,
        });
        if let (Some(nonce), Some(claims)) = (nonce, claims.as_object_mut()) {
            claims.insert("nonce".to_owned(), nonce.into());
        }
        self.key.sign(&claims)
    }
}

/// What is asked for, if it may be.
fn request(form: &Form) -> Result<Request, &'static str> {
    let redirect_uri = form.get("redirect_uri");
    if form.get("client_id") != CLIENT {
        return Err("This provider is for the demonstration of alppaca only.");
    }
    if !is_of_this_host(redirect_uri) {
        return Err("The browser is to go to another host, which is not allowed.");
    }
    if form.get("response_type") != "code" || form.get("code_challenge_method") != "S256" {
        return Err("Only the authorization code flow with PKCE (S256) is allowed.");
    }
    let scopes: Vec<_> = form.get("scope").split(' ').collect();
    if !scopes.contains(&"openid") || form.get("state").is_empty() || form.get("code_challenge").len() != 43 {
        return Err("The request is not complete.");
    }
    Ok(Request {
        redirect_uri: redirect_uri.to_owned(),
        state: form.get("state").to_owned(),
        nonce: form.get("nonce").to_owned(),
        challenge: form.get("code_challenge").to_owned(),
    })
}

/// Whether it is `http://127.0.0.1:PORT/PATH`.
fn is_of_this_host(uri: &str) -> bool {
    let rest = uri.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.split_once('/'));
    rest.is_some_and(|(port, path)| {
        port.parse::<u16>().is_ok_and(|port| port > 0)
            && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte))
    })
}

/// Whether the one who has a code is the one who asked for it.
fn is_for(request: &Request, form: &Form) -> bool {
    let challenge = encode(digest(&SHA256, form.get("code_verifier").as_bytes()));
    form.get("redirect_uri") == request.redirect_uri && challenge == request.challenge
}

fn end(now: Timestamp, life: Duration) -> Timestamp {
    now.checked_add(life).unwrap_or(Timestamp::MAX)
}

fn granted(id_token: &str, refresh_token: &str) -> Reply {
    let seconds = LIFETIME.as_secs();
    // There is nothing that the access token, which the answer has to have, would be good for.
    Reply::Json(
        200,
        json!({
            "access_token": "none", "token_type": "Bearer", "expires_in": seconds,
            "id_token": id_token, "refresh_token": refresh_token,
        }),
    )
}

fn error(status: u16, code: &str) -> Reply {
    Reply::Json(status, json!({"error": code}))
}

fn refused(why: &str) -> Reply {
    Reply::Page(400, page("Not signed in", &format!("<p>{}</p>", escaped(why))))
}

#[cfg(test)]
mod tests;
