//! One connection: reads heads, asks the face, writes answers.
//!
//! An idle connection owns no buffer: bytes are read into one buffer per thread, and only what is
//! left of an incomplete head or an answer that the client does not take is kept. All the work
//! between two waits is one synchronous [`Connection::turn`].

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use super::{
    answer::{Answer, Body, Status},
    imds::{Imds, Outcome},
    listener::Limits,
    registry::Registration,
    request::{MAX_HEAD, Parsed, Request, parse},
};
use crate::{
    clock::{Moment, SharedClock},
    store::http_date,
};

/// How long a request may wait for the first fetch. Go gives up after 500 ms, others after 1 s.
const WARMING_WAIT: Duration = Duration::from_millis(400);
/// How long and how much is still read from a client after the last answer, so that what it is
/// still sending does not make the kernel throw the answer away (RFC 9112, section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// What all connections share.
pub(super) struct Context {
    pub(super) imds: Imds,
    pub(super) clock: SharedClock,
    pub(super) limits: Limits,
    pub(super) access_log: bool,
}

/// One per thread, used within a turn only.
struct Scratch {
    input: Box<[u8]>,
    head: Vec<u8>,
    date: (i64, String),
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; MAX_HEAD].into(),
        head: Vec::with_capacity(512),
        date: (i64::MIN, String::new()),
    });
}

/// What a connection waits for next.
enum Wait {
    /// More input.
    Input,
    /// Room for the rest of an answer; then what follows it.
    Room(Unsent, After),
    /// A change of the store.
    Store,
    /// Nothing: there may be another request in what was read.
    Nothing,
    /// The client's end, discarding what it still sends.
    Linger,
    /// Nothing more: close.
    End,
}

/// What follows an answer.
#[derive(Clone, Copy)]
enum After {
    Next,
    Linger,
    Close,
}

impl From<After> for Wait {
    fn from(after: After) -> Self {
        match after {
            After::Next => Self::Nothing,
            After::Linger => Self::Linger,
            After::Close => Self::End,
        }
    }
}

/// The part of an answer that the client has not taken yet.
struct Unsent {
    head: Vec<u8>,
    body: Body,
    sent: usize,
}

/// A connection.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    /// Which listener it came to: tokens are bound to it.
    pub(super) listener: u16,
    pub(super) context: Arc<Context>,
    pub(super) registration: Registration,
    /// What was read and not used yet.
    pub(super) unread: Vec<u8>,
    /// How many bytes of a body are still to be thrown away.
    pub(super) discard: u64,
}

impl Connection {
    /// Serves it until its end. The registry aborts this when a deadline passes.
    pub(super) async fn serve(mut self) {
        // An error means that the client has gone; there is nobody to tell.
        if let Err(error) = self.run().await {
            tracing::debug!("{}: connection ended: {error}", self.peer);
        }
    }

    async fn run(&mut self) -> io::Result<()> {
        let mut wait = Wait::Input;
        loop {
            wait = match wait {
                Wait::Input => {
                    self.stream.readable().await?;
                    self.turn(true, true)?
                }
                Wait::Nothing if self.unread.is_empty() => {
                    self.registration.slot.set_busy(false);
                    self.set_deadline(self.context.limits.idle_timeout);
                    Wait::Input
                }
                Wait::Nothing => self.turn(false, true)?,
                Wait::Store => {
                    self.registration.slot.set_busy(true);
                    self.wait_for_store().await?
                }
                Wait::Room(unsent, after) => {
                    self.registration.slot.set_busy(true);
                    self.set_deadline(self.context.limits.write_timeout);
                    self.send_rest(unsent).await?;
                    after.into()
                }
                Wait::Linger => {
                    // However long it takes: the client may have gone, and that is as good.
                    let _elapsed = timeout(LINGER_TIME, self.linger()).await;
                    Wait::End
                }
                Wait::End => return Ok(()),
            };
        }
    }

    fn set_deadline(&self, limit: Duration) {
        self.registration.slot.set_deadline(self.context.clock.now().boot + limit);
    }

