//! Approvals by another person: signed records of requests and answers, and what follows from them. Pure: records, key
//! and time in, decision out.

mod ledger;
mod record;
mod seal;

pub use ledger::{Entry, Fault, Ledger, OPEN, Revoked, State};
pub use record::{Answer, Id, MAX_FILE, Person, Record, Request, Word};
pub use seal::{Key, KeyError};

use jiff::Timestamp;

use crate::{
    clock::system_time,
    identity::{Identity, Peer},
    rules::{Grant, NeedsApproval},
};

/// What a person wants to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To give the role.
    Approve,
    /// Not to give it.
    Refuse,
    /// To take back what was given, or asked for.
    Revoke,
}

impl Action {
    /// What it makes of the request.
    pub fn word(self) -> Word {
        match self {
            Self::Approve => Word::Approved,
            Self::Refuse => Word::Refused,
            Self::Revoke => Word::Revoked,
        }
    }
}

/// Why a person may not do that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The caller is not told of this request, if there is one.
    #[error("there is no such request for you")]
    Unknown,
    /// It is not for this person to answer.
    #[error("{0}")]
    NotYours(String),
    /// It is too late.
    #[error("the request is {} already", .0.as_str())]
    Settled(State),
}

/// The request of `identity` for the role of `grant`.
pub fn request(id: Id, identity: &Identity, grant: &Grant, reason: &str, now: Timestamp) -> Request {
    Request {
        id,
        at: now,
        by: Person::of(identity),
        rule: grant.rule.clone(),
        account: grant.account.name.clone(),
        role: grant.role.as_str().to_owned(),
        arn: grant.arn.as_str().to_owned(),
        reason: reason.to_owned(),
    }
}

/// The caller who wants to answer, and when.
#[derive(Debug, Clone, Copy)]
pub struct Answering<'a> {
    /// Who.
    pub identity: &'a Identity,
    /// From where.
    pub peer: &'a Peer,
    /// The wall clock.
    pub now: Timestamp,
}

impl Answering<'_> {
    /// Whether the person is shown this request, whose rule now is `rule`: the requester, and everybody whom the rule names.
    /// An attempt to answer says what is missing, such as a newer sign-in.
    pub fn sees(&self, entry: &Entry, rule: Option<NeedsApproval<'_>>) -> bool {
        entry.request.by.is(self.identity) || self.judges(entry, rule) != Err(Refusal::Unknown)
    }

    /// The answer to `entry`, or why there is none.
    pub fn answer(
        &self,
        entry: &Entry,
        rule: Option<NeedsApproval<'_>>,
        action: Action,
        note: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let Self { identity, now, .. } = *self;
        let own = entry.request.by.is(identity);
        if !(own && action == Action::Revoke) {
            self.judges(entry, rule)?;
        }
        let state = entry.state(now);
        let until = match (action, state) {
            (Action::Approve, State::Open) => {
                let life = rule.map(|rule| rule.approval.life).unwrap_or_default();
                ledger::later(now, life)
            }
            (Action::Refuse | Action::Revoke, State::Open) => now,
            (Action::Revoke, State::Approved) => entry.end(),
            (_, state) => return Err(Refusal::Settled(state)),
        };
        let (id, by) = (entry.request.id.clone(), Person::of(identity));
        Ok(Answer { id, at: now, by, word: action.word(), until, note: note.map(str::to_owned) })
    }

    /// Whether the person may judge the request of another.
    fn judges(&self, entry: &Entry, rule: Option<NeedsApproval<'_>>) -> Result<(), Refusal> {
        let Self { identity, peer, now } = *self;
        let own = entry.request.by.is(identity);
        let no_rule = || Refusal::NotYours("its rule needs no approval any more".to_owned());
        let Some(rule) = rule else { return Err(if own { no_rule() } else { Refusal::Unknown }) };
        if !rule.approval.is_by(identity, peer) && !own {
            return Err(Refusal::Unknown);
        }
        let by = &entry.request.by;
        if by.may_be(identity) {
            return Err(Refusal::NotYours("another person has to answer, and you may be the requester".to_owned()));
        }
        // Within one method a name is a person. Two methods may know one person by two names.
        if by.proven_by != identity.proven_by && rule.approval.by.method.is_none() {
            return Err(Refusal::NotYours(format!(
                "the request was made with the identity method {}, and has to be answered with it",
                by.proven_by
            )));
        }
        match rule.strength.lacks(identity, system_time(now)) {
            Some(lack) => Err(Refusal::NotYours(lack)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
