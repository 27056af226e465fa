//! The audit event of an answer, and the answer to send if the event cannot be recorded.

use super::Exchange;
use crate::{
    audit::{Event, What},
    clock::Moment,
    http::{
        answer::{Answer, Status},
        denial::Denial,
        request::Request,
        seen::Who,
    },
    text::Cut,
};

impl Exchange {
    /// The answer to give: `answer`, unless it hands out credentials that have to be recorded and cannot be. Has the audit
    /// take note of hand-outs and of denials.
    pub(super) fn audited(&self, request: &Request, answer: Answer, now: Moment) -> Answer {
        let answer = self.recorded(request, answer, now);
        self.remember(request, &answer, now);
        answer
    }

    /// Takes note of who got what, where the status page shows that.
    fn remember(&self, request: &Request, answer: &Answer, now: Moment) {
        let Some(seen) = self.context.counters.seen() else { return };
        let issued = answer.issued.as_ref().filter(|_| request.method != "HEAD");
        if issued.is_some() || answer.denied.is_some() {
            let who = Who::of(self.client.peer().owner(), answer.pod.as_deref());
            seen.note(who, answer.denied, now.wall);
        }
    }

    fn recorded(&self, request: &Request, answer: Answer, now: Moment) -> Answer {
        let auditor = &self.context.auditor;
        match (&answer.issued, answer.denied) {
            (Some(issued), _) if auditor.records() && request.method != "HEAD" => {
                let what = What::Issued {
                    role: issued.role.clone(),
                    access_key_id: issued.set.access_key_id.clone(),
                    expiration: issued.set.expiration,
                    pod: answer.pod.clone(),
                };
                if auditor.hand_out(self.event(request, what, now)) {
                    answer
                } else {
                    self.face.error(Status::Unavailable)
                }
            }
            (None, Some(Denial::Policy | Denial::Unidentified)) => {
                let path = Cut::for_audit(self.face.loggable(request.target).as_bytes()).to_string();
                let what = What::Denied { path: path.into(), pod: answer.pod.clone() };
                auditor.denial(self.event(request, what, now), now);
                answer
            }
            _ => answer,
        }
    }

    fn event(&self, request: &Request, what: What, now: Moment) -> Event {
        let peer = self.client.peer();
        Event {
            time: now.wall,
            peer: peer.clone(),
            container: self.context.gatekeeper.container(peer),
            what,
            more: 0,
            reason: self.client.reason(),
            face: self.face.name(),
            version: self.face.version(request),
            user_agent: request.user_agent.map(|agent| Cut::for_audit(agent).to_string().into()),
        }
    }
}
