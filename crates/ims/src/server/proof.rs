//! Who the caller is: the identity methods of a mount, one after the other.

use std::sync::Arc;

use http::request::Parts;

use super::{client::Client, counters::Ending, respond::Reply};
use crate::{
    clock::{SharedClock, system_time},
    identity::{Evidence, Hold, Identity, Prove, Refusal},
};

/// The identity that the first method proves that finds a proof of its kind. `None` if the request has no proof at all.
pub(super) async fn prove(
    methods: &[Arc<dyn Prove>],
    client: &Client,
    head: &Arc<Parts>,
    clock: &SharedClock,
) -> Result<Option<Identity>, Refusal> {
    for method in methods {
        let (method, client, head) = (Arc::clone(method), client.clone(), Arc::clone(head));
        let now = system_time(clock.now().wall);
        let proven = if method.blocks() {
            let proving = tokio::task::spawn_blocking(move || one(&*method, &client, &head, now));
            // A panic there is a bug of ours, and ends the process.
            proving.await.unwrap_or_else(|_ended| Err(Refusal::Unavailable("the server is stopping".to_owned())))
        } else {
            one(&*method, &client, &head, now)
        };
        if let Some(identity) = proven? {
            return Ok(Some(identity));
        }
    }
    Ok(None)
}

/// A reply uses a proof for one request, but trouble of the server does not: it has handed nothing out. Nor does a client
/// that has gone before, since it got nothing: then the hold is dropped with the request.
pub(super) fn spend(hold: Option<Arc<Hold>>, reply: Reply) -> Reply {
    if let Some(hold) = hold.filter(|_| reply.ending != Ending::Unavailable) {
        hold.spend();
    }
    reply
}

fn one(
    method: &dyn Prove,
    client: &Client,
    head: &Parts,
    now: std::time::SystemTime,
) -> Result<Option<Identity>, Refusal> {
    method.prove(&Evidence {
        peer: &client.peer,
        certificates: &client.certificates,
        method: &head.method,
        path: head.uri.path_and_query().map_or("", |path| path.as_str()),
        headers: &head.headers,
        now,
    })
}
