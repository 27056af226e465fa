//! Who got credentials, and who was denied something: the last ones, for the status page. Bounded, whoever asks.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;

use super::denial::Denial;
use crate::caller::{Owner, ProvenPod};

/// So many of each kind are remembered: those that asked last.
const MOST: usize = 200;

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// A user of this host, or an address.
    Owner(Owner),
    /// A pod that has proved who it is.
    Pod {
        /// The namespace.
        namespace: Box<str>,
        /// The service account.
        service_account: Box<str>,
        /// The pod's name, if its token is bound to a pod.
        name: Option<Box<str>>,
    },
}

/// What it got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// How often it got credentials.
    pub handed_out: u64,
    /// How often it was denied something.
    pub denied: u64,
    /// Why, the last time.
    pub why: Option<Denial>,
    /// When either was, the last time.
    pub last: Timestamp,
}

/// The callers that are remembered. Those of one kind displace none of another: addresses are cheap, users are not.
#[derive(Debug, Default)]
pub struct Seen(Mutex<[HashMap<Who, Served>; 3]>);

impl Who {
    /// The caller of a connection, or the pod that its token proves it to be.
    pub(super) fn of(owner: Owner, pod: Option<&ProvenPod>) -> Self {
        match pod {
            None => Self::Owner(owner),
            Some(pod) => Self::Pod {
                namespace: pod.namespace.clone(),
                service_account: pod.service_account.clone(),
                name: pod.name.clone(),
            },
        }
    }

    fn kind(&self) -> usize {
        match self {
            Self::Owner(Owner::User(_) | Owner::Nobody) => 0,
            Self::Owner(Owner::Address(_)) => 1,
            Self::Pod { .. } => 2,
        }
    }
}

impl Seen {
    /// It got credentials, or it was denied something.
    pub(super) fn note(&self, who: Who, denied: Option<Denial>, at: Timestamp) {
        let mut kinds = self.kinds();
        let Some(callers) = kinds.get_mut(who.kind()) else { return };
        if !callers.contains_key(&who) && callers.len() >= MOST {
            let oldest = callers.iter().min_by_key(|(_, served)| served.last).map(|(who, _)| who.clone());
            oldest.and_then(|oldest| callers.remove(&oldest));
        }
        let new = Served { handed_out: 0, denied: 0, why: None, last: at };
        let served = callers.entry(who).or_insert(new);
        served.last = at;
        match denied {
            None => served.handed_out += 1,
            Some(_) => (served.denied, served.why) = (served.denied + 1, denied),
        }
    }

    /// All of them, those that asked last first.
    pub fn callers(&self) -> Vec<(Who, Served)> {
        let kinds = self.kinds();
        let mut callers: Vec<_> = kinds.iter().flatten().map(|(who, served)| (who.clone(), served.clone())).collect();
        drop(kinds);
        callers.sort_by_key(|(_, served)| std::cmp::Reverse(served.last));
        callers
    }

    fn kinds(&self) -> MutexGuard<'_, [HashMap<Who, Served>; 3]> {
        // Nothing under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    #[test]
    fn what_each_caller_got_is_counted() {
        let (seen, who) = (Seen::default(), Who::Owner(Owner::User(7)));
        seen.note(who.clone(), None, at(1));
        seen.note(who.clone(), Some(Denial::Policy), at(2));
        seen.note(who.clone(), None, at(3));
        let pod = ProvenPod {
            namespace: "prod".into(),
            service_account: "web".into(),
            name: Some("web-0".into()),
            uid: None,
            session_name: None,
        };
        let pod = Who::of(Owner::Nobody, Some(&pod));
        seen.note(pod.clone(), None, at(4));
        let served = Served { handed_out: 2, denied: 1, why: Some(Denial::Policy), last: at(3) };
        let by_pod = Served { handed_out: 1, denied: 0, why: None, last: at(4) };
        assert_eq!(seen.callers(), [(pod, by_pod), (who, served)]);
    }

    #[test]
    fn however_many_ask_the_last_ones_are_remembered_and_addresses_displace_no_user() {
        let seen = Seen::default();
        seen.note(Who::Owner(Owner::User(7)), None, at(0));
        for number in 1..2000_u32 {
            let address = IpAddr::V4(Ipv4Addr::from(number));
            seen.note(Who::Owner(Owner::Address(address)), Some(Denial::Policy), at(number.into()));
        }
        let callers = seen.callers();
        assert_eq!((callers.len(), callers[0].1.last), (MOST + 1, at(1999)));
        assert_eq!(callers[MOST].0, Who::Owner(Owner::User(7)));
    }
}
