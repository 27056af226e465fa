//! What the admin socket answers. Pure: the caller, the request, the store and a moment in, an answer out.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use arc_swap::ArcSwapOption;

use super::{
    ADMIN_LISTENER, Conversations, FileStatus, LeaseError, Leases, PeerCredentials, Selections,
    document::{
        AuditStatus, Code, CredentialsDocument, ExecDocument, ExecRequest, LastError, ListRefused, Listener,
        RoleStatus, SandboxStatus, ServiceAccountsStatus, Status,
    },
    metrics::shown,
    replacing::Replacing,
    reply::{Call, Outcome, Reply},
    roles::valid,
};
use crate::{
    audit::{Auditor, Event, Health, What},
    caller::Subordinates,
    clock::Moment,
    credentials::{format_timestamp, parse_document},
    faces::{VisibleRoles, pod_identity::Sessions},
    files::FileReports,
    http::Counters,
    kubernetes::{WatchState, Watched},
    open_metrics::InForce,
    page,
    policy::{ConnectionFacts, Gatekeeper, Grant},
    refresh_stats::RefreshStats,
    sign_in::SignIns,
    store::{Published, Role, RoleState, Slot, Store},
    text::Cut,
};

/// What the answers are made of.
pub struct Admin {
    /// The roles and their credentials.
    pub store: Arc<Store>,
    /// Where they came from, and what failed.
    pub refresh_stats: Arc<RefreshStats>,
    /// How often was answered what.
    pub counters: Arc<Counters>,
    /// The service accounts of the cluster that is followed.
    pub watched: Arc<Watched>,
    /// The sessions that pods have for themselves.
    pub pod_sessions: Arc<Sessions>,
    /// Decides which caller may have which role.
    pub gatekeeper: Arc<dyn Gatekeeper>,
    /// Records what callers get.
    pub auditor: Arc<Auditor>,
    /// The name of this host.
    pub host: String,
    /// When the daemon started.
    pub started: Moment,
    /// Its configuration.
    pub in_force: Arc<InForce>,
    /// Where it serves.
    pub listeners: Vec<Listener>,
    /// Where the status page is.
    pub status_page: Vec<alppaca_settings::Listen>,
    /// The region that programs find. A reload changes it.
    pub region: Arc<ArcSwapOption<String>>,
    /// The tokens of `exec`.
    pub leases: Leases,
    /// The roles that users have chosen.
    pub selections: Selections,
    /// Where programs that `exec` starts get their credentials.
    pub exec: Option<ExecEndpoint>,
    /// The daemon's own account, which sees everything, as root does.
    pub own_uid: u32,
    /// Whose the subordinate users are.
    pub subordinates: Arc<Subordinates>,
    /// Whether every user who can connect sees everything (`admin_group`).
    pub restricted: bool,
    /// Who has signed in.
    pub sign_ins: SignIns,
    /// Whether the service manager was notified that the daemon is ready.
    pub ready: Arc<AtomicBool>,
    /// What confines the daemon, if anything was to.
    pub sandbox: Option<SandboxStatus>,
    /// How the files are that have credentials.
    pub files: FileReports,
    /// The requests that are being answered.
    pub conversations: Conversations,
    /// The way for another process to take the place of this one, if there is one.
    pub replacing: Option<Replacing>,
}

/// A listener for programs that `exec` starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExecEndpoint {
    /// Its address, which the AWS SDKs accept for `http`.
    pub address: SocketAddr,
    /// Whether it is there for these programs alone, at a port that the kernel has chosen.
    pub own: bool,
}

/// Notes since when each role of `store` is in its state. One whose set has expired is so since then; other changes are new.
pub(super) fn look(store: &Store, now: Moment) {
    let snapshot = store.snapshot();
    for role in snapshot.roles().iter().chain(snapshot.unlisted()) {
        let slot = role.slot();
        let state = shown(slot.state(now));
        let since = match &**slot {
            Slot::Held { set, .. } if state == RoleState::Expired => set.expiration.min(now.wall),
            _ => now.wall,
        };
        role.note(state, since);
    }
}

