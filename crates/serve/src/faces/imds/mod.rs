//! The IMDS face: EC2's instance metadata service, versions 1 and 2. Pure: a request, the store and
//! a moment in, an answer out.
//!
//! Protocol facts: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>
//! and what the SDKs' sources depend on, listed case by case in `docs/conformance.md`.

mod answer;
mod documents;
mod metadata;
pub mod options;
mod passthrough;
mod token;
mod tree;
mod versions;

use std::sync::Arc;

use jiff::Timestamp;
pub use options::{Defaults, Metadata, Options, Overlay};
pub use passthrough::{Passthrough, Replies, Reply, Wanted, passthrough};
pub use token::TokenKey;
pub use tree::{Entry, HostFacts};

use answer::TOKEN_TTL;
use token::LONGEST;
use tree::Tree;
use versions::VERSIONS;

use super::{common::Shared, held::held, visible_roles::VisibleRoles};
use crate::{
    caller::Owner,
    clock::Moment,
    credentials::extend_document,
    http::{
        Face, RequestContext, Respond,
        answer::{Answer, Body, Outcome, Status},
        denial::Denial,
        path::Target,
        request::{OWN_HEADERS, Request},
        request_filter::Refusal,
    },
    store::{Role, http_date},
};

/// EC2's instance metadata service.
pub const FACE: &dyn Face = &Protocol;

#[derive(Debug)]
struct Protocol;

impl Face for Protocol {
    fn name(&self) -> &'static str {
        "imds"
    }

    fn versions(&self) -> &'static [&'static str] {
        &["v1", "v2"]
    }

    /// Requests with a token, or for one, are of version 2.
    fn version(&self, request: &Request) -> Option<&'static str> {
        Some(if token(request).is_some() || request.method == "PUT" { "v2" } else { "v1" })
    }

    fn error(&self, status: Status) -> Answer {
        answer::error(status)
    }

    fn headers(&self) -> [&'static str; OWN_HEADERS] {
        ["x-aws-ec2-metadata-token", "x-aws-ec2-metadata-token-ttl-seconds"]
    }

    /// A token may be bound to its user from a time at which there was a policy.
    fn may_be_bound(&self, request: &Request) -> bool {
        token(request).is_some()
    }
}

/// The face.
#[derive(Debug)]
pub struct Imds {
    options: Options,
    shared: Shared,
    key: Arc<TokenKey>,
    versions: Arc<[u8]>,
    tree: Tree,
    passthrough: Option<Passthrough>,
    /// When the tree was made, as an HTTP date.
    started: Arc<str>,
}

impl Respond for Imds {
    fn respond(&self, request: &Request, context: RequestContext<'_>, now: Moment) -> Outcome {
        let Some(target) = Target::parse(request.target) else {
            return Outcome::Answer(answer::error(Status::BadRequest));
        };
        let mut outcome = match self.shared.judge(request, target.authority, context.in_container) {
            Err(refusal) => {
                let answer = match refusal {
                    Refusal::Forwarded => answer::forbidden(),
                    Refusal::WebPage | Refusal::Host => answer::error(Status::Forbidden),
                };
                Outcome::Answer(answer.denied(Denial::from(refusal)))
            }
            // EC2 knows one PUT, spelled exactly.
            Ok(()) if request.method == "PUT" && target.ends_in_slash() => Outcome::Answer(answer::forbidden()),
            Ok(()) => target
                .with_segments(|segments| self.route(request, segments, context, now))
                .unwrap_or_else(|| Outcome::Answer(answer::error(Status::NotFound))),
        };
        if let (true, Outcome::Answer(answer)) = (request.probe, &mut outcome) {
            answer.pid = Some(std::process::id());
        }
        outcome
    }
}

impl Imds {
    /// A face on a host of which `host` is known. The tree of metadata dates from `started`. What is not in it comes from
    /// `passthrough`, if there is one.
    pub fn new(
        options: Options,
        shared: Shared,
        key: impl Into<Arc<TokenKey>>,
        passthrough: Option<Passthrough>,
        host: &HostFacts,
        started: Timestamp,
    ) -> Self {
        let tree = Tree::new(&options.metadata, shared.region.as_deref(), host);
        let versions = VERSIONS.join("\n").into_bytes().into();
        Self { options, shared, key: key.into(), versions, tree, passthrough, started: http_date(started).into() }
    }

    fn route(&self, request: &Request, segments: &[&str], context: RequestContext<'_>, now: Moment) -> Outcome {
        if segments == ["latest", "api", "token"] {
            return Outcome::Answer(self.token(request, context, now));
        }
        if request.method == "PUT" {
            return Outcome::Answer(answer::forbidden());
        }
        if request.method != "GET" && request.method != "HEAD" {
            return Outcome::Answer(answer::not_allowed("GET, HEAD"));
        }
        let number = match token(request) {
            // A bad token is 401 even where none is needed: fluent-bit distinguishes v2 from v1 that way.
            Some(token) => match self.seconds_left(token, context, now) {
                Some(left) => Some((TOKEN_TTL, left)),
                None => return unauthorized(Denial::BadToken),
            },
            None if self.options.v1 => None,
            None => return unauthorized(Denial::NoToken),
        };
        match self.tree(segments, context, now) {
            Outcome::Answer(answer) => Outcome::Answer(Answer { number, ..answer }),
            Outcome::Expired(answer) => Outcome::Expired(Answer { number, ..answer }),
            waiting => waiting,
        }
    }

