//! What the admin socket answers about people who sign in: only to the daemon's own account and root, since the person who
//! signs in gives this account roles. Pure: `sign_in` does the work.

use serde::de::DeserializeOwned;

use super::{
    PeerCredentials,
    document::{Code, SignInNeeded},
    reply::{Call, Outcome, Reply},
    respond::Admin,
    sign_in_document::{
        BeginRequest, Begun, CallbackRequest, MethodWord, ProgressDocument, SignInStatus, SignInsDocument,
        SignOutRequest,
    },
};
use crate::{
    credentials::{Secret, format_timestamp},
    sign_in::{BeginError, Callback, Method, Progress, Report},
};

impl Admin {
    /// The sources for which a person has to sign in.
    pub(super) fn sign_in_needed(&self, with_reasons: bool) -> Vec<SignInNeeded> {
        let needed = |(source, report): (String, Report)| {
            let reason = report.needed?;
            Some(SignInNeeded { source, reason: with_reasons.then_some(reason) })
        };
        self.sign_ins.reports().into_iter().filter_map(needed).collect()
    }

    /// Answers a request below `/v1/sign-in` or `/v1/sign-out`.
    pub(super) fn sign_in_call(&self, segments: &[&str], call: Call, caller: &PeerCredentials) -> Outcome {
        if caller.uid != 0 && caller.uid != self.own_uid {
            return Outcome::error(Code::Forbidden, "sign-ins are for the daemon's own account and root");
        }
        match (segments, call.method) {
            (["v1", "sign-in"], "GET") => {
                let sign_ins = self.sign_ins.reports().into_iter().map(status).collect();
                Outcome::Reply(Reply::json(200, &SignInsDocument { sign_ins }))
            }
            (["v1", "sign-in"], "POST") => self.begin(call.body),
            (["v1", "sign-in", attempt], "GET") => self.progress(attempt, false),
            (["v1", "sign-in", attempt, "end"], "GET") => self.progress(attempt, true),
            (["v1", "sign-in", attempt], "POST") => self.come_back(attempt, call.body),
            (["v1", "sign-out"], "POST") => match read::<SignOutRequest>(call.body) {
                Ok(request) => {
                    self.sign_ins.sign_out(request.source.as_deref()).map_or_else(|error| refused(&error), |()| done())
                }
                Err(outcome) => outcome,
            },
            (["v1", "sign-in"] | ["v1", "sign-in", _], _) => not_allowed(call.method, "GET, POST"),
            (["v1", "sign-in", _, "end"], _) => not_allowed(call.method, "GET"),
            (["v1", "sign-out"], _) => not_allowed(call.method, "POST"),
            _ => Outcome::error(Code::NoSuchPath, format!("there is nothing at {}", call.path)),
        }
    }

    fn begin(&self, body: &[u8]) -> Outcome {
        let BeginRequest { source, method, port, agent } = match read(body) {
            Ok(request) => request,
            Err(outcome) => return outcome,
        };
        let method = match (method, port, agent) {
            (MethodWord::Browser, Some(port), None) => Method::Browser { port },
            (MethodWord::Device, None, None) => Method::Device,
            (MethodWord::Agent, None, socket) => Method::Agent { socket },
            _ => {
                return Outcome::error(
                    Code::BadRequest,
                    "only a browser has a `port`, and only an ssh-agent an `agent`",
                );
            }
        };
        match self.sign_ins.begin(source.as_deref(), method) {
            Ok(attempt) => Outcome::Reply(Reply::json(200, &Begun { attempt })),
            Err(error) => refused(&error),
        }
    }

    /// How far an attempt is, as soon as there is anything to do, or as soon as it is over.
    fn progress(&self, attempt: &str, end: bool) -> Outcome {
        let Some(progress) = self.sign_ins.progress(attempt) else { return no_attempt() };
        let waits = match &progress {
            Progress::Done { .. } | Progress::Failed(_) => false,
            Progress::Preparing => true,
            Progress::Browser { .. } | Progress::Paste { .. } | Progress::Device { .. } | Progress::Finishing => end,
        };
        let reply = Reply::json(200, &document(progress));
        if waits { Outcome::Wait(reply) } else { Outcome::Reply(reply) }
    }

    fn come_back(&self, attempt: &str, body: &[u8]) -> Outcome {
        let CallbackRequest { code, state, iss, error, error_description } = match read(body) {
            Ok(request) => request,
            Err(outcome) => return outcome,
        };
        let given = |secret: Secret| Some(secret).filter(|secret| !secret.expose().is_empty());
        let callback = Callback { code: given(code), state: given(state), iss, error, error_description };
        if self.sign_ins.come_back(attempt, callback) { done() } else { no_attempt() }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Outcome> {
    // What is wrong is not told in the words of the parser, which may quote a secret.
    serde_json::from_slice(body)
        .map_err(|_| Outcome::error(Code::BadRequest, "this is not the JSON that is expected here"))
}

fn done() -> Outcome {
    Outcome::Reply(Reply::json(200, &serde_json::json!({})))
}

fn no_attempt() -> Outcome {
    Outcome::error(Code::NoSuchPath, "there is no such attempt to sign in any more")
}

fn refused(error: &BeginError) -> Outcome {
    let code = match error {
        BeginError::NotNow => Code::Busy,
        BeginError::None | BeginError::Unknown(..) | BeginError::Several(_) => Code::BadRequest,
    };
    Outcome::error(code, error.to_string())
}

fn not_allowed(method: &str, allow: &'static str) -> Outcome {
    let reply = Reply::error(Code::MethodNotAllowed, format!("{method} is not supported here"));
    Outcome::Reply(Reply { allow: Some(allow), ..reply })
}

fn status((source, report): (String, Report)) -> SignInStatus {
    let Report { kind, issuer, redirect_url, person, key, renewed, needed, problem, signed_out: _ } = report;
    let (person, mut since) = person.unzip();
    let mut name = person.as_ref().map(|person| person.name.clone()).filter(|name| !name.is_empty());
    if let Some((fingerprint, at)) = key {
        (name, since) = (Some(fingerprint), Some(at));
    }
    SignInStatus {
        source,
        kind: kind.to_owned(),
        issuer,
        redirect_url,
        signed_in: needed.is_none(),
        name,
        subject: person.as_ref().map(|person| person.subject.clone()),
        groups: person.as_ref().map(|person| person.groups.clone()).unwrap_or_default(),
        since: since.map(format_timestamp),
        until: person.map(|person| format_timestamp(person.until)),
        renewed,
        needed,
        problem,
    }
}

fn document(progress: Progress) -> ProgressDocument {
    match progress {
        Progress::Preparing => ProgressDocument::Preparing,
        Progress::Browser { url } => ProgressDocument::Browser { url },
        Progress::Paste { url } => ProgressDocument::Paste { url },
        Progress::Device { code, url, complete_url, seconds } => {
            ProgressDocument::Device { code, url, complete_url, seconds }
        }
        Progress::Finishing => ProgressDocument::Finishing,
        Progress::Done { name } => ProgressDocument::Done { name },
        Progress::Failed(message) => ProgressDocument::Failed { message },
    }
}
