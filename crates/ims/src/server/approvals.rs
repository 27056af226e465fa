//! Roles that another person has to approve: requests, the answers to them, and what they give.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

use super::{
    audit::Record,
    counters::Ending,
    respond::{Exchange, Reply, Server},
};
use crate::{
    approvals::{self, Action, Answering, Entry, Id, Ledger, Refusal, State},
    identity::Identity,
    protocol::{self, Answer, RETRY_AFTER, Route},
    record_files::{FilesError, JUST_NOW, RECENT, RecordFiles, new_id},
    rules::{Decision, Grant},
    text::printable,
};

/// Why a request or an answer did not come about.
enum Failed {
    /// It was decided.
    Denied(StatusCode, String),
    /// The records or the audit cannot be used.
    Unavailable(String),
}

impl From<FilesError> for Failed {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::Exists => Self::Denied(StatusCode::CONFLICT, error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Unknown => StatusCode::NOT_FOUND,
            Refusal::NotYours(_) => StatusCode::FORBIDDEN,
            Refusal::Settled(_) => StatusCode::CONFLICT,
        };
        Self::Denied(status, refusal.to_string())
    }
}

impl Server {
    /// Moves the roles that are approved to those that are given. An error says why that is not known.
    pub(super) async fn settle(
        &self,
        exchange: &Exchange<'_>,
        decision: &mut Decision,
        identity: &Identity,
    ) -> Result<(), String> {
        let Some(files) = &exchange.current.approvals else { return Ok(()) };
        let ledger = self.ledger(files, RECENT).await.map_err(|error| error.to_string())?;
        let (rules, now) = (&exchange.current.rules, self.now());
        decision.settle(|grant| {
            let rule = rules.needs_approval(&grant.rule)?;
            ledger.approval(identity, grant, rule.approval.life, now)
        });
        Ok(())
    }

    /// The answer to a person who may have a role when another approves.
    pub(super) async fn unapproved(&self, exchange: &Exchange<'_>, grant: &Grant, identity: Identity) -> Reply {
        let Exchange { current, mount, .. } = *exchange;
        let ledger = match &current.approvals {
            Some(files) => self.ledger(files, RECENT).await,
            None => Ok(Arc::default()),
        };
        let ledger = match ledger {
            Ok(ledger) => ledger,
            Err(error) => return unavailable(exchange, error.to_string(), identity),
        };
        let newest = ledger.newest(&identity, grant);
        let why = protocol::why_not(newest, self.now());
        let answer = Answer::unapproved(mount, grant, newest, &why, &identity.name);
        let why = format!("rule {:?} needs the approval of another person; {why}", grant.rule);
        Reply::new(Ending::Denied, mount, answer).because(why).about(grant.clone()).by(identity)
    }

    /// The routes of requests.
    pub(super) async fn approvals(
        &self,
        exchange: &Exchange<'_>,
        route: &Route,
        decision: &Decision,
        identity: Identity,
    ) -> Reply {
        let Some(files) = &exchange.current.approvals else {
            return denied(exchange, StatusCode::NOT_FOUND, "No rule of this server needs an approval", identity);
        };
        let answered = match route {
            Route::Ask { account, role } => match decision.unapproved(account, role) {
                Some(grant) if decision.grant(account, role).is_none() => {
                    self.ask(exchange, files, grant, &identity).await
                }
                _ => Err(Failed::Denied(StatusCode::FORBIDDEN, "No rule gives you this role on approval".to_owned())),
            },
            Route::Judge { id, action } => self.judge(exchange, files, id, *action, &identity).await,
            _ => self.requests(exchange, files, &identity).await,
        };
        match answered {
            Ok(answer) => Reply::new(Ending::Answered, exchange.mount, answer).by(identity),
            Err(Failed::Denied(status, why)) => denied(exchange, status, &why, identity),
            Err(Failed::Unavailable(why)) => unavailable(exchange, why, identity),
        }
    }

    async fn ask(
        &self,
        exchange: &Exchange<'_>,
        files: &Arc<RecordFiles>,
        grant: &Grant,
        identity: &Identity,
    ) -> Result<Answer, Failed> {
        let reason = protocol::reason(&exchange.head.headers);
        let reason = reason.map_err(|why| Failed::Denied(StatusCode::BAD_REQUEST, protocol::needs_reason(why)))?;
        let _alone = files.alone().await?;
        let ledger = self.ledger(files, JUST_NOW).await?;
        let now = self.now();
        let life = exchange.current.rules.needs_approval(&grant.rule).map(|rule| rule.approval.life);
        let given = life.and_then(|life| ledger.approval(identity, grant, life, now)).is_some();
        let pending = |entry: &&Entry| given || entry.state(now) == State::Open;
        if let Some(entry) = ledger.newest(identity, grant).filter(pending) {
            return Ok(Answer::request(StatusCode::OK, entry, now, identity));
        }
        if let Some(why) = ledger.full(identity, now) {
            return Err(Failed::Denied(StatusCode::TOO_MANY_REQUESTS, why.to_owned()));
        }
        let request = approvals::request(new_id()?, identity, grant, &reason, now);
        let entry = Entry { request, answer: None };
        self.recorded(exchange, identity, &entry, "approval_requested").await.map_err(Failed::Unavailable)?;
        let request = entry.request.clone();
        let write = move |files: &RecordFiles| {
            files.clean(&ledger, now);
            files.add(&request)
        };
        files.apart(write).await?;
        Ok(Answer::request(StatusCode::CREATED, &entry, now, identity))
    }

