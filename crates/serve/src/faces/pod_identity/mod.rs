//! The face of the EKS Pod Identity agent at `169.254.170.23`: a pod shows the token of its service account and gets the
//! credentials of the role that is associated with that. Pure.
//!
//! Protocol facts: `pkg/handlers/eks_credential_handler.go`, `internal/validation` and `pkg/errors` in
//! aws/eks-pod-identity-agent.

mod account;
mod annotated;
mod options;
mod recent;
mod session_tags;
mod sessions;

use std::{net::IpAddr, sync::Arc};

use account::{Bearer, verify, words};
pub use annotated::{Annotated, Found};
pub use options::{Allowed, Annotations, Association, ENTRY, Options};
use recent::Recent;
pub use session_tags::{PodSession, SessionTags};
use sessions::Whose;
pub use sessions::{SessionCounts, SessionFetcher, Sessions};

use super::{
    common::{JSON, Shared},
    ecs::pod_identity as document,
    held::held,
    visible_roles::VisibleRoles,
};
use crate::{
    caller::ProvenPod,
    clock::Moment,
    credentials::{RoleArn, RoleId, RoleName, document_field},
    http::{
        Face, Issued, RequestContext, Respond,
        answer::{Answer, Body, Outcome, Status, Style},
        denial::Denial,
        path::Target,
        request::Request,
        request_filter::{self, Refusal},
    },
    jwt::{Demands, KeyRing, TokenError},
    store::{Role, Slot},
};

/// The addresses of the agent.
const TARGETS: &str = "[169.254.170.23 fd00:ec2::23]";
/// Errors, as Go's `http.Error` writes them.
const PLAIN: Style = Style {
    content_type: "text/plain; charset=utf-8",
    also: Some(("X-Content-Type-Options", "nosniff")),
    server: None,
};

/// The EKS Pod Identity agent.
pub const FACE: &dyn Face = &Protocol;

#[derive(Debug)]
struct Protocol;

/// The face.
pub struct PodIdentity {
    options: Options,
    demands: Demands,
    /// Addresses, in addition to those of the agent, that clients may use in `Host`.
    hosts: Vec<IpAddr>,
    shared: Shared,
    keys: KeyRing,
    /// Whose the tokens of requests that wait are.
    recent: Recent,
    annotated: Option<Annotated>,
    /// The sessions that pods have for themselves, if they do.
    own: Option<Own>,
}

/// The sessions of pods.
struct Own {
    tags: SessionTags,
    sessions: Arc<Sessions>,
    /// The roles that there can be such of.
    roles: Arc<[(RoleArn, RoleName)]>,
}

impl std::fmt::Debug for PodIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PodIdentity").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Face for Protocol {
    fn name(&self) -> &'static str {
        "pod-identity"
    }

    fn error(&self, status: Status) -> Answer {
        let words = match status {
            Status::HeadTooLarge => "431 Request Header Fields Too Large",
            Status::Unavailable => "Unable to fetch credentials: there are none yet",
            _ => "400 Bad Request",
        };
        plain(status, words)
    }

    fn is_at(&self, address: IpAddr) -> bool {
        is_agent(address)
    }
}

impl Respond for PodIdentity {
    /// As the agent, it does not look at the method.
    fn respond(&self, request: &Request, context: RequestContext<'_>, now: Moment) -> Outcome {
        let Some(target) = Target::parse(request.target) else { return text(Status::BadRequest, "400 Bad Request") };
        let found = target.with_segments(|segments| segments == ["v1", "credentials"]);
        if found != Some(true) {
            return text(Status::NotFound, "404 page not found");
        }
        if let Some(refused) = self.refuse_host(request, target.authority, context.in_container) {
            return refused;
        }
        let token = request.authorization.map(<[u8]>::trim_ascii).unwrap_or_default();
        if token.is_empty() {
            return denied(Denial::NoToken, Status::BadRequest, "Service account token cannot be empty");
        }
        let Ok(token) = std::str::from_utf8(token) else {
            return denied(Denial::BadToken, Status::BadRequest, words(TokenError::Malformed));
        };
        let keys = self.keys.in_force();
        let known = self.recent.find(token, &keys, &self.demands, now);
        let is_known = known.is_some();
        let bearer = match known.map_or_else(|| verify(token, &keys, &self.demands, now).map(Arc::new), Ok) {
            Ok(bearer) => bearer,
            Err(TokenError::UnknownKey) if self.keys.request_refresh(now) => return Outcome::Elsewhere,
            Err(error) => return denied(Denial::BadToken, Status::BadRequest, words(error)),
        };
        match self.credentials(&bearer, context, now) {
            Outcome::Answer(answer) => {
                let pod = answer.pod.or_else(|| Some(proven(&bearer, None)));
                Outcome::Answer(Answer { pod, ..answer })
            }
            waits => {
                if !is_known {
                    self.recent.keep(token, bearer, keys, now);
                }
                waits
            }
        }
    }
}

