//! Keeps the index of the service accounts as the cluster has them: lists them once, and then follows what changes. What is
//! known stays while the API server is away.

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{ApiError, ApiServer, client::LONGEST};
use crate::{
    clock::{self, SharedClock},
    fetch::{FetchError, SetupError},
    kubernetes::{ApiOptions, Draft, Event, Index, LineTooLong, Lines, MessageError, parse_event, parse_page},
    text::printable,
};

/// The metadata alone: an account also names Secrets, which are nobody's business here.
const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const WATCH: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// How many accounts are asked for at once; fewer if they are too large for that.
const PAGE: usize = 500;
/// The most pages of a list.
const MOST_PAGES: usize = 10_000;
/// After so many failures in a row all is listed again, whatever they were.
const DOUBT: u32 = 4;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// A watch is ended by the server after about this time.
    pub(super) watch: Duration,
    /// Without a word for so long it is dead: there is a bookmark every minute.
    pub(super) quiet: Duration,
    /// Waits after failures.
    pub(super) first_retry: Duration,
    pub(super) last_retry: Duration,
}

const PATIENCE: Patience = Patience {
    watch: Duration::from_mins(5),
    quiet: Duration::from_secs(90),
    first_retry: Duration::from_millis(400),
    last_retry: Duration::from_secs(15),
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
    /// How many failures there were since something was right.
    failures: u32,
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
    #[error(transparent)]
    Line(#[from] LineTooLong),
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
            Self::Gone | Self::Message(_) | Self::Line(_) | Self::Ended(_) | Self::Endless => true,
            Self::Api(_) | Self::AtOnce | Self::Setup(_) => false,
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
        Self { options: options.clone(), server: None, index, clock, patience: PATIENCE, version: None, failures: 0 }
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
        let version = match self.version.clone() {
            Some(version) => version,
            None => self.list(&server).await?,
        };
        self.follow(&server, version).await?;
        self.server = Some(server);
        Ok(())
    }

    async fn list(&mut self, server: &ApiServer) -> Result<String, Failure> {
        let (mut draft, mut limit) = (Draft::default(), PAGE);
        let (mut version, mut more) = (None, String::new());
        for _ in 0..MOST_PAGES {
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
            page.accounts.into_iter().for_each(|listed| draft.add(listed));
            let version = version.get_or_insert(page.version);
            let Some(next) = page.more else {
                self.index.replace(draft, self.clock.now().wall);
                let state = self.index.state();
                tracing::info!("{} service accounts of the cluster ask for a role", state.accounts);
                if state.left_out > 0 {
                    tracing::error!("{} more service accounts ask for a role than are kept", state.left_out);
                }
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
        self.index.follows(self.clock.now().wall);
        if before.problem.is_some() {
            notice!("the service accounts of the cluster are followed again");
        }
        let (mut lines, mut heard) = (Lines::new(LONGEST), false);
        let begun = self.clock.boot();
        while let Some(piece) = stream.next(self.patience.quiet).await? {
            lines.push(&piece);
            while let Some(line) = lines.next_line()? {
                self.take(parse_event(&line)?)?;
                (self.failures, heard) = (0, true);
            }
        }
        // A line that was cut off comes again: the version is still that of the line before.
        if heard || self.clock.boot().since(begun) >= Duration::from_secs(1) {
            self.failures = 0;
            return Ok(());
        }
        Err(Failure::AtOnce)
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
            Event::Bookmark(version) => version,
            Event::Failed(status) if status.code == StatusCode::GONE.as_u16() => return Err(Failure::Gone),
            Event::Failed(status) => return Err(Failure::Ended(printable(&status.message, 300))),
        };
        self.index.follows(self.clock.now().wall);
        self.version = Some(version);
        Ok(())
    }

    fn note(&mut self, failure: &Failure) {
        self.failures += 1;
        if failure.voids_version() || self.failures.is_multiple_of(DOUBT) {
            self.version = None;
        }
        if matches!(failure, Failure::Gone) {
            // This is how it has to be after a long absence.
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
