//! A request and its answer: route, proof, decision, credentials, and what is recorded of it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{Method, StatusCode, header::AUTHORIZATION, request::Parts};
use jiff::Timestamp;

use super::{
    access::AccessLog,
    approvals::unavailable,
    audit::{Denials, Record},
    client::Client,
    counters::{Counters, Ending},
    current::Current,
    metrics::Shown,
    proof::{prove, spend},
    seen::{self, Seen},
};
use crate::{
    clock::{Moment, SharedClock, system_time},
    confinement::State,
    console::{Console, ConsoleError},
    credentials::Secret,
    identity::{Identity, Refusal},
    logging::{AuditLog, Importance},
    protocol::{self, Answer, Form, Issued, Mount, Next, RETRY_AFTER, Route, Routed},
    rules::{Decision, Grant, Outcome},
    sts::{Caller, Minted, Sts, Trouble},
    text::printable,
};

/// Answers requests.
pub struct Server {
    current: ArcSwap<Current>,
    pub(super) sts: Arc<Sts>,
    console: ArcSwap<Console>,
    audit: Option<Arc<AuditLog>>,
    denials: Denials,
    clock: SharedClock,
    counters: Counters,
    access: AccessLog,
    shown: Shown,
    /// What confines this process.
    sandbox: OnceLock<State>,
    /// What the status page remembers, if there is one.
    pub(super) seen: OnceLock<Seen>,
}

/// An answer, and what is known of how it came about.
pub(super) struct Reply {
    answer: Answer,
    pub(super) ending: Ending,
    pub(super) mount: String,
    pub(super) identity: Option<Identity>,
    pub(super) grant: Option<Grant>,
    pub(super) minted: Option<Arc<Minted>>,
    /// Whether it is about a URL of the console.
    pub(super) console: bool,
    /// Why not, for the administrator.
    pub(super) reason: Option<String>,
}

/// A request to a mount, whose answer follows from `current`.
#[derive(Clone, Copy)]
pub(super) struct Exchange<'a> {
    pub(super) current: &'a Current,
    pub(super) mount: &'a Mount,
    pub(super) client: &'a Client,
    pub(super) head: &'a Arc<Parts>,
}

impl Reply {
    pub(super) fn new(ending: Ending, mount: &Mount, answer: Answer) -> Self {
        let mount = mount.prefix.clone();
        Self { answer, ending, mount, identity: None, grant: None, minted: None, console: false, reason: None }
    }

    pub(super) fn by(self, identity: Identity) -> Self {
        Self { identity: Some(identity), ..self }
    }

    pub(super) fn about(self, grant: Grant) -> Self {
        Self { grant: Some(grant), ..self }
    }

    pub(super) fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }
}

impl Server {
    /// Answers by `current` with credentials of `sts`. In a runtime, since there may be keys to be fetched.
    pub fn new(
        current: Current,
        sts: Arc<Sts>,
        console: Console,
        audit: Option<AuditLog>,
        shown: Shown,
        clock: SharedClock,
    ) -> Arc<Self> {
        current.start();
        Arc::new(Self {
            current: ArcSwap::from_pointee(current),
            sts,
            console: ArcSwap::from_pointee(console),
            audit: audit.map(Arc::new),
            denials: Denials::new(),
            clock,
            counters: Counters::default(),
            access: AccessLog::new(),
            shown,
            sandbox: OnceLock::new(),
            seen: OnceLock::new(),
        })
    }

    /// What requests are answered by now.
    pub fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// What the metrics show beside what is counted.
    pub fn shown(&self) -> &Shown {
        &self.shown
    }

    /// From now on requests are answered by this.
    pub fn replace(&self, current: Current, console: Console) {
        current.start();
        self.current.store(Arc::new(current));
        self.console.store(Arc::new(console));
    }

    /// Where decisions are recorded.
    pub(super) fn audit(&self) -> Option<&Arc<AuditLog>> {
        self.audit.as_ref()
    }