    /// How long a token is still valid. One that was made when no user mattered is good for every user: it opens nothing
    /// that the policy does not grant to the connection.
    fn seconds_left(&self, token: &[u8], context: RequestContext<'_>, now: Moment) -> Option<u32> {
        let verify = |binding| self.key.verify(token, binding, now.boot);
        verify(binding(context)).or_else(|| verify((context.listener, Owner::Nobody)))
    }

    fn token(&self, request: &Request, context: RequestContext<'_>, now: Moment) -> Answer {
        const METHODS: &str = "OPTIONS, PUT";
        let [_token, ttl] = request.own;
        match request.method {
            "PUT" => match ttl.and_then(read_ttl) {
                Some(seconds) => {
                    let token = self.key.mint(seconds, binding(context), now.boot);
                    Answer { number: Some((TOKEN_TTL, seconds)), ..answer::ok(Body::Token(token)) }
                }
                None => answer::error(Status::BadRequest),
            },
            "OPTIONS" => Answer { allow: Some(METHODS), ..answer::ok(Body::Empty) },
            _ => answer::not_allowed(METHODS),
        }
    }

    fn tree(&self, segments: &[&str], context: RequestContext<'_>, now: Moment) -> Outcome {
        let (version, rest) = match segments {
            [] => return Outcome::Answer(answer::ok(Body::Shared(Arc::clone(&self.versions)))),
            [version, rest @ ..] => (*version, rest),
        };
        if !VERSIONS.contains(&version) {
            return not_found();
        }
        let snapshot = self.shared.store.snapshot();
        let visible = VisibleRoles::new(&snapshot, context.grant, now);
        match rest {
            [] => self.top(version, now),
            ["meta-data", "iam", below @ ..] => self.iam(below, &visible, now),
            _ => self.metadata(segments, rest, &visible, now),
        }
    }

    /// Everything about roles.
    fn iam(&self, path: &[&str], visible: &VisibleRoles<'_>, now: Moment) -> Outcome {
        let role = |name: &str| visible.role(name);
        let refused = || Outcome::Answer(answer::error(Status::NotFound).denied(visible.why_missing()));
        match path {
            _ if !visible.settled() => Outcome::Warming,
            _ if visible.is_empty() => refused(),
            [] => self.text(Body::Static(match (self.has_info(visible), self.options.metadata.extended) {
                (true, true) => b"info\nsecurity-credentials/\nsecurity-credentials-extended/",
                (true, false) => b"info\nsecurity-credentials/",
                (false, true) => b"security-credentials/\nsecurity-credentials-extended/",
                (false, false) => b"security-credentials/",
            })),
            ["info"] => self.info(visible, now),
            ["security-credentials"] => Outcome::Answer(answer::ok(self.names(visible))),
            ["security-credentials", name] => role(name).map_or_else(refused, |role| self.credentials(role, now)),
            ["security-credentials-extended", ..] if !self.options.metadata.extended => not_found(),
            ["security-credentials-extended"] => Outcome::Answer(answer::ok(self.names(visible))),
            ["security-credentials-extended", name] => {
                role(name).map_or_else(refused, |role| self.extended(self.credentials(role, now)))
            }
            _ => not_found(),
        }
    }

    /// The document with the account in it.
    fn extended(&self, outcome: Outcome) -> Outcome {
        let Outcome::Answer(Answer { body: Body::Credentials(set), issued, .. }) = &outcome else { return outcome };
        let Some(account) = self.shared.account_id.or(set.account_id) else { return outcome };
        let document = extend_document(set.document(), "AccountId", account.as_str());
        let modified = Some(Arc::from(&*set.last_modified));
        let issued = issued.clone();
        Outcome::Answer(Answer { modified, issued, ..answer::ok(Body::Secret(Arc::new(document))) })
    }

    fn names(&self, visible: &VisibleRoles<'_>) -> Body {
        if self.options.list_all {
            return Body::Shared((&*visible.names()).into());
        }
        Body::Shared(visible.first().map_or("", |role| role.name().as_str()).as_bytes().into())
    }

    fn credentials(&self, role: &Role, now: Moment) -> Outcome {
        held(
            role,
            now,
            self.shared.common.serve_expired,
            |set| answer::ok(Body::Credentials(Arc::clone(set))),
            |document| answer::ok(Body::Shared(Arc::clone(document))),
            || answer::error(Status::Unavailable),
        )
    }
}

/// The token of a request.
fn token<'a>(request: &Request<'a>) -> Option<&'a [u8]> {
    let [token, _ttl] = request.own;
    token
}

fn binding(context: RequestContext<'_>) -> (u16, Owner) {
    (context.listener, context.peer.owner())
}

fn not_found() -> Outcome {
    Outcome::Answer(answer::error(Status::NotFound))
}

fn unauthorized(denial: Denial) -> Outcome {
    Outcome::Answer(answer::error(Status::Unauthorized).denied(denial))
}

fn read_ttl(value: &[u8]) -> Option<u32> {
    let digits = Some(value).filter(|value| value.iter().all(u8::is_ascii_digit))?;
    let seconds = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (1..=LONGEST).contains(&seconds).then_some(seconds)
}

#[cfg(test)]
mod tests;