    /// Reads (if `read`), answers one request if its head is complete, and tells what to wait for.
    /// `patient`: a request for something whose first fetch is under way may wait.
    fn turn(&mut self, read: bool, patient: bool) -> io::Result<Wait> {
        SCRATCH.with_borrow_mut(|scratch| {
            let Scratch { input, head, date } = scratch;
            let kept = self.unread.len().min(input.len());
            input[..kept].copy_from_slice(&self.unread[..kept]);
            let mut filled = kept;
            if read {
                match self.stream.try_read(&mut input[kept..]) {
                    Ok(0) => return Ok(Wait::End),
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Wait::Input),
                    Err(error) => return Err(error),
                }
            }
            let discarded = usize::try_from(self.discard).unwrap_or(usize::MAX).min(filled);
            self.discard -= discarded as u64;
            let input = &input[discarded..filled];
            let now = self.context.clock.now();
            let (request, length) = match parse(input) {
                Parsed::Whole(request, length) => (request, length),
                Parsed::Partial => {
                    if self.unread.is_empty() && !input.is_empty() {
                        self.registration.slot.set_deadline(now.boot + self.context.limits.header_timeout);
                    }
                    self.keep(input);
                    return Ok(Wait::Input);
                }
                Parsed::Malformed => return self.reject(Status::BadRequest, now, head, date),
                Parsed::TooLarge => return self.reject(Status::HeadTooLarge, now, head, date),
            };
            let answer = match self.context.imds.respond(&request, self.listener, now) {
                Outcome::Answer(answer) => answer,
                Outcome::Warming if patient => {
                    self.keep(input);
                    return Ok(Wait::Store);
                }
                Outcome::Warming => Answer::error(Status::Unavailable),
            };
            self.log(&request, &answer);
            let after = match (request.body, request.expects_continue) {
                (None, _) => After::Linger,
                (Some(_), true) => After::Linger,
                (Some(_), false) if request.keep_alive && !self.registration.is_stopping() => After::Next,
                (Some(0), false) => After::Close,
                (Some(_), false) => After::Linger,
            };
            self.discard = request.body.unwrap_or(0);
            self.keep(&input[length..]);
            let silent = request.method == "HEAD";
            self.send(&answer, silent, after, now, head, date)
        })
    }

    fn keep(&mut self, input: &[u8]) {
        if input.is_empty() {
            self.unread = Vec::new();
        } else if self.unread != input {
            self.unread = input.to_vec();
        }
    }

    fn reject(
        &mut self,
        status: Status,
        now: Moment,
        head: &mut Vec<u8>,
        date: &mut (i64, String),
    ) -> io::Result<Wait> {
        let answer = Answer::error(status);
        if self.context.access_log {
            tracing::warn!(target: "alppaca.access", "{} - {} -", self.peer, status.code());
        }
        self.unread = Vec::new();
        self.send(&answer, false, After::Linger, now, head, date)
    }

    /// Sends as much of the answer as the kernel takes at once.
    fn send(
        &mut self,
        answer: &Answer,
        silent: bool,
        after: After,
        now: Moment,
        head: &mut Vec<u8>,
        date: &mut (i64, String),
    ) -> io::Result<Wait> {
        if date.0 != now.wall.as_second() {
            *date = (now.wall.as_second(), http_date(now.wall));
        }
        head.clear();
        answer.write_head(head, &date.1, matches!(after, After::Next));
        self.registration.slot.answered(now.boot);
        let body = if silent { Body::Empty } else { answer.body.clone() };
        let sent = match self.stream.try_write_vectored(&[IoSlice::new(head), IoSlice::new(body.bytes())]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        if sent == head.len() + body.bytes().len() {
            return Ok(after.into());
        }
        Ok(Wait::Room(Unsent { head: head.clone(), body, sent }, after))
    }

    async fn send_rest(&mut self, mut unsent: Unsent) -> io::Result<()> {
        loop {
            let head = unsent.head.get(unsent.sent..).unwrap_or_default();
            let into_body = unsent.sent.saturating_sub(unsent.head.len());
            let body = unsent.body.bytes().get(into_body..).unwrap_or_default();
            if head.is_empty() && body.is_empty() {
                return Ok(());
            }
            self.stream.writable().await?;
            match self.stream.try_write_vectored(&[IoSlice::new(head), IoSlice::new(body)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => unsent.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks again at each change of the store, for a while; then answers whatever there is.
    async fn wait_for_store(&mut self) -> io::Result<Wait> {
        let context = Arc::clone(&self.context);
        let patience = tokio::time::sleep(WARMING_WAIT);
        tokio::pin!(patience);
        loop {
            let changed = context.imds.store().changed();
            match self.turn(false, true)? {
                Wait::Store => {}
                wait => return Ok(wait),
            }
            tokio::select! {
                () = changed => {}
                () = &mut patience => return self.turn(false, false),
            }
        }
    }

    async fn linger(&mut self) -> io::Result<()> {
        rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Write)?;
        let mut taken = 0;
        while taken < LINGER_BYTES {
            self.stream.readable().await?;
            taken += match SCRATCH.with_borrow_mut(|scratch| self.stream.try_read(&mut scratch.input)) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }

    fn log(&self, request: &Request, answer: &Answer) {
        if self.context.access_log {
            tracing::warn!(
                target: "alppaca.access",
                "{} \"{} {} HTTP/1.{}\" {} {} \"{}\"",
                self.peer,
                request.method,
                request.target.as_bytes().escape_ascii(),
                u8::from(request.http11),
                answer.status.code(),
                answer.body.bytes().len(),
                request.user_agent.unwrap_or(b"-").escape_ascii()
            );
        }
    }
}