    /// The time of a record.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now().wall
    }

    /// The clock.
    pub(super) fn clock(&self) -> SharedClock {
        SharedClock::clone(&self.clock)
    }

    /// Both clocks.
    pub(super) fn moment(&self) -> Moment {
        self.clock.now()
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Has the metrics show what confines this process.
    pub fn show(&self, state: State) {
        // What is in force never changes.
        let _once = self.sandbox.set(state);
    }

    /// What confines this process, if it is known.
    pub(super) fn confined(&self) -> Option<&State> {
        self.sandbox.get()
    }

    /// Why credentials cannot be handed out at the moment, if they cannot.
    pub fn unready(&self) -> Option<String> {
        if self.audit.as_deref().is_some_and(is_blocked) {
            return Some("the audit cannot be written".to_owned());
        }
        self.sts.unready()
    }

    /// The answer to a request, which is counted, logged and recorded.
    pub async fn answer(&self, client: &Client, head: Parts) -> Answer {
        let (current, head) = (self.current(), Arc::new(head));
        let began = self.clock.boot();
        let reply = self.reply(&current, client, &head).await;
        let now = self.clock.now();
        self.counters.request(reply.ending);
        self.counters.answered(now.boot.since(began));
        if current.access_log {
            let name = reply.identity.as_ref().map(|identity| identity.name.as_str());
            self.access.request(client, name, &head, &reply.answer, now);
        }
        if let Some(reason) = &reply.reason {
            let name = reply.identity.as_ref().map(|identity| printable(&identity.name, 100));
            let who = name.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
            let path = printable(head.uri.path(), 200);
            let word = reply.ending.word();
            self.access.warn(client, name.as_deref(), &format!("{who}{path}: {word}: {reason}"), now);
        }
        self.record(&reply, client, &head, now);
        if let Some(seen) = self.seen.get() {
            let (identity, grant, reason) = (reply.identity.as_ref(), reply.grant.as_ref(), reply.reason.as_deref());
            seen.note(seen::Request { at: now.wall, ending: reply.ending, identity, grant, reason });
        }
        reply.answer
    }

    fn record(&self, reply: &Reply, client: &Client, head: &Parts, now: Moment) {
        let Some(audit) = &self.audit else { return };
        let importance = match reply.ending {
            Ending::HandedOut => Importance::HandOut,
            Ending::Denied | Ending::Unproven => Importance::Denial,
            Ending::Unavailable if reply.grant.is_some() => Importance::Denial,
            Ending::Answered | Ending::Unavailable | Ending::Unknown => return,
        };
        let Some(more) = self.denials.admit(reply.ending, client, reply.identity.as_ref(), now.boot) else { return };
        let path = printable(head.uri.path(), 500);
        match serde_json::to_string(&Record::of(reply, client, &path, now.wall).after(more)) {
            Ok(line) => audit.write(&line, importance),
            // It has only texts, which cannot fail.
            Err(error) => tracing::error!("audit: a record cannot be written: {error}"),
        }
    }

    async fn reply(&self, current: &Current, client: &Client, head: &Arc<Parts>) -> Reply {
        let nowhere = Mount { prefix: String::new(), families: protocol::Families { hosts: false, people: false } };
        let target = head.uri.path_and_query().map_or("", |path| path.as_str());
        let routed = protocol::route(&current.mounts, target);
        let known = match &routed {
            Routed::To(_, route) => Some(route),
            Routed::Nowhere(_) => None,
        };
        if let Some(answer) = protocol::check_method(&head.method, known) {
            return Reply::new(Ending::Unknown, &nowhere, answer);
        }
        let (mount, route) = match routed {
            Routed::To(mount, route) => (mount, route),
            Routed::Nowhere(path) => return Reply::new(Ending::Unknown, &nowhere, Answer::nowhere(&path)),
        };
        if let Some(answer) = protocol::check_site(&route, &head.headers) {
            return Reply::new(Ending::Denied, mount, answer).because("another site sent the browser here");
        }
        if route == Route::Status {
            return Reply::new(Ending::Answered, mount, Answer::status_ok());
        }
        let exchange = Exchange { current, mount, client, head };
        match self.identify(&exchange).await {
            Ok(mut identity) => {
                let hold = identity.hold.take();
                spend(hold, self.decide(&exchange, &route, identity).await)
            }
            Err(reply) => *reply,
        }
    }

    async fn identify(&self, exchange: &Exchange<'_>) -> Result<Identity, Box<Reply>> {
        let Exchange { current, mount, client, head } = *exchange;
        let methods = current.proofs(mount);
        let challenges = || methods.iter().filter_map(|method| method.challenge()).collect::<Vec<_>>();
        let reply = match prove(methods, client, head, &self.clock).await {
            Ok(Some(identity)) => return Ok(identity),
            Ok(None) => {
                let message = "Authorization Required";
                let reply = Reply::new(Ending::Unproven, mount, Answer::unauthorized(message, &challenges()));
                if head.headers.contains_key(AUTHORIZATION) {
                    reply.because("no identity method of this path accepts such a proof")
                } else if challenges().is_empty() {
                    reply.because("the request proves no identity")
                } else {
                    // A client that has not seen a challenge yet proves nothing at first.
                    reply
                }
            }
            Err(Refusal::Refused(why)) => {
                Reply::new(Ending::Unproven, mount, Answer::unauthorized(&why, &challenges())).because(why)
            }
            Err(Refusal::Unavailable(why)) => {
                let answer =
                    Answer::unavailable("The proof of identity cannot be checked at the moment", None, RETRY_AFTER);
                Reply::new(Ending::Unavailable, mount, answer).because(why)
            }
        };
        Err(Box::new(reply))
    }

    async fn decide(&self, exchange: &Exchange<'_>, route: &Route, identity: Identity) -> Reply {
        let Exchange { current, mount, client, head } = *exchange;
        let mut decision = current.rules.decide(&identity, &client.peer, system_time(self.clock.now().wall));
        if protocol::needs_approvals(route, &decision)
            && let Err(why) = self.settle(exchange, &mut decision, &identity).await
        {
            return unavailable(exchange, why, identity);
        }
        match protocol::decide(route, &decision, &identity.name, head.method == Method::HEAD) {
            Next::Fetch { grant, form } => self.fetch(mount, grant.into_owned(), form, identity).await,
            Next::Emergency { grant, form } => self.emergency(exchange, &grant, form, identity).await,
            Next::Unapproved { grant } => self.unapproved(exchange, grant, identity).await,
            Next::Approvals => self.approvals(exchange, route, &decision, identity).await,
            Next::Answer(answer) if answer.status == StatusCode::FORBIDDEN || decision.grants.is_empty() => {
                Reply::new(Ending::Denied, mount, answer).because(denial(&decision)).by(identity)
            }
            Next::Answer(answer) => {
                let reply = Reply::new(Ending::Answered, mount, answer).by(identity);
                let conflicts = if *route == Route::RoleList { decision.conflicts() } else { Vec::new() };
                if conflicts.is_empty() { reply } else { reply.because(conflicts.join("; ")) }
            }
        }
    }

    pub(super) async fn fetch(&self, mount: &Mount, grant: Grant, form: &Form, identity: Identity) -> Reply {
        let user = Some(identity.name.as_str());
        let failed = |message: &str, why: String, again: Duration| {
            Reply::new(Ending::Unavailable, mount, Answer::unavailable(message, user, again)).because(why)
        };
        if self.audit.as_deref().is_some_and(is_blocked) {
            let why = "the audit cannot be written (audit_required)".to_owned();
            let reply = failed("Nothing can be recorded at the moment", why, RETRY_AFTER);
            return reply.about(grant).by(identity);
        }
        let minted = match self.sts.credentials(&grant, &Caller::of(&identity)).await {
            Ok(minted) => minted,
            Err(Trouble::Unavailable { why, again }) => {
                let reply = failed("AWS cannot be reached at the moment", why, again);
                return reply.about(grant).by(identity);
            }
            Err(Trouble::Refused { why, again }) => {
                let reply = failed("AWS refuses this role to the server", why, again);
                return reply.about(grant).by(identity);
            }
        };
        let url = match self.console_url(form, &minted, &grant).await {
            Ok(url) => url,
            Err(error) => return no_console(mount, grant, identity, &error),
        };
        let issued = Issued { credentials: minted.credentials.clone(), at: minted.at };
        let answer = protocol::deliver(form, &issued, &grant, url.as_ref().map(Secret::expose), &identity.name);
        let reply = Reply::new(Ending::HandedOut, mount, answer).by(identity);
        Reply { grant: Some(grant), minted: Some(minted), console: url.is_some(), ..reply }
    }

    /// The URL of the console, if the form has one and the rule allows it.
    async fn console_url(&self, form: &Form, minted: &Minted, grant: &Grant) -> Result<Option<Secret>, ConsoleError> {
        let (callback, only) = match form {
            Form::Console { callback } => (callback, true),
            Form::Both { callback } => (callback, false),
            Form::Document => return Ok(None),
        };
        if !grant.console {
            return Ok(None);
        }
        let console = self.console.load_full();
        match console.url(minted, grant, callback.as_deref()).await {
            Ok(url) => Ok(Some(url)),
            Err(error) if only || error.is_decision() => Err(error),
            // The document is worth having without it.
            Err(error) => {
                tracing::warn!("no URL of the console for {}: {error}", grant.label());
                Ok(None)
            }
        }
    }
}

