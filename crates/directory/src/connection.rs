//! The connection to the directory that all searches share: opened when it is needed, on the first server that works.

use std::{fs, sync::Arc, time::Duration};

use ldap3::{
    Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry, SearchOptions, StdStream,
    adapters::{Adapter, EntriesOnly, PagedResults},
};
use tokio::{sync::Mutex, time::timeout};
use zeroize::Zeroizing;

use crate::{
    fetch::{Options as TlsOptions, client_config},
    options::Options,
    text::printable,
    transport,
};

/// How many entries come in one answer. Active Directory gives up to 1,000.
const PAGE: i32 = 500;
/// The longest password.
const MAX_PASSWORD: usize = 1024;

/// A search below a base.
pub(crate) struct Search<'a> {
    pub(crate) base: &'a str,
    pub(crate) filter: String,
    pub(crate) attributes: Vec<String>,
    /// The most entries that are taken.
    pub(crate) max: usize,
    /// Whether the entries come in several answers, each of them not too long for the server.
    pub(crate) paged: bool,
    /// For all of it, apart from the connection.
    pub(crate) time: Duration,
}

/// Why a search has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SearchError {
    /// There are more entries than are taken.
    #[error("there are more than {0} entries")]
    TooMany(usize),
    /// The directory does not answer, or refuses.
    #[error("{0}")]
    Failed(String),
}

/// The connection.
pub(crate) struct Connection {
    options: Arc<Options>,
    current: Mutex<Option<Ldap>>,
}

impl Connection {
    pub(crate) fn new(options: Arc<Options>) -> Self {
        Self { options, current: Mutex::new(None) }
    }

    /// All entries that a search finds.
    pub(crate) async fn search(&self, search: &Search<'_>) -> Result<Vec<SearchEntry>, SearchError> {
        let servers = u32::try_from(self.options.servers.len()).unwrap_or(u32::MAX);
        let time = search.time.saturating_add(self.options.timeout.saturating_mul(servers));
        let slow = || SearchError::Failed(format!("no answer within {time:?}"));
        let found = timeout(time, self.try_search(search)).await.unwrap_or_else(|_| Err(slow()));
        if let Err(SearchError::Failed(_)) = &found {
            // The next one begins with a new connection, perhaps to another server.
            self.current.lock().await.take();
        }
        found
    }

    async fn try_search(&self, search: &Search<'_>) -> Result<Vec<SearchEntry>, SearchError> {
        let (ldap, is_new) = self.ldap().await.map_err(SearchError::Failed)?;
        match run(ldap, search, self.options.timeout).await {
            // Servers close connections that are idle.
            Err(SearchError::Failed(_)) if !is_new => {
                self.current.lock().await.take();
                let (ldap, _) = self.ldap().await.map_err(SearchError::Failed)?;
                run(ldap, search, self.options.timeout).await
            }
            found => found,
        }
    }

    /// A handle of the connection, and whether it is new.
    async fn ldap(&self) -> Result<(Ldap, bool), String> {
        let mut current = self.current.lock().await;
        if let Some(ldap) = current.as_mut()
            && !ldap.is_closed()
        {
            return Ok((ldap.clone(), false));
        }
        let ldap = self.open().await?;
        *current = Some(ldap.clone());
        Ok((ldap, true))
    }

