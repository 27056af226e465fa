//! Keeps the index of the service accounts as the cluster has them: lists them once, and then follows what changes. What is
//! known stays while the API server is away.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{ApiError, ApiServer, client::LONGEST};
use crate::{
    clock::{self, BootTime, SharedClock},
    fetch::{FetchError, SetupError},
    kubernetes::{ApiOptions, Draft, Event, Index, LineTooLong, Lines, MessageError, parse_event, parse_page},
    text::printable,
};

/// The metadata alone: an account also names Secrets, which are nobody's business here.
const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const WATCH: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// How many accounts are asked for at once; fewer if they are too large for that.
const PAGE: usize = 500;
/// The most accounts of a list, of any size.
const MOST_ACCOUNTS: usize = 5_000_000;
/// After so many refusals in a row all is listed again: what is known may be the reason.
const DOUBT: u32 = 4;
/// After so many watches in a row without a word, about an hour, all is listed again: the version may be one that the cluster
/// has not reached yet, after its store was restored.
const SILENCE: u32 = 40;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// A watch is ended by the server after about this time.
    pub(super) watch: Duration,
    /// Without a word for so long it may be dead, and another one begins. Most servers send a bookmark every minute, but none
    /// before anything has happened.
    pub(super) quiet: Duration,
    /// When nothing has arrived for so long, what had happened before a watch began has arrived. Servers send that at once.
    pub(super) settled: Duration,
    /// Waits after failures.
    pub(super) first_retry: Duration,
    pub(super) last_retry: Duration,
    /// All is listed for accounts that were left out, after others made room, so often at most; and within so long after that,
    /// not by all daemons of a cluster at the same time.
    pub(super) between_lists: Duration,
}

const PATIENCE: Patience = Patience {
    watch: Duration::from_mins(5),
    quiet: Duration::from_secs(90),
    settled: Duration::from_secs(1),
    first_retry: Duration::from_millis(400),
    last_retry: Duration::from_secs(15),
    between_lists: Duration::from_mins(5),
};

/// Follows the service accounts of a cluster.
pub struct AccountWatch {
    options: ApiOptions,
    /// Made anew after failures, with the authorities that the file has then.
    server: Option<ApiServer>,
    index: Arc<Index>,
    clock: SharedClock,
    patience: Patience,
    /// The state of the cluster that is known; `None` if all has to be listed.
    version: Option<String>,
    /// How many failures there were since something was right,
    failures: u32,
    /// how many of them were refusals that what is known may be the reason for,
    doubts: u32,
    /// and whether one was that the server has forgotten what is known.
    forgotten: bool,
    /// How many watches there were without a word.
    silent: u32,
    /// Whether what had happened before this watch is known.
    caught_up: bool,
    /// When all was listed.
    listed: Option<BootTime>,
    /// When all is listed for accounts that were left out, if there is room for some of them.
    list_at: Option<BootTime>,
    /// Whether it was said that a message was too long.
    said_too_long: bool,
}

/// Why it does not go on.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the API server does not know any more what has happened since")]
    Gone,
    #[error(transparent)]
    Api(ApiError),
    #[error(transparent)]
    Message(#[from] MessageError),
    #[error("the API server ends the watch: {0}")]
    Ended(String),
    #[error("the API server ends the watch at once")]
    AtOnce,
    #[error("a list of service accounts without an end")]
    Endless,
    #[error(transparent)]
    Setup(#[from] SetupError),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Status { status: StatusCode::GONE, .. } => Self::Gone,
            error => Self::Api(error),
        }
    }
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        Self::Api(error.into())
    }
}

impl Failure {
    /// Whether what is known is of no use to begin with again.
    fn voids_version(&self) -> bool {
        match self {
            Self::Gone | Self::Message(_) | Self::Ended(_) | Self::Endless => true,
            Self::Api(_) | Self::AtOnce | Self::Setup(_) => false,
        }
    }

