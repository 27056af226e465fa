//! The faces of a server, and which of them a request meets: each listener shows one.

use super::{
    answer::{Answer, Outcome, Status},
    imds::Imds,
    request::Request,
    view::Visitor,
};
use crate::{clock::Moment, store::Store};

/// Which face a listener shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Face {
    /// EC2's instance metadata service.
    Imds,
}

impl Face {
    /// The word for it in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Imds => "imds",
        }
    }
}

/// All faces of a server. Pure, as each of them is.
#[derive(Debug)]
pub struct Faces {
    /// EC2's instance metadata service.
    pub imds: Imds,
}

impl Faces {
    /// The store that all of them show.
    pub fn store(&self) -> &Store {
        self.imds.store()
    }

    /// Answers a request of `visitor`, who came to a listener that shows `face`, at the moment `now`.
    pub fn respond(&self, face: Face, request: &Request, visitor: Visitor<'_>, now: Moment) -> Outcome {
        match face {
            Face::Imds => self.imds.respond(request, visitor, now),
        }
    }

    /// What `face` says where there is nothing to choose: to what is no request, and when the patience is over.
    pub fn error(&self, face: Face, status: Status) -> Answer {
        match face {
            Face::Imds => Answer::error(status),
        }
    }
}
