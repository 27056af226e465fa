//! The requests and answers of one connection: reads heads, asks the face, writes answers. It never waits.
//!
//! An idle connection owns no buffer: bytes are read into one buffer per thread, and only what is
//! left of an incomplete head or of an answer that the client does not take is kept. All the work
//! between two waits is one [`Exchange::turn`], which says what to wait for next.

mod audited;
#[cfg(test)]
mod tests;
mod unread;
mod wire;

use std::{
    io, mem,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
};

use unread::Unread;
use wire::{Output, SCRATCH, Scratch, open, receive, transmit};
pub(super) use wire::{Unsent, discard};
use zeroize::Zeroize;

use super::{
    access::AccessLog,
    answer::{Answer, Body, Outcome, Status},
    client::ClientConnection,
    counters::Counters,
    current::CurrentFaces,
    denial::Denial,
    face::{Change, Face},
    listener::Limits,
    registry::{Registry, Slot},
    request::{Parsed, Request, parse},
    turns::{Turn, Turns},
};
use crate::{
    audit::Auditor,
    caller::{Owner, Subordinates},
    clock::{BootTime, Moment, SharedClock},
    policy::Gatekeeper,
};

/// All programs of this host, where they are one owner.
const THIS_HOST: Owner = Owner::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));

/// What all connections share.
pub(super) struct Context {
    pub(super) current: CurrentFaces,
    /// The headers that only one protocol has, of all protocols.
    pub(super) headers: Vec<&'static str>,
    pub(super) gatekeeper: Arc<dyn Gatekeeper>,
    pub(super) auditor: Arc<Auditor>,
    pub(super) clock: SharedClock,
    pub(super) limits: Limits,
    pub(super) registry: Arc<Registry>,
    pub(super) subordinates: Arc<Subordinates>,
    pub(super) counters: Arc<Counters>,
    pub(super) access: Arc<AccessLog>,
    pub(super) turns: Turns,
}

/// What a connection waits for next.
pub(super) enum Wait {
    /// A turn of its owner, to read its first request.
    Turn,
    /// More input.
    Input,
    /// Nothing: there may be another request in what was read.
    Nothing,
    /// Room for the rest of an answer; then what follows it.
    Room(Box<Unsent>, After),
    /// A change: of the store, or elsewhere.
    Change(Change),
    /// The client's end, discarding what it still sends.
    Linger,
    /// Nothing more: close.
    End,
}

/// What follows an answer.
#[derive(Clone, Copy)]
pub(super) enum After {
    Next,
    Linger,
    Close,
}

/// The state of the exchange on one connection.
pub(super) struct Exchange {
    pub(super) context: Arc<Context>,
    client: ClientConnection,
    /// What that listener shows.
    face: &'static dyn Face,
    pub(super) slot: Arc<Slot>,
    /// What was read and not used yet.
    unread: Unread,
    /// How many bytes of a body are still to be thrown away.
    discard: u64,
    /// Whether a head has begun and not ended.
    in_head: bool,
    /// How much of the next answer was sent ahead, for the client to prove its identity.
    ahead: usize,
    /// Since when the request at hand waits for its answer, if it has to.
    waiting: Option<BootTime>,
    /// Since when the client has not read the answers to pipelined requests.
    overdue: Option<BootTime>,
    /// Whether the last read took all that the kernel had.
    pub(super) drained: bool,
}

/// An answer and how it is to be given.
struct Reply {
    answer: Answer,
    /// How much of the input it takes.
    used: usize,
    /// Whether the request has a token.
    secret: bool,
    /// Whether the body is left out (`HEAD`).
    silent: bool,
    after: After,
    /// Where it was counted.
    row: usize,
    /// Since when it could have been given.
    since: BootTime,
}

impl Exchange {
    /// An exchange with a client that has said nothing yet.
    pub(super) fn new(context: Arc<Context>, peer: SocketAddr, listener: u16, face: &'static dyn Face) -> Self {
        let now = context.clock.boot();
        let slot = Arc::new(Slot::new(now, now + context.limits.idle_timeout));
        Self {
            context,
            client: ClientConnection::new(peer, listener),
            face,
            slot,
            unread: Unread::default(),
            discard: 0,
            in_head: false,
            ahead: 0,
            waiting: None,
            overdue: None,
            drained: false,
        }
    }