    /// Whether what is known may be the reason. It is not where there is no answer, nor where the server has trouble of its own:
    /// otherwise all daemons of a cluster would list all accounts as soon as it is back.
    fn is_doubtful(&self) -> bool {
        match self {
            Self::Api(ApiError::Status { status, .. }) => {
                let own = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS];
                status.is_client_error() && !own.contains(status)
            }
            Self::Api(_) | Self::Setup(_) => false,
            _ => true,
        }
    }

    /// What to do about it.
    fn advice(&self) -> &'static str {
        match self {
            Self::Api(ApiError::Status { status: StatusCode::FORBIDDEN, .. }) => {
                ". The account of the daemon needs a ClusterRole with the verbs list and watch for serviceaccounts"
            }
            Self::Api(ApiError::Status { status: StatusCode::UNAUTHORIZED, .. }) => {
                ". The token in api_token_file is not one of this cluster, or has ended"
            }
            _ => "",
        }
    }
}

impl AccountWatch {
    /// Keeps `index` as `options` say. Nothing is read yet.
    pub fn new(options: &ApiOptions, index: Arc<Index>, clock: SharedClock) -> Self {
        Self {
            options: options.clone(),
            server: None,
            index,
            clock,
            patience: PATIENCE,
            version: None,
            failures: 0,
            doubts: 0,
            forgotten: false,
            silent: 0,
            caught_up: false,
            listed: None,
            list_at: None,
            said_too_long: false,
        }
    }

    #[cfg(test)]
    pub(super) fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Does so without an end.
    pub async fn run(mut self) {
        let mut pause = self.patience.first_retry;
        loop {
            let Err(failure) = self.session().await else {
                pause = self.patience.first_retry;
                continue;
            };
            if self.failures == 0 {
                pause = self.patience.first_retry;
            }
            self.note(&failure);
            clock::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(self.patience.last_retry);
        }
    }

    /// Lists if that has to be, and follows until the server ends it as it was asked to.
    async fn session(&mut self) -> Result<(), Failure> {
        let server = match self.server.take() {
            Some(server) => server,
            None => ApiServer::new(&self.options)?,
        };
        self.take_in();
        let version = match self.version.clone() {
            Some(version) => version,
            None => self.list(&server).await?,
        };
        self.follow(&server, version).await?;
        self.server = Some(server);
        Ok(())
    }

