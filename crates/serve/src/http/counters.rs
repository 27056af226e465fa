//! Counters of answers by status and of refusals by reason. Plain counters: a request adds to two of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{answer::Answer, denial::Denial, request::Request};
use crate::faces::face::Face;

/// A face and the version of its protocol that a request used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// IMDS without a token.
    ImdsV1,
    /// IMDS with a token, or asking for one.
    ImdsV2,
    /// As ECS's agent, and any URL with a token.
    Ecs,
    /// As the EKS Pod Identity agent.
    PodIdentity,
    /// As ECS's agent, for programs that `alppaca exec` started.
    Exec,
    /// What was no request.
    NotHttp,
}

/// Why a connection was ended before its client wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its time was over.
    Late,
    /// There were as many as may be, and its owner had most.
    Full,
    /// No more files could be opened, and its owner had most.
    Files,
    /// There were as many as may be, and all others were being answered.
    Refused,
}

/// The statuses that are counted separately; any other one is counted as the last.
const STATUSES: [u16; 11] = [200, 400, 401, 403, 404, 405, 429, 431, 500, 502, 503];

/// The counters.
#[derive(Debug, Default)]
pub struct Counters {
    answers: [[AtomicU64; STATUSES.len()]; Protocol::ALL.len()],
    denials: [AtomicU64; Denial::ALL.len()],
    ended: [AtomicU64; Ended::ALL.len()],
}

impl Protocol {
    /// All.
    pub const ALL: [Self; 6] = [Self::ImdsV1, Self::ImdsV2, Self::Ecs, Self::PodIdentity, Self::Exec, Self::NotHttp];

    /// The words for the face and the version.
    pub fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::ImdsV1 => ("imds", "v1"),
            Self::ImdsV2 => ("imds", "v2"),
            Self::Ecs => (Face::Ecs.as_str(), ""),
            Self::PodIdentity => (Face::PodIdentity.as_str(), ""),
            Self::Exec => (Face::Exec.as_str(), ""),
            Self::NotHttp => ("", ""),
        }
    }

    fn of(face: Face, request: Option<&Request>) -> Self {
        match (face, request) {
            (_, None) => Self::NotHttp,
            (Face::Imds, Some(request)) if request.token.is_some() || request.method == "PUT" => Self::ImdsV2,
            (Face::Imds, Some(_)) => Self::ImdsV1,
            (Face::Ecs, Some(_)) => Self::Ecs,
            (Face::PodIdentity, Some(_)) => Self::PodIdentity,
            (Face::Exec, Some(_)) => Self::Exec,
        }
    }
}

impl Ended {
    /// All.
    pub const ALL: [Self; 4] = [Self::Late, Self::Full, Self::Files, Self::Refused];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Full => "full",
            Self::Files => "files",
            Self::Refused => "refused",
        }
    }
}

impl Counters {
    /// Counts connections that were ended.
    pub(super) fn ended(&self, why: Ended, count: usize) {
        if let Some(counter) = self.ended.get(why as usize) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// How many connections were ended for each reason.
    pub fn connections_ended(&self) -> impl Iterator<Item = (Ended, u64)> + '_ {
        Ended::ALL.into_iter().zip(&self.ended).map(|(why, counter)| (why, counter.load(Ordering::Relaxed)))
    }

    /// A request was answered; `None` stands for what was no request.
    pub(super) fn count(&self, face: Face, request: Option<&Request>, answer: &Answer) {
        let column = STATUSES.iter().position(|known| *known == answer.status.code()).unwrap_or(STATUSES.len() - 1);
        let row = self.answers.get(Protocol::of(face, request) as usize);
        if let Some(counter) = row.and_then(|row| row.get(column)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(counter) = answer.denied.and_then(|denial| self.denials.get(denial as usize)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often requests of each protocol were answered with each status, where that ever happened.
    pub fn answers(&self) -> impl Iterator<Item = (Protocol, u16, u64)> + '_ {
        Protocol::ALL.into_iter().zip(&self.answers).flat_map(|(protocol, row)| {
            let cells = STATUSES.into_iter().zip(row);
            cells.map(move |(status, counter)| (protocol, status, counter.load(Ordering::Relaxed)))
        })
    }

    /// How often requests were refused for each reason.
    pub fn denials(&self) -> impl Iterator<Item = (Denial, u64)> + '_ {
        Denial::ALL.into_iter().zip(&self.denials).map(|(denial, counter)| (denial, counter.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            answer::Status,
            request::{Parsed, parse},
        },
        *,
    };

    #[test]
    fn each_answer_is_counted_once_with_its_protocol_and_its_reason() {
        let token = "GET / HTTP/1.1\r\nX-aws-ec2-metadata-token: x\r\n\r\n";
        for (face, request, status, protocol) in [
            (Face::Imds, "GET / HTTP/1.1\r\n\r\n", Status::Ok, Protocol::ImdsV1),
            (Face::Imds, "PUT /latest/api/token HTTP/1.1\r\n\r\n", Status::BadRequest, Protocol::ImdsV2),
            (Face::Imds, token, Status::Unauthorized, Protocol::ImdsV2),
            (Face::Ecs, token, Status::NotFound, Protocol::Ecs),
            (Face::PodIdentity, token, Status::NotFound, Protocol::PodIdentity),
            (Face::Exec, token, Status::NotFound, Protocol::Exec),
        ] {
            for denied in Denial::ALL.map(Some).into_iter().chain([None]) {
                let counters = Counters::default();
                let Parsed::Whole(request, _) = parse(request.as_bytes()) else { panic!("{request:?}") };
                counters.count(face, Some(&request), &Answer::error(status).denied(denied));
                let answers = counters.answers().filter(|(_, _, count)| *count > 0);
                assert_eq!(answers.collect::<Vec<_>>(), [(protocol, status.code(), 1)]);
                let denials = counters.denials().filter(|(_, count)| *count > 0);
                let expected: Vec<_> = denied.map(|denial| (denial, 1)).into_iter().collect();
                assert_eq!(denials.collect::<Vec<_>>(), expected);
            }
        }
    }
}
