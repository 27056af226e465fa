//! Waits for the browser at a port of this host: sends it to the provider, and takes what it brings back.
//!
//! The URL with the values of the attempt is in no command line and on no screen. The browser of this user gets it from here,
//! once, with a cookie that it has to show when it comes back: so no other user of this host can slip a sign-in of another person
//! in.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
    sync::mpsc,
    time::Duration,
};

use http::Uri;

use super::{
    begin,
    callback::{self, Incoming},
    end, not_signed_in, outcome, progress, signed_in,
};
use crate::{
    admin::{BeginRequest, Client, ProgressDocument},
    cli::{
        Failure, human,
        socket::{ANSWER_LIMIT, failure},
        web_browser,
    },
    credentials::Secret,
};

/// How often the daemon is asked whether the attempt has ended without us.
const LOOK: Duration = Duration::from_secs(5);

/// The title of pages that say why.
const NOT_SIGNED_IN: &str = "Not signed in";

/// Where the browser is awaited.
pub(super) struct Page {
    /// As configured.
    pub(super) redirect_url: String,
    pub(super) request: BeginRequest,
}

/// One attempt.
struct Visit {
    /// `http://127.0.0.1:PORT`.
    origin: String,
    /// `127.0.0.1:PORT`, as the browser has to say it.
    authority: String,
    /// The path that sends the browser to the provider.
    start: String,
    /// The path that it comes back to.
    callback: String,
    cookie: Secret,
    /// Given away once.
    url: Option<Secret>,
}

impl Page {
    /// Lets the person sign in; answers the name. `open`: whether to open the browser.
    pub(super) fn sign_in(&self, client: &Client, open: bool) -> Result<String, Failure> {
        let uri: Uri = self.redirect_url.parse().unwrap_or_default();
        let host = uri.host().unwrap_or("127.0.0.1");
        let ip = if host == "[::1]" { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
        let wanted = (ip, uri.port_u16().unwrap_or(0));
        let listener = TcpListener::bind(wanted)
            .map_err(|error| Failure::runtime(format!("cannot wait for the browser at {ip}:{}: {error}", wanted.1)))?;
        let port = listener.local_addr().map_err(Failure::runtime)?.port();
        let request = BeginRequest { port: Some(port), ..self.request.clone() };
        let kernel = web_browser::kernel()?;
        let attempt = begin(client, &request)?;
        let url = match progress(client, &attempt)? {
            ProgressDocument::Browser { url } => url,
            other => {
                return outcome(other).unwrap_or_else(|| Err(not_signed_in("the daemon does not know how to go on")));
            }
        };
        let authority = format!("{host}:{port}");
        let mut visit = Visit {
            origin: format!("http://{authority}"),
            authority,
            start: format!("/{}", random()?.expose()),
            callback: uri.path().to_owned(),
            cookie: random()?,
            url: Some(url),
        };
        let start = format!("{}{}", visit.origin, visit.start);
        if open {
            alppaca_command::println!("Your browser opens to sign you in. If it does not, open\n\n    {start}\n");
            if let Err(tried) = web_browser::start(&start, |mut command| command.spawn()) {
                alppaca_command::eprintln!("no browser can be started: {}", human::foreign(&tried));
            }
        } else {
            alppaca_command::println!("Open this in a browser of this host to sign in:\n\n    {start}\n");
        }
        visit.wait(client, &attempt, &callback::listen(listener, kernel))
    }
}

impl Visit {
    fn wait(&mut self, client: &Client, attempt: &str, incoming: &mpsc::Receiver<Incoming>) -> Result<String, Failure> {
        loop {
            match incoming.recv_timeout(LOOK) {
                Ok(request) => {
                    if let Some(outcome) = self.answer(client, attempt, request) {
                        return outcome;
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    if let Some(outcome) = outcome(progress(client, attempt)?) {
                        return outcome;
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(not_signed_in("the browser cannot be awaited any more"));
                }
            }
        }
    }

    /// Answers one request of a browser; the outcome if it has brought everything back.
    fn answer(&mut self, client: &Client, attempt: &str, mut request: Incoming) -> Option<Result<String, Failure>> {
        if request.host.as_deref() != Some(&self.authority) {
            request.page(400, NOT_SIGNED_IN, "This is not the address of this page.");
            return None;
        }
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        if path == self.start {
            match self.url.take() {
                Some(url) => request.redirect(&url, &self.cookie),
                None => request.page(410, NOT_SIGNED_IN, "This link has been used. Run alppaca login again."),
            }
            return None;
        }
        if path != self.callback {
            request.page(404, "Not found", "There is nothing here.");
            return None;
        }
        if request.cookie.as_ref() != Some(&self.cookie) {
            request.page(403, NOT_SIGNED_IN, "This browser has not begun the sign-in.");
            return None;
        }
        let body = serde_json::to_vec(&callback::parameters(query)).map(zeroize::Zeroizing::new);
        let body = match body {
            Ok(body) => body,
            Err(error) => return Some(Err(Failure::runtime(error))),
        };
        let told = client.call("POST", attempt, &body, ANSWER_LIMIT).map_err(|error| failure(&error));
        let outcome = told.and_then(|_| end(client, attempt));
        match &outcome {
            Ok(name) => request.page(200, signed_in(name).trim_end_matches('.'), "You may close this window."),
            Err(failure) => {
                let why = failure.message.strip_prefix(super::NOT_SIGNED_IN).unwrap_or(&failure.message);
                request.page(400, NOT_SIGNED_IN, why);
            }
        }
        Some(outcome)
    }
}

fn random() -> Result<Secret, Failure> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Failure::runtime("the system provides no random numbers"))?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}
