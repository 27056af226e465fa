//! A strict stand-in for IAM Identity Center: the calls of sso-oidc and sso, with the members, errors and rules of the models
//! of botocore and of the AWS CLI's use of them. Anything else is refused.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use alppaca::clock::{BootTime, Clock, SystemClock};
use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::server::{Asked, Reply, Server};

pub const START_URL: &str = "https://d-1234567890.awsapps.com/start";
const LOOPBACK: &str = "http://127.0.0.1";
const CALLBACK: &str = "/oauth/callback";
const SCOPE: &str = "sso:account:access";
/// How often a device may ask, in seconds, and how early it may be.
const INTERVAL: u64 = 1;
const SHORTEST: Duration = Duration::from_millis(900);
/// Accounts and roles on one page, so that there are several.
const PAGE: usize = 2;

/// What it knows.
pub struct State {
    /// How long access tokens live.
    pub life: u64,
    /// Whether tokens can be renewed.
    pub renews: bool,
    /// Accounts with their roles.
    pub accounts: Vec<(&'static str, &'static str, Vec<&'static str>)>,
    /// So many calls of lists are throttled.
    pub throttle: usize,
    clients: HashMap<String, Client>,
    codes: HashMap<String, Code>,
    devices: HashMap<String, Device>,
    /// Which are good.
    access: Vec<String>,
    refresh: HashMap<String, String>,
    count: usize,
}

struct Client {
    secret: String,
    by_browser: bool,
}

struct Code {
    client: String,
    challenge: String,
    redirect_uri: String,
}

struct Device {
    client: String,
    user_code: String,
    approved: bool,
    asked: Option<BootTime>,
}

/// A running one.
pub struct IdentityCenter {
    pub server: Server,
    state: Arc<Mutex<State>>,
    /// Held while no token is to be given out.
    tokens: Arc<Mutex<()>>,
}

/// Its word for what is wrong, and why.
struct Refusal(u16, &'static str, String);

type Outcome = Result<Reply, Refusal>;

impl IdentityCenter {
    pub fn start() -> Self {
        let state = Arc::new(Mutex::new(State {
            life: 3600,
            renews: true,
            accounts: vec![
                ("111111111111", "sandbox", vec!["developer", "admin"]),
                ("222222222222", "prod", vec!["admin", "readonly", "billing"]),
                ("333333333333", "audit", vec!["auditor"]),
            ],
            throttle: 0,
            clients: HashMap::new(),
            codes: HashMap::new(),
            devices: HashMap::new(),
            access: Vec::new(),
            refresh: HashMap::new(),
            count: 0,
        }));
        let (known, tokens) = (Arc::clone(&state), Arc::<Mutex<()>>::default());
        let gate = Arc::clone(&tokens);
        let server = Server::with_headers(move |asked| {
            let _open = (asked.target == "/token").then(|| gate.lock().expect("not poisoned"));
            let mut state = known.lock().expect("not poisoned");
            state.answer(asked).unwrap_or_else(|Refusal(status, name, why)| Reply {
                status,
                headers: vec![format!("x-amzn-ErrorType: {name}"), "Content-Type: application/json".to_owned()],
                body: refusal(name, &why).to_string(),
            })
        });
        Self { server, state, tokens }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    /// Gives out no token while this is held.
    pub fn hold_tokens(&self) -> MutexGuard<'_, ()> {
        self.tokens.lock().expect("not poisoned")
    }

    /// The person enters the code.
    pub fn approve(&self, user_code: &str) {
        let mut state = self.state();
        let device = state.devices.values_mut().find(|device| device.user_code == user_code);
        device.expect("a code").approved = true;
    }

    /// How often that was called.
    pub fn calls(&self, path: &str) -> usize {
        self.server.asked().iter().filter(|asked| asked.target.split('?').next() == Some(path)).count()
    }
}

/// OAuth's errors of sso-oidc, and those of sso, which have a message only.
fn refusal(name: &str, why: &str) -> Value {
    let code = match name {
        "AuthorizationPendingException" => "authorization_pending",
        "SlowDownException" => "slow_down",
        "ExpiredTokenException" => "expired_token",
        "InvalidGrantException" => "invalid_grant",
        "InvalidClientException" => "invalid_client",
        "InvalidClientMetadataException" => "invalid_client_metadata",
        "InvalidRedirectUriException" => "invalid_redirect_uri",
        "UnsupportedGrantTypeException" => "unsupported_grant_type",
        "InvalidScopeException" => "invalid_scope",
        "OidcInvalidRequestException" => "invalid_request",
        _ => return json!({"message": why}),
    };
    json!({"error": code, "error_description": why})
}

fn refuse<T>(name: &'static str, why: &str) -> Result<T, Refusal> {
    let status = match name {
        "UnauthorizedException" | "InvalidClientException" => 401,
        "ForbiddenException" => 403,
        "ResourceNotFoundException" => 404,
        "TooManyRequestsException" => 429,
        _ => 400,
    };
    Err(Refusal(status, name, why.to_owned()))
}

fn json_reply(body: &Value) -> Reply {
    Reply { status: 200, headers: vec!["Content-Type: application/json".to_owned()], body: body.to_string() }
}

/// The members of a body, each of which is known.
fn members(asked: &Asked, known: &[&str]) -> Result<Map<String, Value>, Refusal> {
    if !asked.header("content-type").is_some_and(|kind| kind.starts_with("application/json")) {
        return refuse("OidcInvalidRequestException", "content type");
    }
    let Ok(Value::Object(body)) = serde_json::from_str(&asked.body) else {
        return refuse("OidcInvalidRequestException", "no JSON object");
    };
    match body.iter().find(|(key, value)| !known.contains(&key.as_str()) || value.is_null()) {
        Some((key, _)) => refuse("OidcInvalidRequestException", &format!("unknown member {key}")),
        None => Ok(body),
    }
}

fn text<'a>(body: &'a Map<String, Value>, key: &str) -> Result<&'a str, Refusal> {
    match body.get(key).and_then(Value::as_str) {
        Some(text) => Ok(text),
        None => refuse("OidcInvalidRequestException", &format!("no {key}")),
    }
}

