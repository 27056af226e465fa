//! Calls to upstreams, for whoever follows each of them: what was asked for, and what came.

use std::{cell::RefCell, pin::Pin, sync::Arc, time::Duration};

use jiff::Timestamp;

use crate::{
    credentials::RoleName,
    refresh_stats::{Ending, SpanCounts},
};

/// A call that has ended.
#[derive(Debug)]
pub struct EndedCall<'a> {
    /// The role whose set was asked for, or whose set needs it; none for a list of roles.
    pub role: Option<&'a RoleName>,
    /// The id of the set that was asked for, by which its calls belong together; none for a list.
    pub id: Option<&'a str>,
    /// What was asked.
    pub source: &'a str,
    /// What came of it.
    pub ending: Ending,
    /// Why nothing came, as the log has it, if nothing did.
    pub failure: Option<&'a str>,
    /// The id by which AWS knows the call, if it was one of AWS.
    pub request_id: Option<&'a str>,
    /// When it ended.
    pub ended: Timestamp,
    /// How long it took.
    pub took: Duration,
}

/// Is told of each call that has ended.
pub type Watch = Box<dyn FnMut(&EndedCall<'_>) + Send>;

/// What is done beside the refresher.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What follows the calls of a daemon.
pub struct Follower {
    /// Is told of each call. It never waits.
    pub watch: Watch,
    /// What it does meanwhile.
    pub work: Work,
    /// What it does at the end, while credentials are still served. It limits itself.
    pub farewell: Work,
    /// What comes of it.
    pub counts: Arc<SpanCounts>,
}

tokio::task_local! {
    /// Of the call that is under way.
    static REQUEST_ID: RefCell<Option<Box<str>>>;
}

/// Says by which id AWS knows the call that is under way. For sources: it reaches the [`EndedCall`] whatever comes of the call.
pub fn note_request_id(id: Option<&str>) {
    if let Some(id) = id {
        // A call that nobody watches, such as that of `source test`, has no place for it.
        let _unwatched = REQUEST_ID.try_with(|noted| noted.replace(Some(id.into())));
    }
}

/// What `call` brings, and the id that it noted last.
pub(super) async fn with_request_id<T>(call: impl Future<Output = T>) -> (T, Option<Box<str>>) {
    let noted = async {
        let answer = call.await;
        (answer, REQUEST_ID.with(RefCell::take))
    };
    REQUEST_ID.scope(RefCell::default(), noted).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_id_of_a_call_is_that_of_the_call() {
        note_request_id(Some("of none"));
        let call = async {
            note_request_id(Some("first"));
            tokio::task::yield_now().await;
            note_request_id(Some("second"));
            note_request_id(None);
            1
        };
        assert_eq!(
            tokio::join!(with_request_id(call), with_request_id(async { 2 })),
            ((1, Some("second".into())), (2, None))
        );
    }
}