    /// The address of the client.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.client.peer().address
    }

    /// Notes that its owner had a turn.
    pub(super) fn note_turn(&self) {
        self.context.turns.note(self.party());
    }

    /// Whose requests these are, if that is known.
    fn owner(&self) -> Option<Owner> {
        let Context { gatekeeper, subordinates, clock, .. } = &*self.context;
        let remote = || self.client.remote(&**gatekeeper, || clock.boot()).map(|owner| subordinates.party(owner));
        self.slot.owner().or_else(remote)
    }

    /// Finds out whose the connection is before it has sent anything, as far as nothing has to be sent for that.
    pub(super) fn look_up_owner(&mut self, socket: &TcpStream) {
        self.identify(socket, false);
    }

    /// Whether something was read that was not used yet.
    pub(super) fn has_more(&self) -> bool {
        !self.unread.bytes().is_empty()
    }

    /// Waits until it is its owner's turn. None if nobody else could have one.
    pub(super) async fn take_turn(&self) -> Turn {
        self.context.turns.of(self.party()).await
    }

    /// Whose turns these are. All whose owner is not known, or not yet, are one; where nobody asks for users, so are the
    /// programs of this host.
    fn party(&self) -> Owner {
        let rest = || if self.context.gatekeeper.asks_who() { Owner::Nobody } else { THIS_HOST };
        self.owner().unwrap_or_else(rest)
    }

    /// Reads what the client has sent, and answers one request if its head is complete.
    pub(super) fn read_turn(&mut self, socket: &TcpStream) -> io::Result<Wait> {
        SCRATCH.with_borrow_mut(|Scratch { input, output }| {
            if mem::take(&mut self.drained) {
                // It had taken all answers when it sent this.
                self.overdue = None;
            }
            let earlier = self.unread.bytes();
            let (beginning, space) = input.split_at_mut(earlier.len().min(input.len()));
            let count = match receive(socket, space) {
                Ok(0) => return Ok(Wait::End),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.drained = true;
                    return Ok(Wait::Input);
                }
                Err(error) => return Err(error),
            };
            beginning.copy_from_slice(&earlier[..beginning.len()]);
            self.drained = count < space.len();
            let filled = beginning.len() + count;
            let input = &mut input[..filled];
            let now = self.context.clock.now();
            let (reply, used) = self.answer_one(socket, input, now, true);
            if used < filled || self.has_more() {
                self.unread = Unread::copied(&input[used..]);
            }
            // What follows may be secret, too.
            if used < filled || reply.as_ref().map_or(true, |reply| reply.secret) {
                input.zeroize();
            }
            self.send(socket, reply, now, output)
        })
    }

    /// Answers one request if what was read before holds one. `patient`: a request for something
    /// whose first fetch is under way may wait.
    pub(super) fn turn(&mut self, socket: &TcpStream, patient: bool) -> io::Result<Wait> {
        if !self.has_more() {
            return Ok(Wait::Input);
        }
        let mut unread = mem::take(&mut self.unread);
        let now = self.context.clock.now();
        let (reply, used) = self.answer_one(socket, unread.bytes(), now, patient);
        unread.advance(used);
        self.unread = unread;
        SCRATCH.with_borrow_mut(|scratch| self.send(socket, reply, now, &mut scratch.output))
    }

    /// From now on the client has to take an answer. Pipelined requests count as one: a hundred of them give
    /// it no more time than one.
    pub(super) fn expect_room(&mut self) {
        let since = *self.overdue.get_or_insert_with(|| self.context.clock.boot());
        self.slot.set_deadline(since + self.context.limits.write_timeout);
    }

    /// From now on the client may send another request.
    pub(super) fn expect_request(&self) {
        self.slot.set_deadline(self.context.clock.boot() + self.context.limits.idle_timeout);
    }

    /// What to say to the first request of `input`, or else what to wait for; and how many bytes are not needed any more.
    fn answer_one(
        &mut self,
        socket: &TcpStream,
        input: &[u8],
        now: Moment,
        patient: bool,
    ) -> (Result<Reply, Wait>, usize) {
        let discarded = usize::try_from(self.discard).unwrap_or(usize::MAX).min(input.len());
        self.discard -= discarded as u64;
        let reply = self.reply(socket, &input[discarded..], now, patient);
        let used = discarded + reply.as_ref().map_or(0, |reply| reply.used);
        (reply, used)
    }

    /// What to say to `input`, or else what to wait for.
    fn reply(&mut self, socket: &TcpStream, input: &[u8], now: Moment, patient: bool) -> Result<Reply, Wait> {
        let (request, length) = match parse(input, &self.face.headers(), &self.context.headers) {
            Parsed::Whole(request, length) => (request, length),
            Parsed::Partial => {
                if !input.is_empty() && !mem::replace(&mut self.in_head, true) {
                    self.slot.set_deadline(now.boot + self.context.limits.header_timeout);
                }
                return Err(Wait::Input);
            }
            Parsed::Malformed => return Ok(self.reject(Status::BadRequest, input.len(), now)),
            Parsed::TooLarge => return Ok(self.reject(Status::HeadTooLarge, input.len(), now)),
        };
        let answer = match self.respond(socket, &request, now) {
            Outcome::Answer(mut answer) => {
                self.hide_pid(&mut answer);
                answer
            }
            // Waiting would not help.
            Outcome::Warming if self.client.is_unknown() => {
                self.face.error(Status::Unavailable).denied(Denial::Unidentified)
            }
            waiting @ (Outcome::Warming | Outcome::Expired(_) | Outcome::Elsewhere) if patient => {
                self.waiting.get_or_insert(now.boot);
                let elsewhere = matches!(waiting, Outcome::Elsewhere);
                return Err(Wait::Change(if elsewhere { Change::Arrival } else { Change::Store }));
            }
            Outcome::Expired(answer) => answer,
            Outcome::Warming | Outcome::Elsewhere => self.face.error(Status::Unavailable),
        };
        let answer = self.audited(&request, answer, now);
        if self.context.current.access_log() {
            self.context.access.request(self.client.peer(), self.face, &request, &answer, now);
        }
        let row = self.count(Some(&request), &answer, now);
        let after = match (request.body, request.expects_continue) {
            (None, _) | (Some(_), true) => After::Linger,
            (Some(_), false) if request.keep_alive && !self.context.registry.is_stopping() => After::Next,
            (Some(0), false) => After::Close,
            (Some(_), false) => After::Linger,
        };
        self.in_head = false;
        self.discard = request.body.unwrap_or(0);
        let secret = request.authorization.is_some() || request.foreign || request.own.iter().any(Option::is_some);
        let since = self.waiting.take().unwrap_or(now.boot);
        Ok(Reply { answer, used: length, secret, silent: request.method == "HEAD", after, row, since })
    }

    fn count(&mut self, request: Option<&Request>, answer: &Answer, now: Moment) -> usize {
        let Self { context, client, face, .. } = self;
        context.counters.count(*face, request, client.class(&*context.gatekeeper, now.boot), answer)
    }

    /// What the face says to `request`, by what is known of the client.
    fn respond(&mut self, socket: &TcpStream, request: &Request, now: Moment) -> Outcome {
        self.identify(socket, true);
        let Self { context, client, ahead, .. } = self;
        let Context { current, gatekeeper, .. } = &**context;
        let outcome = current.faces().respond(self.face, request, client.context(&**gatekeeper, request), now);
        let unauthorized =
            |outcome: &Outcome| matches!(outcome, Outcome::Answer(answer) if answer.status == Status::Unauthorized);
        if self.face.may_be_bound(request)
            && unauthorized(&outcome)
            && client.identify(&**gatekeeper, socket, &mut || open(socket, ahead))
        {
            return current.faces().respond(self.face, request, client.context(&**gatekeeper, request), now);
        }
        outcome
    }

    /// Identifies the client, if somebody wants to know. `may_open`: by sending the beginning of an answer, if need be.
    fn identify(&mut self, socket: &TcpStream, may_open: bool) {
        let Self { context, client, ahead, slot, .. } = self;
        let Context { gatekeeper, subordinates, .. } = &**context;
        let mut open = || if may_open { open(socket, ahead) } else { Err(io::ErrorKind::PermissionDenied.into()) };
        if gatekeeper.asks_who()
            && client.identify(&**gatekeeper, socket, &mut open)
            && let owner @ Owner::User(_) = client.peer().owner()
        {
            slot.prove(subordinates.party(owner));
        }
    }

    fn reject(&mut self, status: Status, used: usize, now: Moment) -> Reply {
        if self.context.current.access_log() {
            self.context.access.malformed(self.client.peer(), status, now);
        }
        let answer = self.face.error(status);
        let row = self.count(None, &answer, now);
        Reply { answer, used, secret: true, silent: false, after: After::Linger, row, since: now.boot }
    }

    /// Sends as much of the reply, if there is one, as the kernel takes without blocking.
    fn send(
        &mut self,
        socket: &TcpStream,
        reply: Result<Reply, Wait>,
        now: Moment,
        output: &mut Output,
    ) -> io::Result<Wait> {
        let reply = match reply {
            Ok(reply) => reply,
            Err(wait) => return Ok(wait),
        };
        let head = output.head(&reply.answer, now, matches!(reply.after, After::Next));
        let head = head.get(mem::take(&mut self.ahead)..).unwrap_or_default();
        let body = if reply.silent { &Body::Empty } else { &reply.answer.body };
        self.slot.answered(now.boot, now.boot + self.context.limits.idle_timeout);
        let sent = match transmit(socket, head, body.bytes()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            sent => sent?,
        };
        self.context.counters.answered(reply.row, self.context.clock.boot().since(reply.since));
        if sent == head.len() + body.bytes().len() {
            return Ok(reply.after.into());
        }
        Ok(Wait::Room(Box::new(Unsent { head: head.to_vec(), body: body.clone(), sent }), reply.after))
    }

    /// Reveals our process id only to processes of this host; others learn only that this is alppaca.
    fn hide_pid(&self, answer: &mut Answer) {
        if let Some(pid) = &mut answer.pid
            && !self.client.peer().address.is_some_and(|address| self.context.gatekeeper.is_local(address))
        {
            *pid = 0;
        }
    }
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