impl Admin {
    pub(super) fn region(&self) -> Option<String> {
        self.region.load().as_deref().cloned()
    }

    /// Answers `caller` at the moment `now`.
    pub fn respond(&self, call: Call, caller: &PeerCredentials, now: Moment) -> Outcome {
        let segments: Vec<&str> = call.path.split('/').skip(1).collect();
        match (segments.as_slice(), call.method) {
            (["v1", "status"], "GET") => {
                // Asked first: what is known by then is in the reply.
                let pending = !self.sees_everything(caller) && self.grant(caller) == Grant::Pending;
                let reply = Reply::json(200, &self.status(caller, now));
                if pending { Outcome::Wait(reply) } else { Outcome::Reply(reply) }
            }
            (["v1", "credentials"] | ["v1", "credentials", ""], "GET") => {
                self.credentials(None, call.path, caller, now)
            }
            (["v1", "credentials", name], "GET") => self.credentials(Some(name), call.path, caller, now),
            (["v1", "roles"], "GET") => self.roles(caller, now),
            (["v1", "choice"], "GET") => self.choice(caller, now),
            (["v1", "choice"], "POST") => self.choose(call, caller, now),
            (["v1", "choice"], _) => Outcome::Reply(Reply {
                allow: Some("GET, POST"),
                ..Reply::error(Code::MethodNotAllowed, format!("{} is not supported here", call.method))
            }),
            (["v1", "exec-token"], "POST") => self.exec_token(call.body, caller, now),
            (["v1", "exec-token"], _) => Outcome::Reply(Reply {
                allow: Some("POST"),
                ..Reply::error(Code::MethodNotAllowed, format!("{} is not supported here", call.method))
            }),
            (["v1", "sign-in" | "sign-out", ..], _) => self.sign_in_call(&segments, call, caller),
            (["metrics"], "GET") if self.sees_everything(caller) => Outcome::Reply(self.metrics(now)),
            (["metrics"], "GET") => Outcome::error(
                Code::Forbidden,
                "the metrics are for root, the daemon's own account and the members of `admin_group`",
            ),
            (["v1", "status" | "credentials" | "roles"] | ["v1", "credentials", _] | ["metrics"], _) => {
                Outcome::Reply(Reply {
                    allow: Some("GET"),
                    ..Reply::error(Code::MethodNotAllowed, format!("{} is not supported here", call.method))
                })
            }
            _ => Outcome::error(Code::NoSuchPath, format!("there is nothing at {}", call.path)),
        }
    }

    /// Whether `caller` sees the state of all roles, whatever it may have.
    fn sees_everything(&self, caller: &PeerCredentials) -> bool {
        self.restricted || caller.uid == 0 || caller.uid == self.own_uid
    }

    /// What `caller` may have: the same as through IMDS.
    pub(super) fn grant(&self, caller: &PeerCredentials) -> Grant {
        self.gatekeeper.admit(ConnectionFacts { listener: ADMIN_LISTENER, peer: &caller.peer }).grant
    }

    fn status(&self, caller: &PeerCredentials, now: Moment) -> Status {
        let (snapshot, everything) = (self.store.snapshot(), self.sees_everything(caller));
        let grant = self.grant(caller);
        let roles: Vec<&Arc<Role>> = if everything {
            self.all_roles(&snapshot).collect()
        } else {
            VisibleRoles::new(&snapshot, &grant, now).roles()
        };
        let roles = self.named_by_session(roles.into_iter().map(|role| (role, self.role_status(role, now))));
        self.report(everything, snapshot.answered(), roles, now)
    }