fn query(asked: &Asked, known: &[&str]) -> Result<HashMap<String, String>, Refusal> {
    let pairs = asked.target.split_once('?').map_or("", |(_, query)| query);
    let mut found = HashMap::new();
    for (key, value) in pairs.split('&').filter_map(|pair| pair.split_once('=')) {
        let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned();
        if !known.contains(&key) || found.insert(key.to_owned(), value).is_some() {
            return refuse("InvalidRequestException", &format!("unknown parameter {key}"));
        }
    }
    Ok(found)
}

impl State {
    fn answer(&mut self, asked: &Asked) -> Outcome {
        match asked.line().split('?').next().unwrap_or_default() {
            "POST /client/register" => self.register(asked),
            "POST /device_authorization" => self.device(asked),
            "GET /authorize" => self.authorize(asked),
            "POST /token" => self.token(asked),
            "GET /assignment/accounts" => self.list_accounts(asked),
            "GET /assignment/roles" => self.list_roles(asked),
            "GET /federation/credentials" => self.credentials(asked),
            "POST /logout" => {
                let token = self.bearer(asked)?;
                self.access.retain(|known| *known != token);
                self.refresh.clear();
                Ok(Reply { status: 200, headers: Vec::new(), body: String::new() })
            }
            _ => refuse("ResourceNotFoundException", "no such path"),
        }
    }

    fn next(&mut self, kind: &str) -> String {
        self.count += 1;
        format!("{kind}-{}", self.count)
    }

    fn register(&mut self, asked: &Asked) -> Outcome {
        let known = ["clientName", "clientType", "scopes", "redirectUris", "grantTypes", "issuerUrl"];
        let body = members(asked, &known)?;
        text(&body, "clientName")?;
        if text(&body, "clientType")? != "public" {
            return refuse("InvalidClientMetadataException", "clientType");
        }
        if body.get("scopes") != Some(&json!([SCOPE])) {
            return refuse("InvalidScopeException", "scopes");
        }
        let by_browser = match body.get("grantTypes") {
            None if body.contains_key("redirectUris") || body.contains_key("issuerUrl") => {
                return refuse("OidcInvalidRequestException", "no grantTypes");
            }
            None => false,
            Some(grants) if *grants == json!(["authorization_code", "refresh_token"]) => true,
            Some(_) => return refuse("UnsupportedGrantTypeException", "grantTypes"),
        };
        if by_browser && body.get("redirectUris") != Some(&json!([format!("{LOOPBACK}{CALLBACK}")])) {
            return refuse("InvalidRedirectUriException", "redirectUris");
        }
        if by_browser && text(&body, "issuerUrl")? != START_URL {
            return refuse("OidcInvalidRequestException", "issuerUrl");
        }
        let (id, secret) = (self.next("client"), self.next("client-secret"));
        let now = SystemClock.now().wall.as_second();
        let answer = json!({"clientId": id, "clientSecret": secret, "clientIdIssuedAt": now,
            "clientSecretExpiresAt": now + 90 * 86_400});
        self.clients.insert(id, Client { secret, by_browser });
        Ok(json_reply(&answer))
    }

