//! How often was answered what, and how often was refused why. Plain counters: a request adds to two of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{answer::Status, face::Face, request::Request};

/// A face and the version of its protocol that a request used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// IMDS without a token.
    ImdsV1,
    /// IMDS with a token, or asking for one.
    ImdsV2,
    /// As ECS's agent, and any URL with a token.
    Container,
    /// As the EKS Pod Identity agent.
    PodIdentity,
    /// What was no request.
    NotHttp,
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// A proxy passed it on (`X-Forwarded-For`).
    Forwarded,
    /// It came from a web page.
    WebPage,
    /// Its `Host` may be a rebound DNS name.
    Host,
    /// It needs a token and had none.
    NoToken,
    /// Its token is none of ours, somebody else's, or over.
    BadToken,
    /// Another face says no: a host name, another role's token, a role that the upstream refuses.
    Refused,
    /// There is no role for who asked.
    Policy,
}

/// The statuses that are told apart; another one is counted as the last.
const STATUSES: [u16; 11] = [200, 400, 401, 403, 404, 405, 429, 431, 500, 502, 503];

/// The counters.
#[derive(Debug, Default)]
pub struct Counters {
    answers: [[AtomicU64; STATUSES.len()]; Protocol::ALL.len()],
    denials: [AtomicU64; Denial::ALL.len()],
}

impl Protocol {
    /// All.
    pub const ALL: [Self; 5] = [Self::ImdsV1, Self::ImdsV2, Self::Container, Self::PodIdentity, Self::NotHttp];

    /// The words for the face and the version.
    pub fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::ImdsV1 => ("imds", "v1"),
            Self::ImdsV2 => ("imds", "v2"),
            Self::Container => (Face::Container.as_str(), ""),
            Self::PodIdentity => (Face::PodIdentity.as_str(), ""),
            Self::NotHttp => ("", ""),
        }
    }

    fn of(face: Face, request: Option<&Request>) -> Self {
        match (face, request) {
            (_, None) => Self::NotHttp,
            (Face::Imds, Some(request)) if request.token.is_some() || request.method == "PUT" => Self::ImdsV2,
            (Face::Imds, Some(_)) => Self::ImdsV1,
            (Face::Container, Some(_)) => Self::Container,
            (Face::PodIdentity, Some(_)) => Self::PodIdentity,
        }
    }
}

impl Denial {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Forwarded, Self::WebPage, Self::Host, Self::NoToken, Self::BadToken, Self::Refused, Self::Policy];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::WebPage => "web_page",
            Self::Host => "host",
            Self::NoToken => "no_token",
            Self::BadToken => "bad_token",
            Self::Refused => "refused",
            Self::Policy => "policy",
        }
    }

    /// Why `request`, whose answer has `status`, was refused, if it was. `granted`: whether there is a role for who asked.
    fn of(face: Face, request: &Request, status: Status, granted: bool) -> Option<Self> {
        match status {
            Status::BadRequest | Status::Forbidden if request.forwarded => Some(Self::Forwarded),
            Status::Forbidden if request.from_web_page => Some(Self::WebPage),
            Status::Forbidden if face == Face::Imds => Some(Self::Host),
            Status::Forbidden => Some(Self::Refused),
            Status::Unauthorized if request.token.is_some() || request.authorization.is_some() => Some(Self::BadToken),
            Status::Unauthorized => Some(Self::NoToken),
            Status::NotFound if !granted => Some(Self::Policy),
            _ => None,
        }
    }
}

impl Counters {
    /// A request was answered; `None` stands for what was no request.
    pub(super) fn count(&self, face: Face, request: Option<&Request>, status: Status, granted: bool) {
        let column = STATUSES.iter().position(|known| *known == status.code()).unwrap_or(STATUSES.len() - 1);
        let row = self.answers.get(Protocol::of(face, request) as usize);
        if let Some(counter) = row.and_then(|row| row.get(column)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let denial = request.and_then(|request| Denial::of(face, request, status, granted));
        if let Some(counter) = denial.and_then(|denial| self.denials.get(denial as usize)) {
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
        super::request::{Parsed, parse},
        *,
    };

    fn counted(request: &str, status: Status, granted: bool) -> (Vec<(Protocol, u16)>, Vec<Denial>) {
        let counters = Counters::default();
        let text = format!("{request}\r\n\r\n");
        let Parsed::Whole(request, _) = parse(text.as_bytes()) else { panic!("{text:?}") };
        counters.count(Face::Imds, Some(&request), status, granted);
        let answers =
            counters.answers().filter(|(_, _, count)| *count == 1).map(|(protocol, status, _)| (protocol, status));
        let denials = counters.denials().filter(|(_, count)| *count == 1).map(|(denial, _)| denial);
        (answers.collect(), denials.collect())
    }

    #[test]
    fn each_answer_is_counted_once_with_its_reason() {
        let token = "X-aws-ec2-metadata-token: x";
        for (request, status, granted, protocol, denial) in [
            ("GET / HTTP/1.1".to_owned(), Status::Ok, true, Protocol::ImdsV1, None),
            ("GET / HTTP/1.1".to_owned(), Status::NotFound, true, Protocol::ImdsV1, None),
            ("GET / HTTP/1.1".to_owned(), Status::NotFound, false, Protocol::ImdsV1, Some(Denial::Policy)),
            ("GET / HTTP/1.1".to_owned(), Status::Unauthorized, true, Protocol::ImdsV1, Some(Denial::NoToken)),
            (format!("GET / HTTP/1.1\r\n{token}"), Status::Ok, true, Protocol::ImdsV2, None),
            (
                format!("GET / HTTP/1.1\r\n{token}"),
                Status::Unauthorized,
                true,
                Protocol::ImdsV2,
                Some(Denial::BadToken),
            ),
            ("PUT /latest/api/token HTTP/1.1".to_owned(), Status::BadRequest, true, Protocol::ImdsV2, None),
            (
                "PUT / HTTP/1.1\r\nX-Forwarded-For: x".to_owned(),
                Status::BadRequest,
                true,
                Protocol::ImdsV2,
                Some(Denial::Forwarded),
            ),
            (
                "GET / HTTP/1.1\r\nOrigin: x".to_owned(),
                Status::Forbidden,
                true,
                Protocol::ImdsV1,
                Some(Denial::WebPage),
            ),
            ("GET / HTTP/1.1\r\nHost: x".to_owned(), Status::Forbidden, true, Protocol::ImdsV1, Some(Denial::Host)),
        ] {
            let (answers, denials) = counted(&request, status, granted);
            assert_eq!(answers, [(protocol, status.code())], "{request}");
            assert_eq!(denials, denial.into_iter().collect::<Vec<_>>(), "{request}");
        }
    }
}
