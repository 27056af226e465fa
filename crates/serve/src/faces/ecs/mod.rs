//! The container face: what the ECS agent serves at `169.254.170.2`, and requests with a URL and a token. Pure.
//!
//! Protocol facts: <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>,
//! `ecs-agent/tmds/handlers/v1/credentials_handler.go` in aws/amazon-ecs-agent, and what the SDKs' sources depend on,
//! listed case by case in `docs/conformance.md`.

mod document;
mod files;
mod options;
mod tokens;

use std::{net::IpAddr, sync::Arc, time::Duration};

pub(super) use document::pod_identity;
pub use files::{KeyFile, KeyFiles};
pub use options::{ENTRY, Options};
pub use tokens::{EcsTokens, Fingerprint, IssueError, Key};

use super::{
    common::{JSON, Shared},
    held::held,
    visible_roles::VisibleRoles,
};
use crate::{
    clock::{Moment, SharedClock},
    credentials::{RoleName, document_field},
    http::{
        Face, RequestContext, Respond,
        answer::{Answer, Body, Outcome, Status},
        denial::Denial,
        path::Target,
        request::Request,
        request_filter::Refusal,
    },
    refresh_request::RefreshRequest,
    store::{Published, Role},
};

/// Files are read again for the sake of an unknown token no more often than that.
const PAUSE: Duration = Duration::from_secs(1);

/// ECS's agent, and any URL with a token.
pub const FACE: &dyn Face = &Protocol::Agent;
/// The same for programs that `alppaca exec` started, and nothing else.
pub const EXEC: &dyn Face = &Protocol::Exec;

#[derive(Debug, PartialEq, Eq)]
enum Protocol {
    Agent,
    Exec,
}

/// The face.
#[derive(Debug)]
pub struct Ecs {
    options: Options,
    shared: Shared,
    tokens: EcsTokens,
    /// Whether there are files to read again.
    has_files: bool,
    refresh_request: Arc<RefreshRequest>,
}

/// An error as ECS writes it, for clients that read `code` (Go, Java) and those that read `Code` (JavaScript). Go
/// reads it only if the type is exactly `application/json`
/// (`credentials/endpointcreds/internal/client/middleware.go`).
macro_rules! error {
    ($status:ident, $number:literal, $code:literal, $message:literal) => {
        Answer {
            status: Status::$status,
            ..json(Body::Static(
                concat!(
                    "{\"code\":\"",
                    $code,
                    "\",\"message\":\"",
                    $message,
                    "\",\"HTTPErrorCode\":",
                    $number,
                    ",\"Code\":\"",
                    $code,
                    "\",\"Message\":\"",
                    $message,
                    "\"}"
                )
                .as_bytes(),
            ))
        }
    };
}

macro_rules! problem {
    ($($part:tt)*) => { Outcome::Answer(error!($($part)*)) };
}

macro_rules! denied {
    ($denial:ident, $($part:tt)*) => { Outcome::Answer(error!($($part)*).denied(Denial::$denial)) };
}

impl Face for Protocol {
    fn name(&self) -> &'static str {
        match self {
            Self::Agent => "container",
            Self::Exec => "exec",
        }
    }

    fn error(&self, status: Status) -> Answer {
        match status {
            Status::HeadTooLarge => error!(HeadTooLarge, 431, "BadRequest", "the head of the request is too long"),
            Status::Unavailable => {
                error!(Unavailable, 503, "CredentialsUninitialized", "there are no credentials yet, try again")
            }
            _ => error!(BadRequest, 400, "BadRequest", "this is not an HTTP request"),
        }
    }

    fn loggable<'a>(&self, target: &'a str) -> &'a str {
        loggable(target)
    }

    fn is_at(&self, address: IpAddr) -> bool {
        *self == Self::Agent && address == IpAddr::from([169, 254, 170, 2])
    }

    fn is_internal(&self) -> bool {
        *self == Self::Exec
    }
}

impl Respond for Ecs {
    fn respond(&self, request: &Request, context: RequestContext<'_>, now: Moment) -> Outcome {
        let Some(target) = Target::parse(request.target) else {
            return problem!(BadRequest, 400, "BadRequest", "the request target is not a path");
        };
        match self.shared.judge(request, target.authority, context.in_container) {
            Err(Refusal::Forwarded) => {
                denied!(Forwarded, Forbidden, 403, "AccessDenied", "requests through a proxy are refused")
            }
            Err(Refusal::WebPage) => {
                denied!(WebPage, Forbidden, 403, "AccessDenied", "requests from web pages are refused")
            }
            Err(Refusal::Host) => denied!(Host, Forbidden, 403, "AccessDenied", "this host name is not served"),
            Ok(()) if request.method != "GET" && request.method != "HEAD" => {
                let answer = error!(MethodNotAllowed, 405, "MethodNotAllowed", "only GET is supported");
                Outcome::Answer(Answer { allow: Some("GET, HEAD"), ..answer })
            }
            Ok(()) => target
                .with_segments(|segments| self.route(request, segments, context, now))
                // So deep, or so oddly spelled, that it can only be a path that the URL's author chose.
                .unwrap_or_else(|| self.route(request, &[], context, now)),
        }
    }
}

impl Ecs {
    /// A face that serves clients with a key of `tokens`, and the task that reads its files.
    pub fn new(options: Options, shared: Shared, tokens: EcsTokens, clock: SharedClock) -> (Self, KeyFiles) {
        let refresh_request = Arc::new(RefreshRequest::new(PAUSE));
        let told = (Arc::clone(&refresh_request), Arc::clone(&shared.arrived));
        let files = options.key_files();
        let has_files = !files.is_empty();
        let files = KeyFiles::new(files, tokens.clone(), options.token_overlap, clock, told);
        (Self { options, shared, tokens, has_files, refresh_request }, files)
    }

