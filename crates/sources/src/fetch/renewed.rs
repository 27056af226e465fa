//! A client whose certificate others write anew, such as spiffe-helper or a script of step-ca.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, PoisonError},
};

use http::Uri;
use jiff::Timestamp;

use super::{Client, Options, SetupError, tls::end_of_certificate};

/// A client with the certificate that its files have now.
pub struct Renewed {
    url: Uri,
    options: Options,
    state: Mutex<State>,
}

struct State {
    client: Arc<Client>,
    /// When its certificate ends.
    end: Option<Timestamp>,
    /// What the files were when they were last read.
    seen: Option<[Stamp; 2]>,
}

/// What changes when a file is written or replaced: its number, its size, and its time in seconds and nanoseconds.
type Stamp = (u64, u64, i64, i64);

impl Renewed {
    /// For the server of `url`; the files are read.
    pub fn new(url: Uri, options: Options) -> Result<Self, SetupError> {
        let seen = stamps(&options);
        let client = Arc::new(Client::new(&url, &options)?);
        let state = Mutex::new(State { client, end: end(&options), seen });
        Ok(Self { url, options, state })
    }

    /// The client. If the files are new, and right, it is another one from now on.
    pub fn current(&self) -> Arc<Client> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let found = stamps(&self.options);
        // Files that cannot even be looked at are as they were: the account may have been another one at the start.
        if found.is_some() && found != state.seen {
            state.seen = found;
            match Client::new(&self.url, &self.options) {
                Ok(client) => {
                    state.client = Arc::new(client);
                    state.end = end(&self.options);
                    notice!("the client certificate for {} is a new one", self.url);
                }
                // One of the two files may still be the old one; then they will change again.
                Err(error) => tracing::warn!("the client certificate for {} stays the old one: {error}", self.url),
            }
        }
        Arc::clone(&state.client)
    }

    /// When the certificate in use ends, if it has one.
    pub fn certificate_end(&self) -> Option<Timestamp> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).end
    }
}

fn end(options: &Options) -> Option<Timestamp> {
    end_of_certificate(&options.client_certificate.as_ref()?.0)
}

fn stamps(options: &Options) -> Option<[Stamp; 2]> {
    let (certificate, key) = options.client_certificate.as_ref()?;
    let stamp = |path| {
        let file = fs::metadata(path).ok()?;
        Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
    };
    Some([stamp(certificate)?, stamp(key)?])
}
