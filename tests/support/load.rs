//! Programs that ask for credentials all the time, each with a connection of its own and without a second try, and what they
//! have seen.

#![allow(clippy::disallowed_methods, reason = "what programs see is measured by the real clock")]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// So many at once. A request that waits delays none of the others.
pub const PROGRAMS: usize = 32;

/// What they have seen.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests that were answered at the first try, with what is right.
    pub answered: usize,
    /// Requests whose connection broke, and that were answered at the second try.
    pub cut: usize,
    /// Everything else, in words.
    pub failed: Vec<String>,
    /// The longest that one took.
    pub worst: Duration,
}

/// The programs.
pub struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    tally: Arc<Mutex<Tally>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    /// Has `rate` requests a second made at `address`, with this `head`. The answer has to contain `expected`.
    pub fn start(address: SocketAddr, head: &str, expected: &str, rate: u32) -> Self {
        let mut load =
            Self { over: Arc::default(), answered: Arc::default(), tally: Arc::default(), threads: Vec::new() };
        let turn = Arc::new(AtomicUsize::new(0));
        let began = Instant::now();
        for _ in 0..PROGRAMS {
            let (over, answered, tally) = (Arc::clone(&load.over), Arc::clone(&load.answered), Arc::clone(&load.tally));
            let (head, expected, turn) = (head.to_owned(), expected.to_owned(), Arc::clone(&turn));
            load.threads.push(thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // Each request has its time, however long the one before has taken.
                    let number = u32::try_from(turn.fetch_add(1, Ordering::Relaxed)).expect("not that many");
                    let due = Duration::from_secs(1) * number / rate;
                    thread::sleep(due.saturating_sub(began.elapsed()));
                    let asked = Instant::now();
                    let first = ask(address, &head);
                    let right =
                        |answer: &io::Result<String>| answer.as_ref().is_ok_and(|text| text.contains(&expected));
                    let second = first.is_err().then(|| ask(address, &head));
                    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
                    tally.worst = tally.worst.max(asked.elapsed());
                    if right(&first) {
                        tally.answered += 1;
                        answered.fetch_add(1, Ordering::Relaxed);
                    } else if second.as_ref().is_some_and(right) {
                        tally.cut += 1;
                    } else {
                        tally.failed.push(format!("{first:?}, {second:?}"));
                    }
                }
            }));
        }
        load
    }

    /// Waits until so many more requests were answered.
    pub fn wait_for(&self, more: usize) {
        let before = self.answered.load(Ordering::Relaxed);
        while self.answered.load(Ordering::Relaxed) < before + more {
            let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            assert!(tally.failed.is_empty(), "{tally:?}");
            drop(tally);
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends them; what they have seen.
    pub fn stop(mut self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("it does not panic");
        }
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The head of a request for `path`, without its last lines.
pub fn head(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n")
}

/// One request on a connection of its own.
pub fn ask(address: SocketAddr, head: &str) -> io::Result<String> {
    ask_on(TcpStream::connect(address)?, head)
}

/// One request on this connection.
pub fn ask_on(mut stream: TcpStream, head: &str) -> io::Result<String> {
    stream.set_read_timeout(Some(super::PATIENCE))?;
    write!(stream, "{head}Connection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
}