    /// The state of the daemon with these roles, for somebody who may see `everything` or not. `answered`: whether it is known
    /// which roles there are.
    pub(super) fn report(&self, everything: bool, answered: bool, roles: Vec<RoleStatus>, now: Moment) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: format_timestamp(self.started.wall),
            uptime_seconds: now.boot.since(self.started.boot).as_secs(),
            answered,
            policy: self.gatekeeper.policy(),
            unverified_containers: self.gatekeeper.unverified_containers(),
            audit: self.auditor.health().map(|Health { lost, failing, withheld }| AuditStatus {
                lost,
                failing,
                withheld,
            }),
            listeners: self.listeners.clone(),
            status_page: page::urls(&self.status_page),
            reload_refused: self.in_force.shown().2,
            clock_ahead_seconds: self.refresh_stats.clock_ahead().map(|ahead| ahead.as_secs()),
            list_refused: self.refresh_stats.list_refusal().map(|refusal| ListRefused {
                since: format_timestamp(refusal.since),
                // It names the upstream.
                message: everything.then(|| refusal.message.into()),
            }),
            service_accounts: self.watched.state().map(|state| service_accounts(state, everything)),
            sandbox: self.sandbox.clone().map(|sandbox| sandbox.seen(everything)),
            files: self.file_statuses(everything),
            sign_in_needed: self.sign_in_needed(everything),
            roles,
        }
    }

    /// The files, whose paths are in the configuration.
    fn file_statuses(&self, everything: bool) -> Vec<FileStatus> {
        let files = if everything { self.files.all() } else { Vec::new() };
        files.into_iter().map(Into::into).collect()
    }

    pub(super) fn role_status(&self, role: &Role, now: Moment) -> RoleStatus {
        let slot = role.slot();
        let set = match &**slot {
            Slot::Held { set, .. } => Some(set),
            _ => None,
        };
        let state = shown(slot.state(now));
        let entry = self.refresh_stats.entry(role.id().as_str());
        RoleStatus {
            name: role.name().to_string(),
            on_demand: !role.listed(),
            session_name: None,
            state: state.as_str().to_owned(),
            since: role.since(state).map(format_timestamp),
            access_key_id: set.map(|set| set.access_key_id.to_string()),
            expiration: set.map(|set| format_timestamp(set.expiration)),
            seconds_left: set.map(|set| set.left(now).as_secs()),
            account_id: set
                .and_then(|set| set.account_id)
                .or_else(|| self.refresh_stats.account(role.name()).filter(|_| role.listed()))
                .map(|id| id.to_string()),
            role_arn: set.and_then(|set| set.role_arn.as_ref()).map(ToString::to_string),
            chosen_by: self.chosen_by(role),
            refused_since: entry.refused_since().map(format_timestamp),
            source: entry.source.map(|source| source.to_string()),
            last_error: entry
                .failure
                .map(|failure| LastError { at: format_timestamp(failure.at), message: failure.message.to_string() }),
        }
    }

    /// The role of that name, or the caller's first.
    pub(super) fn find(&self, name: Option<&str>, caller: &PeerCredentials, now: Moment) -> Result<Arc<Role>, Outcome> {
        let grant = self.grant(caller);
        let snapshot = self.store.snapshot();
        let visible = VisibleRoles::new(&snapshot, &grant, now);
        let found = match name {
            Some(name) => visible.role(name),
            None => visible.first(),
        };
        if let Some(role) = found {
            return Ok(Arc::clone(role));
        }
        if grant == Grant::Unknown {
            let what = "your user, or what the policy grants it, cannot be determined; the daemon's log has the cause";
            return Err(Outcome::error(Code::NotReady, what));
        }
        if !visible.settled() {
            let what = match grant {
                Grant::Pending => "your user is not identified yet",
                _ => "the upstream has not listed its roles yet",
            };
            return Err(Outcome::Wait(Reply::error(Code::NotReady, what)));
        }
        let name = name.map(|name| format!(" {name}")).unwrap_or_default();
        Err(Outcome::error(Code::NoSuchRole, format!("there is no role{name} for user {}", caller.uid)))
    }

    /// The valid set of the role of that name, or of the caller's first.
    pub(super) fn held(
        &self,
        name: Option<&str>,
        caller: &PeerCredentials,
        now: Moment,
    ) -> Result<(Arc<Role>, Arc<Published>), Outcome> {
        let role = self.find(name, caller, now)?;
        let set = valid(&role, now)?;
        Ok((role, set))
    }

    fn credentials(&self, name: Option<&str>, path: &str, caller: &PeerCredentials, now: Moment) -> Outcome {
        match self.held(name, caller, now) {
            Ok((role, set)) => match credentials_document(role.name().as_str(), &set, self.region()) {
                Some(document) => {
                    let (role, expiration) = (role.id(), set.expiration);
                    let what = What::Issued { role, access_key_id: set.access_key_id.clone(), expiration, pod: None };
                    if self.auditor.hand_out(self.event(what, caller, now)) {
                        Outcome::Reply(Reply::json(200, &document))
                    } else {
                        Outcome::error(Code::NotRecorded, "the audit cannot be written, and `audit_required` is set")
                    }
                }
                None => {
                    Outcome::error(Code::Unknown, format!("role {}: the held document cannot be read", role.name()))
                }
            },
            Err(outcome) => self.noted(outcome, path, caller, now),
        }
    }

    /// The outcome of a request at `path`, which is recorded if it denies a role.
    pub(super) fn noted(&self, outcome: Outcome, path: &str, caller: &PeerCredentials, now: Moment) -> Outcome {
        let refused = matches!(&outcome, Outcome::Reply(reply) if reply.status == Code::NoSuchRole.status());
        if refused && !self.grant(caller).is_everything() {
            let path = Cut::for_audit(path.as_bytes()).to_string().into();
            self.auditor.denial(self.event(What::Denied { path, pod: None }, caller, now), now);
        }
        outcome
    }

    /// What happens to the caller, for the audit.
    fn event(&self, what: What, caller: &PeerCredentials, now: Moment) -> Event {
        let peer = &caller.peer;
        Event {
            time: now.wall,
            peer: peer.clone(),
            container: self.gatekeeper.container(peer),
            what,
            more: 0,
            reason: self.gatekeeper.admit(ConnectionFacts { listener: ADMIN_LISTENER, peer }).reason,
            face: "admin",
            version: None,
            user_agent: None,
        }
    }

    /// A private token for the process that asks.
    fn exec_token(&self, body: &[u8], caller: &PeerCredentials, now: Moment) -> Outcome {
        let Ok(ExecRequest { role }) = serde_json::from_slice(body) else {
            return Outcome::error(Code::BadRequest, "a JSON object such as {\"role\": \"web\"} is expected");
        };
        let Some(ExecEndpoint { address, own }) = self.exec else {
            return Outcome::error(Code::NoContainerFace, "the daemon has no listener for programs; its log says why");
        };
        // Such a token is for the sets that all have of the role.
        let shared = self.find(role.as_deref(), caller, now).and_then(|found| self.shared(found, caller));
        let role = match shared.and_then(|role| valid(&role, now).map(|_| role)) {
            Ok(role) => role,
            Err(outcome) => return outcome,
        };
        match self.leases.issue(role.name(), caller, own.then_some(address.port()), now.boot) {
            Ok(token) => Outcome::Reply(Reply::json(
                200,
                &ExecDocument {
                    role: role.name().to_string(),
                    url: format!("http://{address}/role/{}", role.name()),
                    token,
                    region: self.region(),
                },
            )),
            Err(error @ LeaseError::NoProcess) => Outcome::error(Code::Forbidden, error.to_string()),
            Err(error) => Outcome::error(Code::Busy, error.to_string()),
        }
    }
}

/// `everything`: whether the caller sees everything.
fn service_accounts(state: WatchState, everything: bool) -> ServiceAccountsStatus {
    ServiceAccountsStatus {
        synced: state.synced.map(format_timestamp),
        following: state.following,
        accounts: state.accounts,
        left_out: state.left_out,
        failures: state.failures,
        // It names the API server.
        problem: state.problem.filter(|_| everything),
    }
}

fn credentials_document(role: &str, set: &Published, region: Option<String>) -> Option<CredentialsDocument> {
    let credentials = parse_document(set.document().expose()).ok()?;
    Some(CredentialsDocument {
        version: 1,
        role: Some(role.to_owned()),
        secret_access_key: credentials.secret_access_key,
        session_token: credentials.session_token,
        access_key_id: credentials.access_key_id,
        expiration: format_timestamp(set.expiration),
        account_id: set.account_id.map(|id| id.to_string()),
        region,
    })
}
