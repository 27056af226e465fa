//! Bytes in and out of a socket that does not block: what a turn reads into and writes from, and what the client has not
//! taken yet.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    net::TcpStream,
};

use rustix::net::RecvFlags;

use crate::{
    clock::Moment,
    http::{
        answer::{Answer, BEGINNING, Body},
        request::MAX_HEAD,
    },
    store::http_date,
};

/// The part of an answer that the client has not taken yet.
pub(in crate::http) struct Unsent {
    pub(super) head: Vec<u8>,
    pub(super) body: Body,
    pub(super) sent: usize,
}

/// Used within a turn only.
pub(super) struct Scratch {
    pub(super) input: Box<[u8]>,
    pub(super) output: Output,
}

pub(super) struct Output {
    head: Vec<u8>,
    /// The second for which the `Date` was rendered, and the `Date`.
    date: (i64, String),
}

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; MAX_HEAD].into(),
        output: Output { head: Vec::with_capacity(512), date: (i64::MIN, String::new()) },
    });
}

/// Reads what there is and throws it away. `Ok(0)` is the end.
pub(in crate::http) fn discard(socket: &TcpStream) -> io::Result<usize> {
    SCRATCH.with_borrow_mut(|scratch| receive(socket, &mut scratch.input))
}

pub(super) fn receive(socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    let (_, count) = rustix::net::recv(socket, buffer, RecvFlags::empty())?;
    Ok(count)
}

/// Sends what each answer begins with, unless it was sent already; how many bytes the kernel took. `ahead` counts them.
pub(super) fn open(socket: &TcpStream, ahead: &mut usize) -> io::Result<usize> {
    if *ahead > 0 {
        return Ok(0);
    }
    *ahead = transmit(socket, BEGINNING, b"")?;
    Ok(*ahead)
}

/// How many bytes the kernel took.
pub(super) fn transmit(socket: &TcpStream, head: &[u8], body: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::writev(socket, &[IoSlice::new(head), IoSlice::new(body)])?)
}

impl Output {
    /// The head of an answer, until the next one is asked for.
    pub(super) fn head(&mut self, answer: &Answer, now: Moment, keep_alive: bool) -> &[u8] {
        let second = now.wall.as_second();
        if self.date.0 != second {
            self.date = (second, http_date(now.wall));
        }
        self.head.clear();
        answer.write_head(&mut self.head, &self.date.1, keep_alive);
        &self.head
    }
}

impl Unsent {
    /// Sends more of it; whether that was all.
    pub(in crate::http) fn send(&mut self, socket: &TcpStream) -> io::Result<bool> {
        let head = self.head.get(self.sent..).unwrap_or_default();
        let into_body = self.sent.saturating_sub(self.head.len());
        let body = self.body.bytes().get(into_body..).unwrap_or_default();
        match transmit(socket, head, body)? {
            0 => Err(io::ErrorKind::WriteZero.into()),
            sent => {
                self.sent += sent;
                Ok(sent == head.len() + body.len())
            }
        }
    }
}
