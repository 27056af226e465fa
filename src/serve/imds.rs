//! The IMDS face: EC2's instance metadata service, versions 1 and 2. Pure: a request, the store and
//! a moment in, an answer out.
//!
//! Protocol facts: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html>
//! and what the SDKs' sources depend on, listed case by case in `docs/conformance.md`.

use std::sync::Arc;

use super::{
    answer::{Answer, Body, Outcome, Status},
    guard::{self, Refusal},
    path::Target,
    request::Request,
    token::TokenKey,
    view::{View, Visitor},
};
use crate::{
    caller::Owner,
    clock::Moment,
    store::{Role, State, Store},
};

/// The longest life of a token that may be asked for: six hours.
const MAX_TTL: u32 = 21_600;

/// The versions that EC2 lists. All of them show the same tree here.
const VERSIONS: [&str; 30] = [
    "1.0",
    "2007-01-19",
    "2007-03-01",
    "2007-08-29",
    "2007-10-10",
    "2007-12-15",
    "2008-02-01",
    "2008-09-01",
    "2009-04-04",
    "2011-01-01",
    "2011-05-01",
    "2012-01-12",
    "2014-02-25",
    "2014-11-05",
    "2015-10-20",
    "2016-04-19",
    "2016-06-30",
    "2016-09-02",
    "2018-03-28",
    "2018-08-17",
    "2018-09-24",
    "2019-10-01",
    "2020-10-27",
    "2021-01-03",
    "2021-03-23",
    "2021-07-15",
    "2022-09-24",
    "2023-11-20",
    "2024-04-11",
    "latest",
];

/// How the face behaves.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Whether requests without a token are answered.
    pub v1: bool,
    /// Whether a listing shows all roles, not only the first.
    pub list_all: bool,
    /// Whether expired credentials are still handed out.
    pub serve_expired: bool,
    /// Host names that clients may use, beside addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
}

/// The face.
#[derive(Debug)]
pub struct Imds {
    settings: Settings,
    store: Arc<Store>,
    key: TokenKey,
    versions: Arc<[u8]>,
}

impl Imds {
    /// A face that shows what is in `store`.
    pub fn new(settings: Settings, store: Arc<Store>, key: TokenKey) -> Self {
        Self { settings, store, key, versions: VERSIONS.join("\n").into_bytes().into() }
    }

    /// The store that is shown.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Answers a request of `visitor` at the moment `now`.
    pub fn respond(&self, request: &Request, visitor: Visitor<'_>, now: Moment) -> Outcome {
        let Some(target) = Target::parse(request.target) else {
            return Outcome::Answer(Answer::error(Status::BadRequest));
        };
        let mut outcome = match guard::judge(request, target.authority, &self.settings.allowed_hosts) {
            Err(refusal) => Outcome::Answer(Answer::error(self.status_of(refusal))),
            Ok(()) => target
                .with_segments(|segments| self.route(request, segments, visitor, now))
                .unwrap_or_else(|| Outcome::Answer(Answer::error(Status::NotFound))),
        };
        if let (true, Outcome::Answer(answer)) = (request.probe, &mut outcome) {
            answer.pid = Some(std::process::id());
        }
        outcome
    }

    /// A PUT that is answered with 403 makes SDKs fall back to v1, one answered with 400 does not.
    fn status_of(&self, refusal: Refusal) -> Status {
        match refusal {
            Refusal::Forwarded if self.settings.v1 => Status::BadRequest,
            Refusal::Forwarded | Refusal::WebPage | Refusal::Host => Status::Forbidden,
        }
    }