    async fn open(&self) -> Result<Ldap, String> {
        let options = &self.options;
        let tls = client_config(&TlsOptions::direct(options.timeout, options.ca_file.clone()));
        let tls = Arc::new(tls.map_err(|error| error.to_string())?);
        let password = self.password()?;
        let mut problems = Vec::new();
        for server in &options.servers {
            let opening = async {
                let socket = transport::connect(server, Arc::clone(&tls)).await?;
                let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(socket));
                let (connection, mut ldap) =
                    LdapConnAsync::with_settings(settings, "ldapi:///").await.map_err(|error| said(&error))?;
                // It ends with the last handle, or with the socket.
                tokio::spawn(connection.drive());
                if let (Some(dn), Some(password)) = (&options.bind_dn, &password) {
                    let bound = ldap.simple_bind(dn, password).await.and_then(ldap3::LdapResult::success);
                    bound.map_err(|error| format!("bind as {dn}: {}", said(&error)))?;
                }
                Ok::<_, String>(ldap)
            };
            let opened = timeout(options.timeout, opening).await;
            match opened.unwrap_or_else(|_| Err(format!("no answer within {:?}", options.timeout))) {
                Ok(ldap) => return Ok(ldap),
                Err(problem) => problems.push(format!("{}: {problem}", server.url)),
            }
        }
        Err(problems.join("; "))
    }

    /// Read at each connection, since it may be another one. A newline at the end is not part of it.
    fn password(&self) -> Result<Option<Zeroizing<String>>, String> {
        let Some(path) = &self.options.password_file else { return Ok(None) };
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let text = Zeroizing::new(text);
        let password = text.trim_end_matches(['\r', '\n']);
        // Without a password a bind succeeds and proves nothing: RFC 4513, section 5.1.2.
        if password.is_empty() || password.len() > MAX_PASSWORD {
            return Err(format!("{}: a password of 1 to {MAX_PASSWORD} bytes is expected", path.display()));
        }
        Ok(Some(Zeroizing::new(password.to_owned())))
    }
}

async fn run(mut ldap: Ldap, search: &Search<'_>, patience: Duration) -> Result<Vec<SearchEntry>, SearchError> {
    let failed = |error: LdapError| SearchError::Failed(said(&error));
    let mut adapters: Vec<Box<dyn Adapter<'_, String, Vec<String>>>> = vec![Box::new(EntriesOnly::new())];
    if search.paged {
        adapters.push(Box::new(PagedResults::new(PAGE)));
    }
    let seconds = i32::try_from(search.time.as_secs().max(1)).unwrap_or(i32::MAX);
    ldap.with_timeout(patience).with_search_options(SearchOptions::new().timelimit(seconds));
    let attributes = search.attributes.clone();
    let searching = ldap.streaming_search_with(adapters, search.base, Scope::Subtree, &search.filter, attributes);
    let mut stream = searching.await.map_err(failed)?;
    let mut entries = Vec::new();
    while let Some(entry) = stream.next().await.map_err(failed)? {
        if entries.len() == search.max {
            let id = stream.ldap_handle().last_id();
            stream.finish().await;
            // It ends there, or with its connection.
            let _abandoned = ldap.abandon(id).await;
            return Err(SearchError::TooMany(search.max));
        }
        entries.push(SearchEntry::construct(entry));
    }
    let ended = stream.finish().await;
    // `sizeLimitExceeded` (RFC 4511, appendix A.2) is about this person, and no trouble of the directory.
    if !search.paged && ended.rc == 4 {
        return Err(SearchError::TooMany(entries.len()));
    }
    ended.success().map_err(failed)?;
    Ok(entries)
}

/// An error for the log; what the server says in it is foreign.
fn said(error: &LdapError) -> String {
    match error {
        LdapError::LdapResult { result } => {
            let text =
                if result.text.is_empty() { String::new() } else { format!(": {}", printable(&result.text, 200)) };
            format!("the server answers {}{text}", meaning(result.rc))
        }
        LdapError::Timeout { .. } => "no answer in time".to_owned(),
        LdapError::ResultRecv { .. } | LdapError::OpSend { .. } | LdapError::EndOfStream => {
            "the connection was closed".to_owned()
        }
        error => printable(&error.to_string(), 200),
    }
}

/// The results that an administrator can do something about: RFC 4511, appendix A.
fn meaning(code: u32) -> String {
    let word = match code {
        3 => "timeLimitExceeded",
        4 => "sizeLimitExceeded (let the account read more entries)",
        8 => "strongerAuthRequired",
        13 => "confidentialityRequired (use ldaps, or ldap with StartTLS)",
        32 => "noSuchObject (is the base DN right, and may the account see it?)",
        34 => "invalidDNSyntax",
        49 => "invalidCredentials",
        50 => "insufficientAccessRights",
        51 => "busy",
        52 => "unavailable",
        _ => return format!("result {code}"),
    };
    format!("{code} {word}")
}