    async fn list(&mut self, server: &ApiServer) -> Result<String, Failure> {
        // All pages are as of the first one.
        let begun = self.clock.now().wall;
        let (mut draft, mut limit) = (Draft::default(), PAGE);
        let (mut version, mut more, mut listed) = (None, String::new(), 0);
        while listed < MOST_ACCOUNTS {
            let path = format!("/api/v1/serviceaccounts?limit={limit}{more}");
            let page = match server.get(&path, LIST).await {
                Ok(text) => parse_page(&text)?,
                // Accounts may be large, but one alone is never too large.
                Err(ApiError::TooLong(_)) if limit > 1 => {
                    limit = (limit / 8).max(1);
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            // The next ones need not be as large.
            limit = (limit * 2).min(PAGE);
            listed += page.accounts.len().max(1);
            page.accounts.into_iter().for_each(|listed| draft.add(listed));
            let version = version.get_or_insert(page.version);
            let Some(next) = page.more else {
                self.index.replace(draft, begun);
                let state = self.index.state();
                tracing::info!("{} service accounts of the cluster ask for a role", state.accounts);
                if state.left_out > 0 {
                    tracing::error!("{} more service accounts ask for a role than are kept", state.left_out);
                }
                (self.listed, self.list_at) = (Some(self.clock.boot()), None);
                self.version = Some(version.clone());
                return Ok(version.clone());
            };
            more = format!("&continue={}", utf8_percent_encode(&next, NON_ALPHANUMERIC));
        }
        Err(Failure::Endless)
    }

    async fn follow(&mut self, server: &ApiServer, version: String) -> Result<(), Failure> {
        // Not all daemons of a cluster at the same time.
        let seconds = self.patience.watch.mul_f64(0.8 + fastrand::f64() * 0.4).as_secs().max(1);
        let version = utf8_percent_encode(&version, NON_ALPHANUMERIC);
        let path = format!(
            "/api/v1/serviceaccounts?watch=1&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={seconds}"
        );
        let mut stream = server.watch(&path, WATCH).await?;
        let before = self.index.state();
        self.index.follows();
        if before.problem.is_some() {
            notice!("the service accounts of the cluster are followed again");
        }
        let (mut lines, mut heard) = (Lines::new(LONGEST), false);
        self.caught_up = false;
        let begun = self.clock.boot();
        let silent = loop {
            let patience = if self.caught_up { self.patience.quiet } else { self.patience.settled };
            let Ok(piece) = tokio::time::timeout(patience, stream.next(Duration::MAX)).await else {
                if std::mem::replace(&mut self.caught_up, true) {
                    break true;
                }
                self.index.knows_all(self.clock.now().wall);
                continue;
            };
            let Some(piece) = piece? else { break false };
            lines.push(&piece);
            while let Some(line) = lines.next_line() {
                match line {
                    Ok(line) => self.take(parse_event(&line)?)?,
                    Err(LineTooLong) => self.leave_out(),
                }
                self.is_right();
                (self.silent, heard) = (0, true);
            }
            // Where there is always something, and no bookmark.
            if !self.caught_up && self.clock.boot().since(begun) > self.patience.settled * 30 {
                self.caught_up = true;
                self.index.knows_all(self.clock.now().wall);
            }
            if self.take_in() {
                return Ok(());
            }
        };
        // A line that was cut off comes again: the version is still that of the line before.
        if !heard && !silent && self.clock.boot().since(begun) < Duration::from_secs(1) {
            return Err(Failure::AtOnce);
        }
        self.is_right();
        self.silent += u32::from(!heard);
        if self.silent >= SILENCE {
            (self.silent, self.version) = (0, None);
        }
        Ok(())
    }

    /// Has all listed again if there is room now for accounts that were left out.
    pub(super) fn take_in(&mut self) -> bool {
        if !self.index.state().has_room {
            self.list_at = None;
            return false;
        }
        let (now, between) = (self.clock.boot(), self.patience.between_lists);
        let earliest = self.listed.map_or(now, |listed| now.max(listed + between));
        let due = now >= *self.list_at.get_or_insert_with(|| earliest + between.mul_f64(fastrand::f64()));
        if due {
            self.version = None;
        }
        due
    }

    /// Goes on without a message: a list has the same account in it, and is no shorter.
    fn leave_out(&mut self) {
        self.index.misses();
        if !std::mem::replace(&mut self.said_too_long, true) {
            tracing::error!(
                "a change of a service account is not known: a message of the API server is longer than {LONGEST} bytes. This \
                 is said once; metrics count them"
            );
        }
    }

    fn is_right(&mut self) {
        (self.failures, self.doubts, self.forgotten) = (0, 0, false);
    }

    fn take(&mut self, event: Event) -> Result<(), Failure> {
        let version = match event {
            Event::Is(listed, version) => {
                match &listed.wish {
                    Some(wish) => tracing::info!("the service account {} asks for {wish}", listed.account),
                    None => tracing::debug!("the service account {} asks for no role", listed.account),
                }
                let account = listed.account.clone();
                if !self.index.set(listed) {
                    tracing::error!("there is no place for the service account {account}: too many ask for a role");
                }
                version
            }
            Event::Gone(account, version) => {
                tracing::debug!("the service account {account} is gone");
                self.index.remove(&account);
                version
            }
            // It comes after all that had happened before.
            Event::Bookmark(version) => {
                self.caught_up = true;
                version
            }
            Event::Failed(status) if status.code == StatusCode::GONE.as_u16() => return Err(Failure::Gone),
            Event::Failed(status) => return Err(Failure::Ended(printable(&status.message, 300))),
        };
        if self.caught_up {
            self.index.knows_all(self.clock.now().wall);
        }
        self.version = Some(version);
        Ok(())
    }

    fn note(&mut self, failure: &Failure) {
        self.failures += 1;
        self.doubts += u32::from(failure.is_doubtful());
        if failure.voids_version() || self.doubts >= DOUBT {
            (self.doubts, self.version) = (0, None);
        }
        if matches!(failure, Failure::Gone) && !std::mem::replace(&mut self.forgotten, true) {
            // This is how it has to be after a long absence, if it helps to list.
            tracing::info!("the service accounts of the cluster are listed again: {failure}");
            return;
        }
        let known = self.index.is_known();
        let told = self.index.state().problem;
        let problem = format!("{failure}{}", failure.advice());
        let stays = if known { "; what is known of them stays in force" } else { "" };
        if told.as_deref() == Some(&problem) {
            tracing::debug!("cannot follow the service accounts of the cluster: {problem}");
        } else {
            tracing::warn!("cannot follow the service accounts of the cluster: {problem}{stays}");
        }
        self.index.failed(problem);
    }
}