    fn route(&self, request: &Request, segments: &[&str], visitor: Visitor<'_>, now: Moment) -> Outcome {
        if segments == ["latest", "api", "token"] {
            return Outcome::Answer(self.token(request, visitor, now));
        }
        if request.method != "GET" && request.method != "HEAD" {
            return Outcome::Answer(Answer::not_allowed("GET, HEAD"));
        }
        let token_ttl = match request.token {
            // A bad token is 401 even where none is needed: fluent-bit tells v2 from v1 that way.
            Some(token) => match self.key.verify(token, binding(visitor), now.boot) {
                Some(left) => Some(left),
                None => return Outcome::Answer(Answer::error(Status::Unauthorized)),
            },
            None if self.settings.v1 => None,
            None => return Outcome::Answer(Answer::error(Status::Unauthorized)),
        };
        match self.tree(segments, visitor, now) {
            Outcome::Answer(answer) => Outcome::Answer(Answer { token_ttl, ..answer }),
            Outcome::Warming => Outcome::Warming,
        }
    }

    fn token(&self, request: &Request, visitor: Visitor<'_>, now: Moment) -> Answer {
        const METHODS: &str = "OPTIONS, PUT";
        match request.method {
            "PUT" => match request.token_ttl.and_then(read_ttl) {
                Some(seconds) => {
                    let token = self.key.mint(seconds, binding(visitor), now.boot);
                    Answer { token_ttl: Some(seconds), ..Answer::ok(Body::Token(token)) }
                }
                None => Answer::error(Status::BadRequest),
            },
            "OPTIONS" => Answer { allow: Some(METHODS), ..Answer::ok(Body::Empty) },
            _ => Answer::not_allowed(METHODS),
        }
    }

    fn tree(&self, segments: &[&str], visitor: Visitor<'_>, now: Moment) -> Outcome {
        let (version, rest) = match segments {
            [] => return Outcome::Answer(Answer::ok(Body::Shared(Arc::clone(&self.versions)))),
            [version, rest @ ..] => (*version, rest),
        };
        if !VERSIONS.contains(&version) {
            return not_found();
        }
        let snapshot = self.store.snapshot();
        let view = View::new(&snapshot, visitor.grant);
        match rest {
            [] => listing(b"meta-data"),
            // Directories without entries are not there, but the root of the metadata always is.
            ["meta-data"] if view.is_empty() => listing(b""),
            ["meta-data"] => listing(b"iam/"),
            ["meta-data", "iam", ..] if !view.settled() => Outcome::Warming,
            ["meta-data", "iam", ..] if view.is_empty() => not_found(),
            ["meta-data", "iam"] => listing(b"security-credentials/"),
            ["meta-data", "iam", "security-credentials"] => Outcome::Answer(Answer::ok(self.names(&view))),
            ["meta-data", "iam", "security-credentials", name] => match view.role(name) {
                Some(role) => self.credentials(role, now),
                None => not_found(),
            },
            _ => not_found(),
        }
    }

    fn names(&self, view: &View<'_>) -> Body {
        if self.settings.list_all {
            return Body::Shared((&*view.names()).into());
        }
        Body::Shared(view.first().map_or("", |role| role.name().as_str()).as_bytes().into())
    }

    /// The one fixed answer for each state of a role.
    fn credentials(&self, role: &Role, now: Moment) -> Outcome {
        match &**role.state() {
            State::Warming => Outcome::Warming,
            State::Denied(document) => Outcome::Answer(Answer::ok(Body::Shared(Arc::clone(document)))),
            State::Held { set, .. } if set.expiration > now.wall || self.settings.serve_expired => {
                Outcome::Answer(Answer::ok(Body::Credentials(Arc::clone(set))))
            }
            // A 200 would make SDKs hold on to the dead set long after the upstream is back.
            State::Held { .. } => Outcome::Answer(Answer::error(Status::Unavailable)),
        }
    }
}

fn binding(visitor: Visitor<'_>) -> (u16, Owner) {
    (visitor.listener, visitor.peer.owner())
}

fn not_found() -> Outcome {
    Outcome::Answer(Answer::error(Status::NotFound))
}

fn listing(entries: &'static [u8]) -> Outcome {
    Outcome::Answer(Answer::ok(Body::Static(entries)))
}

fn read_ttl(value: &[u8]) -> Option<u32> {
    let digits = Some(value).filter(|value| value.iter().all(u8::is_ascii_digit))?;
    let seconds = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (1..=MAX_TTL).contains(&seconds).then_some(seconds)
}

#[cfg(test)]
mod tests;