    fn route(&self, request: &Request, segments: &[&str], context: RequestContext<'_>, now: Moment) -> Outcome {
        let snapshot = self.shared.store.snapshot();
        let visible = VisibleRoles::new(&snapshot, context.grant, now);
        match segments {
            ["v2", "credentials", id] => self.by_id(id, &visible, now),
            ["v1", "credentials"] => match query_id(request.target) {
                Some(id) => self.by_id(id, &visible, now),
                None => {
                    denied!(
                        NoToken,
                        BadRequest,
                        400,
                        "NoIdInRequest",
                        "CredentialsV1Request: No Credential ID in the request"
                    )
                }
            },
            ["v2", "credentials"] => {
                denied!(
                    NoToken,
                    BadRequest,
                    400,
                    "NoIdInRequest",
                    "CredentialsV2Request: No Credential ID in the request"
                )
            }
            ["role", name] if self.options.is_open(name) => self.credentials(visible.role(name), &visible, now),
            ["role", name] => self.by_token(request, Some(name), &visible, now),
            // The path does not matter: the URL's author chose it.
            _ => self.by_token(request, None, &visible, now),
        }
    }

    fn by_id(&self, id: &str, visible: &VisibleRoles<'_>, now: Moment) -> Outcome {
        match self.tokens.role(Key::Id, id.as_bytes(), now.boot) {
            Some(role) => self.credentials(visible.by_id(&role), visible, now),
            None if self.worth_waiting(now) => Outcome::Elsewhere,
            None => {
                denied!(BadToken, BadRequest, 400, "InvalidIdInRequest", "CredentialsV2Request: Credentials not found")
            }
        }
    }

    /// `name`: only that role will do.
    fn by_token(&self, request: &Request, name: Option<&str>, visible: &VisibleRoles<'_>, now: Moment) -> Outcome {
        let Some(token) = request.authorization.map(<[u8]>::trim_ascii).filter(|token| !token.is_empty()) else {
            return denied!(
                NoToken,
                Unauthorized,
                401,
                "MissingAuthorizationToken",
                "an Authorization header is needed"
            );
        };
        match self.tokens.role(Key::Token, token, now.boot) {
            Some(role) => match visible.by_id(&role) {
                Some(role) if name.is_some_and(|name| role.name().as_str() != name) => {
                    denied!(Refused, Forbidden, 403, "AccessDenied", "the token is for another role")
                }
                found => self.credentials(found, visible, now),
            },
            None if self.worth_waiting(now) => Outcome::Elsewhere,
            None => {
                denied!(
                    BadToken,
                    Unauthorized,
                    401,
                    "InvalidAuthorizationToken",
                    "the Authorization header has no valid token"
                )
            }
        }
    }

    /// Whether an unknown key may have been written into a file just now.
    fn worth_waiting(&self, now: Moment) -> bool {
        self.has_files && self.refresh_request.request(now.boot)
    }

    /// The role's ARN, as received or composed of what is known. Empty if the account is not known: s3fs
    /// counts the fields, so it cannot be left out.
    fn role_arn(&self, name: &RoleName, set: &Published) -> String {
        if let Some(told) = &set.role_arn {
            return told.to_string();
        }
        let account = self.shared.account_id.or(set.account_id);
        account.map(|account| self.shared.partition().iam_arn(account, "role", name)).unwrap_or_default()
    }

    fn credentials(&self, role: Option<&Arc<Role>>, visible: &VisibleRoles<'_>, now: Moment) -> Outcome {
        let Some(role) = role else {
            return if visible.settled() {
                let answer = error!(NotFound, 404, "NoCredentialsAssociated", "there are no credentials for this role");
                Outcome::Answer(answer.denied(visible.why_missing()))
            } else {
                Outcome::Warming
            };
        };
        held(
            role,
            now,
            self.shared.common.serve_expired,
            |set| {
                let arn = self.role_arn(role.name(), set);
                json(Body::Secret(Arc::new(document::ecs(set, &arn))))
            },
            |document| denied(document),
            || error!(Unavailable, 503, "CredentialsExpired", "the credentials have expired"),
        )
    }
}

fn json(body: Body) -> Answer {
    Answer::new(Status::Ok, JSON, body)
}

/// The upstream's refusal, in the words that it has for IMDS.
fn denied(document: &[u8]) -> Answer {
    let field = |key| String::from_utf8_lossy(document_field(document, key).unwrap_or_default()).into_owned();
    let (code, message) = (field("Code"), field("Message"));
    let text = serde_json::json!({
        "code": code, "message": message, "HTTPErrorCode": 403, "Code": code, "Message": message
    });
    Answer { status: Status::Forbidden, ..json(Body::Shared(text.to_string().into_bytes().into())) }
}

/// A target as it may be logged: without an id, which is as secret as a token.
pub fn loggable(target: &str) -> &str {
    let is_secret = |segments: &[&str]| match segments {
        // The agent of EKS has the same path, with nothing to hide.
        ["v1" | "v2", "credentials"] => target.contains(['?', '#']),
        ["v1" | "v2", "credentials", ..] => true,
        _ => false,
    };
    match Target::parse(target).map(|parsed| parsed.with_segments(is_secret)) {
        Some(Some(false)) => target,
        Some(Some(true)) => "/v2/credentials/***",
        // What is not understood may hold one.
        Some(None) | None if target.contains("redentials") => "***",
        Some(None) | None => target,
    }
}

/// The `id` in the query of a target.
fn query_id(target: &str) -> Option<&str> {
    let (_, query) = target.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("id=")).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests;