impl PodIdentity {
    /// A face at the addresses `hosts`, and the ring for its keys.
    pub fn new(options: Options, hosts: Vec<IpAddr>, shared: Shared) -> (Self, KeyRing) {
        let keys = KeyRing::new(Arc::clone(&shared.arrived));
        let demands = Demands {
            issuer: Some(options.issuer.clone()),
            audiences: vec![options.audience.clone()],
            algorithms: None,
            leeway: options.leeway,
        };
        let (ring, recent) = (keys.clone(), Recent::default());
        (Self { options, demands, hosts, shared, keys, recent, annotated: None, own: None }, ring)
    }

    /// The same, which also goes by annotations of service accounts.
    fn annotated_by(self, annotated: Option<Annotated>) -> Self {
        Self { annotated, ..self }
    }

    /// The same, which keeps the sessions of pods, of these roles, among `sessions`, if each pod has its own.
    fn with_sessions(self, sessions: &Arc<Sessions>, roles: &Arc<[(RoleArn, RoleName)]>) -> Self {
        let tags = self.options.session_tags.clone();
        let own = tags.map(|tags| Own { tags, sessions: Arc::clone(sessions), roles: Arc::clone(roles) });
        Self { own, ..self }
    }

    /// The agent answers only to its own addresses, which no web page can name; that is also the guard against rebound
    /// names. Requests through a proxy are refused here, too.
    fn refuse_host(&self, request: &Request, authority: Option<&str>, in_container: bool) -> Option<Outcome> {
        let refuse = |refusal: Refusal, reason: &str| {
            Some(denied(refusal.into(), Status::Forbidden, &format!("Access Denied. {reason}")))
        };
        match self.shared.judge(request, authority, in_container) {
            Err(refusal @ Refusal::Forwarded) => return refuse(refusal, "Requests through a proxy are refused"),
            Err(refusal @ Refusal::WebPage) => return refuse(refusal, "Requests from web pages are refused"),
            Err(Refusal::Host) | Ok(()) => {}
        }
        let host =
            authority.or_else(|| request.host.and_then(|host| std::str::from_utf8(host).ok())).unwrap_or_default();
        let bare = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _port)) => address,
            None => host.split_once(':').map_or(host, |(name, _port)| name),
        };
        let known = match bare.parse::<IpAddr>() {
            Ok(address) => is_agent(address) || self.hosts.contains(&address),
            Err(_) => {
                (in_container && request_filter::is_container_host(bare))
                    || self.shared.common.allowed_hosts.iter().any(|name| name.eq_ignore_ascii_case(bare))
            }
        };
        if known {
            return None;
        }
        let shown: String = bare.chars().filter(char::is_ascii_graphic).take(64).collect();
        let reason = format!("Called agent through invalid address, please use either {TARGETS} address not {shown}");
        refuse(Refusal::Host, &reason)
    }

    /// The role that is associated with an account, and whether each of its pods may have a session of its own; or the answer
    /// to it.
    fn role_of(&self, bearer: &Bearer) -> Result<(RoleName, bool), Box<Outcome>> {
        let account = &bearer.account;
        let fits = |association: &&Association| {
            association.namespace.matches(&account.namespace) && association.service_account.matches(&account.name)
        };
        if let Some(association) = self.options.associations.iter().find(fits) {
            return Ok((association.role.clone(), association.session_tags));
        }
        let not_found = |why: String| {
            let words = format!("(ResourceNotFoundException): {why}, fault: client");
            Err(Box::new(denied(Denial::Refused, Status::NotFound, &words)))
        };
        let annotated = self.annotated.as_ref();
        match annotated.map_or(Found::Nothing, |annotated| annotated.find_for(bearer, self.options.leeway)) {
            Found::Role(name, own) => Ok((name, own)),
            Found::Nothing => not_found(format!("no role is associated with the service account {account}")),
            Found::Unknown => Err(Box::new(Outcome::Elsewhere)),
            Found::NoRole(wish) => {
                not_found(format!("the service account {account} asks for {wish}, and there is no such role"))
            }
            Found::NotAllowed(name) => {
                let words = format!(
                    "(AccessDeniedException): the service account {account} asks for the role {name}, which its \
                     namespace may not have, fault: client"
                );
                Err(Box::new(denied(Denial::Policy, Status::Forbidden, &words)))
            }
            Found::Another => {
                let words = "Service account token failed claim validations: the service account has been deleted, and \
                             another one has its name, or the token does not say its uid";
                Err(Box::new(denied(Denial::BadToken, Status::BadRequest, words)))
            }
        }
    }

    fn credentials(&self, bearer: &Bearer, context: RequestContext<'_>, now: Moment) -> Outcome {
        let (name, own) = match self.role_of(bearer) {
            Ok(found) => found,
            Err(outcome) => return *outcome,
        };
        let snapshot = self.shared.store.snapshot();
        let visible = VisibleRoles::new(&snapshot, context.grant, now);
        let found = match self.own.as_ref().filter(|_| own) {
            Some(own) => {
                let is_there = visible.may_have(&name) && own.roles.iter().any(|(_, role)| *role == name);
                is_there.then(|| self.own_session(own, &name, bearer, now))
            }
            None => visible.role(name.as_str()).map(|role| self.of_role(role, now)),
        };
        found.unwrap_or_else(|| {
            if !visible.settled() {
                return Outcome::Warming;
            }
            let words = "(ResourceNotFoundException): the role is not there, fault: client";
            Outcome::Answer(plain(Status::NotFound, words).denied(visible.why_missing()))
        })
    }

    /// What a pod gets of its own session of a role. What all share is never given in its place.
    fn own_session(&self, own: &Own, name: &RoleName, bearer: &Bearer, now: Moment) -> Outcome {
        let Own { tags, sessions, .. } = own;
        let Bearer { account, pod: Some(pod), .. } = bearer else {
            let words = "Service account token failed claim validations: the token is not bound to a pod, and each pod has a \
                         session of its own";
            return denied(Denial::BadToken, Status::BadRequest, words);
        };
        let session = tags.session(name, account, pod);
        let session_name = session.name.clone();
        let whose = Whose {
            namespace: account.namespace.clone(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            role: name.clone(),
        };
        let starts = |id: &RoleId| {
            let snapshot = self.shared.store.snapshot();
            snapshot.by_id(id).is_some_and(|role| matches!(&**role.slot(), Slot::Idle | Slot::Warming))
        };
        let Some(id) = sessions.want(&whose, session, tags.max_sessions, now.boot, starts) else {
            return Outcome::Warming;
        };
        // It may have begun just now, and even have made room for another one since.
        let snapshot = self.shared.store.snapshot();
        let Some(role) = snapshot.by_id(&id) else { return Outcome::Warming };
        let answer = match self.of_role(role, now) {
            Outcome::Answer(answer) => answer,
            waits => return waits,
        };
        let issued = answer.issued.map(|issued| {
            let left = issued.set.left(now).try_into().unwrap_or_default();
            sessions.given(&whose, now.boot + left);
            Issued { role: RoleId::named(name), ..issued }
        });
        let pod = Some(proven(bearer, issued.as_ref().map(|_| session_name)));
        Outcome::Answer(Answer { issued, pod, ..answer })
    }

    fn of_role(&self, role: &Role, now: Moment) -> Outcome {
        held(
            role,
            now,
            self.shared.common.serve_expired,
            |set| {
                let account = self.shared.account_id.or(set.account_id);
                let body = Body::Secret(Arc::new(document(set, account)));
                Answer::new(Status::Ok, JSON, body)
            },
            |document| {
                let field = |key| String::from_utf8_lossy(document_field(document, key).unwrap_or_default());
                let words = format!("({}): {}, fault: client", field("Code"), field("Message"));
                plain(Status::Forbidden, &words)
            },
            || plain(Status::Unavailable, "Unable to fetch credentials: they have expired"),
        )
    }
}

/// Who asks, with the name of its own session, if it gets one.
fn proven(Bearer { account, pod, .. }: &Bearer, session_name: Option<String>) -> Arc<ProvenPod> {
    Arc::new(ProvenPod {
        namespace: (&*account.namespace).into(),
        service_account: (&*account.name).into(),
        name: pod.as_ref().map(|pod| (&*pod.name).into()),
        uid: pod.as_ref().map(|pod| (&*pod.uid).into()),
        session_name: session_name.map(Into::into),
    })
}

/// Whether it is one of the agent's addresses.
fn is_agent(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets() == [169, 254, 170, 23],
        IpAddr::V6(address) => address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23],
    }
}

fn plain(status: Status, words: &str) -> Answer {
    let line = format!("{words}\n").into_bytes();
    Answer::new(status, PLAIN, Body::Shared(line.into()))
}

fn denied(denial: Denial, status: Status, words: &str) -> Outcome {
    Outcome::Answer(plain(status, words).denied(denial))
}

fn text(status: Status, words: &str) -> Outcome {
    Outcome::Answer(plain(status, words))
}

#[cfg(test)]
mod tests;
