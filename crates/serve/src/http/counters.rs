//! Counters of answers by status and of refusals by reason. Plain counters: a request adds to two of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{answer::Answer, denial::Denial, face::Face, request::Request};

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

/// What was no request has neither a face nor a version.
const NOT_HTTP: (&str, &str) = ("", "");

/// The counters.
#[derive(Debug)]
pub struct Counters {
    /// One row for each version of each face.
    answers: Vec<Row>,
    denials: [AtomicU64; Denial::ALL.len()],
    ended: [AtomicU64; Ended::ALL.len()],
}

#[derive(Debug)]
struct Row {
    /// The words for the face and the version.
    labels: (&'static str, &'static str),
    by_status: [AtomicU64; STATUSES.len()],
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
    /// Counters that stand at zero, for these faces.
    pub fn of(faces: &[&dyn Face]) -> Self {
        let labels = faces.iter().flat_map(|face| match face.versions() {
            [] => vec![(face.name(), "")],
            versions => versions.iter().map(|version| (face.name(), *version)).collect(),
        });
        let row = |labels| Row { labels, by_status: Default::default() };
        let answers = labels.chain([NOT_HTTP]).map(row).collect();
        Self { answers, denials: Default::default(), ended: Default::default() }
    }

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
    pub(super) fn count(&self, face: &dyn Face, request: Option<&Request>, answer: &Answer) {
        let column = STATUSES.iter().position(|known| *known == answer.status.code()).unwrap_or(STATUSES.len() - 1);
        let labels = request.map_or(NOT_HTTP, |request| (face.name(), face.version(request).unwrap_or_default()));
        let row = self.answers.iter().find(|row| row.labels == labels);
        if let Some(counter) = row.and_then(|row| row.by_status.get(column)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(counter) = answer.denied.and_then(|denial| self.denials.get(denial as usize)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often requests to each face, by each version of its protocol, were answered with each status.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, &'static str, u16, u64)> + '_ {
        self.answers.iter().flat_map(|Row { labels: (face, version), by_status }| {
            let cells = STATUSES.into_iter().zip(by_status);
            cells.map(|(status, counter)| (*face, *version, status, counter.load(Ordering::Relaxed)))
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
    use crate::faces::{ecs, imds, pod_identity, protocols};

    #[test]
    fn each_answer_is_counted_once_with_its_protocol_and_its_reason() {
        let token = "GET / HTTP/1.1\r\nX-aws-ec2-metadata-token: x\r\n\r\n";
        for (face, request, status, (name, version)) in [
            (imds::FACE, "GET / HTTP/1.1\r\n\r\n", Status::Ok, ("imds", "v1")),
            (imds::FACE, "PUT /latest/api/token HTTP/1.1\r\n\r\n", Status::BadRequest, ("imds", "v2")),
            (imds::FACE, token, Status::Unauthorized, ("imds", "v2")),
            (ecs::FACE, token, Status::NotFound, ("container", "")),
            (pod_identity::FACE, token, Status::NotFound, ("pod-identity", "")),
            (ecs::EXEC, token, Status::NotFound, ("exec", "")),
        ] {
            for denied in Denial::ALL.map(Some).into_iter().chain([None]) {
                let counters = Counters::of(&protocols());
                let Parsed::Whole(request, _) = parse(request.as_bytes(), &face.headers(), &[]) else {
                    panic!("{request:?}")
                };
                counters.count(face, Some(&request), &Answer { status, ..face.error(status) }.denied(denied));
                let answers = counters.answers().filter(|(.., count)| *count > 0);
                assert_eq!(answers.collect::<Vec<_>>(), [(name, version, status.code(), 1)]);
                let denials = counters.denials().filter(|(_, count)| *count > 0);
                let expected: Vec<_> = denied.map(|denial| (denial, 1)).into_iter().collect();
                assert_eq!(denials.collect::<Vec<_>>(), expected);
            }
        }
    }
}
