//! Counters of answers by status and of refusals by reason, and how long answers took. All relaxed: a request adds to four of
//! them.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{answer::Answer, caller_class::CallerClass, denial::Denial, face::Face, request::Request, seen::Seen};
use crate::open_metrics::Histogram;

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
const NOT_HTTP: [&str; 2] = ["", ""];

/// From an answer that is there to one that waited for a first fetch, or for a real IMDS.
const BUCKETS: &[Duration] = &[
    Duration::from_micros(100),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// The counters.
#[derive(Debug)]
pub struct Counters {
    /// One row for each version of each face, and one for what was no request.
    rows: Vec<Row>,
    denials: [AtomicU64; Denial::ALL.len()],
    ended: [AtomicU64; Ended::ALL.len()],
    /// Who was served, where that is to be remembered.
    seen: OnceLock<Seen>,
}

#[derive(Debug)]
struct Row {
    /// The words for the face and the version.
    protocol: [&'static str; 2],
    answers: [[AtomicU64; STATUSES.len()]; CallerClass::ALL.len()],
    took: Histogram,
}

/// How often callers of a kind got a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The words for the face and the version of its protocol.
    pub protocol: [&'static str; 2],
    /// Who they were.
    pub caller: CallerClass,
    /// What they got.
    pub status: u16,
    /// How often.
    pub count: u64,
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
        let protocols = faces.iter().flat_map(|face| match face.versions() {
            [] => vec![[face.name(), ""]],
            versions => versions.iter().map(|version| [face.name(), *version]).collect(),
        });
        let row = |protocol| Row { protocol, answers: Default::default(), took: Histogram::new(BUCKETS) };
        let rows = protocols.chain([NOT_HTTP]).map(row).collect();
        Self { rows, denials: Default::default(), ended: Default::default(), seen: OnceLock::new() }
    }

    /// From now on it is remembered who is served.
    pub fn remember_callers(&self) {
        self.seen.get_or_init(Seen::default);
    }

    /// Who was served, where that is remembered.
    pub fn seen(&self) -> Option<&Seen> {
        self.seen.get()
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

    /// A request of a caller is answered; `None` stands for what was no request. The row in which that was counted.
    pub(super) fn count(
        &self,
        face: &dyn Face,
        request: Option<&Request>,
        caller: CallerClass,
        answer: &Answer,
    ) -> usize {
        let column = STATUSES.iter().position(|known| *known == answer.status.code()).unwrap_or(STATUSES.len() - 1);
        let protocol = request.map_or(NOT_HTTP, |request| [face.name(), face.version(request).unwrap_or_default()]);
        let row = self.rows.iter().position(|row| row.protocol == protocol).unwrap_or(self.rows.len());
        let counter = self.rows.get(row).and_then(|row| row.answers.get(caller as usize)?.get(column));
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(counter) = answer.denied.and_then(|denial| self.denials.get(denial as usize)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        row
    }

    /// The answer that was counted in that row took so long.
    pub(super) fn answered(&self, row: usize, took: Duration) {
        if let Some(row) = self.rows.get(row) {
            row.took.observe(took);
        }
    }

    /// How often requests by each version of each face's protocol got each status: what there was, and the
    /// successes of protocols with versions, so that the first is seen as a change.
    pub fn answers(&self) -> impl Iterator<Item = Answered> + '_ {
        self.rows.iter().flat_map(|Row { protocol, answers, .. }| {
            CallerClass::ALL.into_iter().zip(answers).flat_map(move |(caller, by_status)| {
                let cells = STATUSES.into_iter().zip(by_status).map(move |(status, counter)| Answered {
                    protocol: *protocol,
                    caller,
                    status,
                    count: counter.load(Ordering::Relaxed),
                });
                cells.filter(|cell| cell.count > 0 || cell.status == 200 && !cell.protocol[1].is_empty())
            })
        })
    }

    /// How long answers took by each version of each face's protocol, from the whole head of the request to the first byte of
    /// the answer.
    pub fn took(&self) -> impl Iterator<Item = ([&'static str; 2], &Histogram)> {
        let used = |row: &&Row| row.protocol != NOT_HTTP && !row.took.sum().is_zero();
        self.rows.iter().filter(used).map(|row| (row.protocol, &row.took))
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
        for (face, request, status, protocol) in [
            (imds::FACE, "GET / HTTP/1.1\r\n\r\n", Status::Ok, ["imds", "v1"]),
            (imds::FACE, "PUT /latest/api/token HTTP/1.1\r\n\r\n", Status::BadRequest, ["imds", "v2"]),
            (imds::FACE, token, Status::Unauthorized, ["imds", "v2"]),
            (ecs::FACE, token, Status::NotFound, ["container", ""]),
            (pod_identity::FACE, token, Status::NotFound, ["pod-identity", ""]),
            (ecs::EXEC, token, Status::NotFound, ["exec", ""]),
        ] {
            for denied in Denial::ALL.map(Some).into_iter().chain([None]) {
                let counters = Counters::of(&protocols());
                let Parsed::Whole(request, _) = parse(request.as_bytes(), &face.headers(), &[]) else {
                    panic!("{request:?}")
                };
                let (caller, answer) = (CallerClass::User, Answer { status, ..face.error(status) }.denied(denied));
                let row = counters.count(face, Some(&request), caller, &answer);
                counters.answered(row, Duration::from_micros(200));
                let answers = counters.answers().filter(|cell| cell.count > 0);
                let expected = Answered { protocol, caller, status: status.code(), count: 1 };
                assert_eq!(answers.collect::<Vec<_>>(), [expected]);
                assert_eq!(counters.took().map(|(protocol, _)| protocol).collect::<Vec<_>>(), [protocol]);
                let denials = counters.denials().filter(|(_, count)| *count > 0);
                let expected: Vec<_> = denied.map(|denial| (denial, 1)).into_iter().collect();
                assert_eq!(denials.collect::<Vec<_>>(), expected);
            }
        }
    }
}