    /// The client that shows its secret.
    fn client(&self, body: &Map<String, Value>) -> Result<String, Refusal> {
        let (id, secret) = (text(body, "clientId")?, text(body, "clientSecret")?);
        match self.clients.get(id).filter(|client| client.secret == secret) {
            Some(_) => Ok(id.to_owned()),
            None => refuse("InvalidClientException", "no such client"),
        }
    }

    fn device(&mut self, asked: &Asked) -> Outcome {
        let body = members(asked, &["clientId", "clientSecret", "startUrl"])?;
        let client = self.client(&body)?;
        if text(&body, "startUrl")? != START_URL {
            return refuse("OidcInvalidRequestException", "startUrl");
        }
        let (code, user_code) = (self.next("device"), format!("ABCD-{:04}", self.count));
        let page = format!("{START_URL}/#/device");
        let answer = json!({"deviceCode": code, "userCode": user_code, "verificationUri": page, "expiresIn": 600,
            "verificationUriComplete": format!("{page}?user_code={user_code}"), "interval": INTERVAL});
        self.devices.insert(code, Device { client, user_code, approved: false, asked: None });
        Ok(json_reply(&answer))
    }

    /// The person consents at once.
    fn authorize(&mut self, asked: &Asked) -> Outcome {
        let known = [
            "response_type",
            "client_id",
            "redirect_uri",
            "state",
            "code_challenge",
            "code_challenge_method",
            "scopes",
        ];
        let query = query(asked, &known)?;
        let get = |key: &str| query.get(key).map_or("", String::as_str);
        let (client, redirect_uri) = (get("client_id").to_owned(), get("redirect_uri").to_owned());
        let port = redirect_uri.strip_prefix(&format!("{LOOPBACK}:")).and_then(|rest| rest.strip_suffix(CALLBACK));
        let right = get("response_type") == "code"
            && get("code_challenge_method") == "S256"
            && get("code_challenge").len() == 43
            && get("scopes") == SCOPE
            && !get("state").is_empty()
            && port.is_some_and(|port| port.parse::<u16>().is_ok())
            && self.clients.get(&client).is_some_and(|client| client.by_browser);
        if !right {
            return refuse("InvalidRequestException", "authorize");
        }
        let code = self.next("code");
        let location = format!("{redirect_uri}?code={code}&state={}", get("state"));
        self.codes.insert(code, Code { client, challenge: get("code_challenge").to_owned(), redirect_uri });
        Ok(Reply { status: 302, headers: vec![format!("Location: {location}")], body: String::new() })
    }

    fn token(&mut self, asked: &Asked) -> Outcome {
        let known = [
            "clientId",
            "clientSecret",
            "grantType",
            "code",
            "codeVerifier",
            "redirectUri",
            "deviceCode",
            "refreshToken",
            "scope",
        ];
        let body = members(asked, &known)?;
        let client = self.client(&body)?;
        match text(&body, "grantType")? {
            "authorization_code" => {
                let code = self.codes.remove(text(&body, "code")?);
                let code = code.filter(|code| {
                    code.client == client && Ok(&*code.redirect_uri) == text(&body, "redirectUri").map_err(drop)
                });
                let digest = digest(&SHA256, text(&body, "codeVerifier")?.as_bytes());
                if code.is_none_or(|code| code.challenge != URL_SAFE_NO_PAD.encode(digest)) {
                    return refuse("InvalidGrantException", "code");
                }
            }
            "urn:ietf:params:oauth:grant-type:device_code" => self.poll(text(&body, "deviceCode")?, &client)?,
            "refresh_token" => {
                let token = text(&body, "refreshToken")?;
                if !self.renews || self.refresh.get(token) != Some(&client) {
                    return refuse("InvalidGrantException", "Invalid refresh token provided");
                }
                self.refresh.remove(token);
            }
            _ => return refuse("UnsupportedGrantTypeException", "grantType"),
        }
        let (access, refresh) = (self.next("access"), self.next("refresh"));
        self.access.push(access.clone());
        self.refresh.insert(refresh.clone(), client);
        Ok(json_reply(
            &json!({"accessToken": access, "tokenType": "Bearer", "expiresIn": self.life, "refreshToken": refresh}),
        ))
    }