    async fn judge(
        &self,
        exchange: &Exchange<'_>,
        files: &Arc<RecordFiles>,
        id: &Id,
        action: Action,
        identity: &Identity,
    ) -> Result<Answer, Failed> {
        let note = protocol::note(&exchange.head.headers);
        let note = note.map_err(|why| Failed::Denied(StatusCode::BAD_REQUEST, protocol::needs_reason(why)))?;
        let ledger = self.ledger(files, JUST_NOW).await?;
        let now = self.now();
        let entry = ledger.entries.get(id).ok_or(Refusal::Unknown)?;
        let rule = exchange.current.rules.needs_approval(&entry.request.rule);
        let answering = Answering { identity, peer: &exchange.client.peer, now };
        let answer = answering.answer(entry, rule, action, note.as_deref())?;
        let replaces = entry.state(now) == State::Approved;
        let entry = Entry { request: entry.request.clone(), answer: Some(answer.clone()) };
        let event = match action {
            Action::Approve => "approval_given",
            Action::Refuse => "approval_refused",
            Action::Revoke => "approval_revoked",
        };
        match self.recorded(exchange, identity, &entry, event).await {
            // What takes access away does not wait for the audit.
            Err(why) if action == Action::Revoke => tracing::error!("approval {} is revoked, but {why}", id.as_str()),
            recorded => recorded.map_err(Failed::Unavailable)?,
        }
        let write = move |files: &RecordFiles| if replaces { files.revoke(&answer) } else { files.add(&answer) };
        files.apart(write).await?;
        Ok(Answer::request(StatusCode::OK, &entry, now, identity))
    }

    async fn requests(
        &self,
        exchange: &Exchange<'_>,
        files: &Arc<RecordFiles>,
        identity: &Identity,
    ) -> Result<Answer, Failed> {
        let ledger = self.ledger(files, RECENT).await?;
        let answering = Answering { identity, peer: &exchange.client.peer, now: self.now() };
        let rules = &exchange.current.rules;
        let seen = |entry: &&Entry| answering.sees(entry, rules.needs_approval(&entry.request.rule));
        let mut entries: Vec<&Entry> = ledger.entries.values().filter(seen).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.request.at));
        Ok(Answer::requests(&entries, answering.now, identity))
    }

    /// What the records say: now, or `within` this time.
    async fn ledger(&self, files: &Arc<RecordFiles>, within: Duration) -> Result<Arc<Ledger>, FilesError> {
        let now = self.moment();
        match files.recent(now, within) {
            Some(ledger) => Ok(ledger),
            None => files.apart(move |files| files.read(now, within)).await,
        }
    }

    /// Logs, counts and records what happens to a request, before it does.
    async fn recorded(
        &self,
        exchange: &Exchange<'_>,
        identity: &Identity,
        entry: &Entry,
        event: &'static str,
    ) -> Result<(), String> {
        let Exchange { mount, client, head, .. } = *exchange;
        let path = printable(head.uri.path(), 500);
        let record = Record::new(Ending::Answered, &mount.prefix, client, &path, self.now());
        let line = serde_json::to_string(&record.by(identity).approval(event, entry)).map_err(|e| e.to_string())?;
        self.write_through(line).await?;
        let (request, name) = (&entry.request, printable(&identity.name, 100));
        let said = entry.answer.as_ref().map_or(Some(request.reason.as_str()), |answer| answer.note.as_deref());
        let said = said.map(|said| format!(": {said}")).unwrap_or_default();
        let of = printable(&request.by.name, 100);
        notice!("{event} {}: by {name}, for {of}: {}/{}{said}", request.id.as_str(), request.account, request.role);
        self.counters().approval(event);
        Ok(())
    }
}

fn denied(exchange: &Exchange<'_>, status: StatusCode, why: &str, identity: Identity) -> Reply {
    let answer = Answer::error(status, why, Some(&identity.name));
    Reply::new(Ending::Denied, exchange.mount, answer).because(why).by(identity)
}

pub(super) fn unavailable(exchange: &Exchange<'_>, why: String, identity: Identity) -> Reply {
    let message = "Approvals cannot be looked up at the moment";
    let answer = Answer::unavailable(message, Some(&identity.name), RETRY_AFTER);
    Reply::new(Ending::Unavailable, exchange.mount, answer).because(why).by(identity)
}