fn no_console(mount: &Mount, grant: Grant, identity: Identity, error: &ConsoleError) -> Reply {
    let (user, why) = (Some(identity.name.as_str()), error.to_string());
    let reply = if error.is_decision() {
        Reply::new(Ending::Denied, mount, Answer::error(StatusCode::FORBIDDEN, &why, user))
    } else {
        let message = "The console cannot be opened at the moment";
        Reply::new(Ending::Unavailable, mount, Answer::unavailable(message, user, RETRY_AFTER))
    };
    Reply { grant: Some(grant), console: true, ..reply }.because(why).by(identity)
}

/// Whether nothing may be handed out because it could not be recorded.
fn is_blocked(audit: &AuditLog) -> bool {
    audit.is_required() && audit.failing().load(std::sync::atomic::Ordering::Relaxed)
}

/// Why there is no role, in a few words: the rules that match and give nothing, if there are any.
fn denial(decision: &Decision) -> String {
    let close = decision
        .verdicts
        .iter()
        .filter(|verdict| matches!(verdict.outcome, Outcome::TooWeak(_) | Outcome::Invalid(_) | Outcome::Denies(_)));
    let close: Vec<String> = close.map(|verdict| format!("rule {:?} {}", verdict.rule, verdict.outcome)).collect();
    if close.is_empty() { "no rule gives it".to_owned() } else { close.join("; ") }
}