    fn poll(&mut self, code: &str, client: &str) -> Result<(), Refusal> {
        let device = self.devices.get_mut(code).filter(|device| device.client == client);
        let Some(device) = device else { return refuse("InvalidGrantException", "deviceCode") };
        let now = SystemClock.now().boot;
        let early = device.asked.is_some_and(|asked| now.since(asked) < SHORTEST);
        device.asked = Some(now);
        match device.approved {
            _ if early => refuse("SlowDownException", "too fast"),
            false => refuse("AuthorizationPendingException", "not yet"),
            true => {
                self.devices.remove(code);
                Ok(())
            }
        }
    }

    fn bearer(&self, asked: &Asked) -> Result<String, Refusal> {
        let token = asked.header("x-amz-sso_bearer_token").unwrap_or_default();
        if self.access.iter().any(|known| known == token) {
            Ok(token.to_owned())
        } else {
            refuse("UnauthorizedException", "Session token not found or invalid")
        }
    }

    /// Whether any access token is good.
    pub fn has_access(&self) -> bool {
        !self.access.is_empty()
    }

    /// All access tokens end; refresh tokens stay.
    pub fn end_access(&mut self) {
        self.access.clear();
    }

    fn page<T: Clone>(all: &[T], query: &HashMap<String, String>) -> (Vec<T>, Option<String>) {
        let from = query.get("next_token").and_then(|from| from.parse().ok()).unwrap_or(0);
        let page: Vec<T> = all.iter().skip(from).take(PAGE).cloned().collect();
        let next = (from + PAGE < all.len()).then(|| (from + PAGE).to_string());
        (page, next)
    }

    fn throttled(&mut self) -> Result<(), Refusal> {
        if self.throttle > 0 {
            self.throttle -= 1;
            return refuse("TooManyRequestsException", "Rate exceeded");
        }
        Ok(())
    }

    fn list_accounts(&mut self, asked: &Asked) -> Outcome {
        self.bearer(asked)?;
        self.throttled()?;
        let query = query(asked, &["max_result", "next_token"])?;
        let (page, next) = Self::page(&self.accounts, &query);
        let item = |(id, name, _): &(&str, &str, Vec<&str>)| json!({"accountId": id, "accountName": name, "emailAddress": format!("{name}@example.com")});
        let mut answer = json!({"accountList": page.iter().map(item).collect::<Vec<_>>()});
        if let Some(next) = next {
            answer["nextToken"] = next.into();
        }
        Ok(json_reply(&answer))
    }

    fn list_roles(&mut self, asked: &Asked) -> Outcome {
        self.bearer(asked)?;
        self.throttled()?;
        let query = query(asked, &["max_result", "next_token", "account_id"])?;
        let Some((id, _, roles)) =
            self.accounts.iter().find(|(id, ..)| query.get("account_id").is_some_and(|wanted| wanted == id))
        else {
            return refuse("ForbiddenException", "No access");
        };
        let (page, next) = Self::page(roles, &query);
        let item = |role: &&str| json!({"roleName": role, "accountId": id});
        let mut answer = json!({"roleList": page.iter().map(item).collect::<Vec<_>>()});
        if let Some(next) = next {
            answer["nextToken"] = next.into();
        }
        Ok(json_reply(&answer))
    }

    fn credentials(&mut self, asked: &Asked) -> Outcome {
        self.bearer(asked)?;
        let query = query(asked, &["role_name", "account_id"])?;
        let get = |key: &str| query.get(key).map_or("", String::as_str);
        let has =
            |(id, _, roles): &(&str, &str, Vec<&str>)| *id == get("account_id") && roles.contains(&get("role_name"));
        if !self.accounts.iter().any(has) {
            return refuse("ForbiddenException", "No access");
        }
        let key = format!("ASIA{}", self.next("SET").to_uppercase().replace('-', ""));
        let end = SystemClock.now().wall.as_millisecond() + 3_600_000;
        Ok(json_reply(&json!({"roleCredentials": {"accessKeyId": key, "secretAccessKey": "wJalrSECRET",
            "sessionToken": format!("{}/{}", get("account_id"), get("role_name")), "expiration": end}})))
    }
}
