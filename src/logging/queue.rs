//! Between those who log and the one who writes: a bounded queue and a thread. A stalled syslog or
//! a full disk delays no request; records that find no room are dropped, counted and told.

use std::{
    io::{self, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use super::{
    format::Record,
    handler::Sink,
    layer::{Frame, Level},
};
use crate::clock::SharedClock;

/// How much may wait to be written.
const CAPACITY: usize = 1024 * 1024;
/// How much is gathered at most before it is written.
const GATHERED: usize = 16 * 1024;
/// How large a buffer is kept for the next records.
const KEPT: usize = 4 * GATHERED;
/// How long records are gathered before they are written. Waking the writer for each would cost a
/// busy server more than the writing itself.
const GATHER: Duration = Duration::from_millis(10);
/// The pause after a failed write, so that a broken handler is not tried thousands of times a second.
const PAUSE: Duration = Duration::from_millis(200);
const STACK: usize = 128 * 1024;

/// Records, one behind the other.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    pub(super) fn push(&mut self, record: &str) {
        self.bytes.extend_from_slice(record.as_bytes());
        self.ends.push(self.bytes.len());
    }

    fn clear(&mut self) {
        if self.bytes.capacity() > KEPT {
            *self = Self::default();
        }
        self.bytes.clear();
        self.ends.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn records(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).filter_map(|(start, end)| self.bytes.get(*start..*end))
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    dropped: u64,
    /// Whether the writer is awake: gathering, or writing.
    awake: bool,
    /// Whether somebody waits for all to be written.
    urgent: bool,
    closed: bool,
}

impl State {
    /// Whether it is worth to wait for more records.
    fn gathers(&mut self) -> bool {
        !self.urgent && !self.closed && self.waiting.bytes.len() < GATHERED
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
}

impl Queue {
    /// Starts the thread that writes to `sink`; `frame` renders what the queue itself has to say.
    pub(super) fn start(
        thread: &str,
        mut sink: Box<dyn Sink>,
        frame: Frame,
        clock: SharedClock,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let writer = Arc::clone(&queue);
        thread::Builder::new().name(thread.into()).stack_size(STACK).spawn(move || {
            writer.write_all(&mut *sink, &frame, &clock);
        })?;
        Ok(queue)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a record if there is room.
    pub(super) fn push(&self, record: &str) {
        let mut state = self.state();
        if state.waiting.bytes.len() + record.len() > CAPACITY {
            state.dropped += 1;
            return;
        }
        state.waiting.push(record);
        // A writer that is at work looks again by itself.
        if !state.awake || !state.gathers() {
            self.filled.notify_one();
        }
    }

    /// Waits until all is written, but no longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let busy = |state: &mut State| state.awake || state.waiting.len() > 0;
        let mut state = self.state();
        state.urgent = true;
        self.filled.notify_one();
        // Too late is too late: the program must be able to end.
        let _waited = self.written.wait_timeout_while(state, limit, busy);
    }

    /// Lets the writer end when all is written.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.filled.notify_one();
    }

    /// The next records, and how many were dropped before them; `None` at the end.
    fn next(&self, mut batch: Batch) -> Option<(Batch, u64)> {
        batch.clear();
        let mut state = self.state();
        if state.waiting.len() == 0 {
            state.awake = false;
            state.urgent = false;
            self.written.notify_all();
        }
        while state.waiting.len() == 0 {
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.awake = true;
        let gathered = self.filled.wait_timeout_while(state, GATHER, State::gathers);
        let (mut state, _timed_out) = gathered.unwrap_or_else(PoisonError::into_inner);
        mem::swap(&mut state.waiting, &mut batch);
        Some((batch, mem::take(&mut state.dropped)))
    }

    fn write_all(&self, sink: &mut dyn Sink, frame: &Frame, clock: &SharedClock) {
        let notice = |text: &str| render_notice(frame, clock, text);
        let mut batch = Batch::default();
        let mut lost: u64 = 0;
        while let Some((next, dropped)) = self.next(batch) {
            batch = next;
            if dropped > 0 {
                batch.push(&notice(&format!(
                    "{dropped} log record(s) were dropped: they came faster than they can be written"
                )));
            }
            match sink.write(&batch, clock.now().wall) {
                Ok(()) if lost > 0 => {
                    let text = notice(&format!("{lost} log record(s) were lost while the log could not be written"));
                    batch.clear();
                    batch.push(&text);
                    lost = if sink.write(&batch, clock.now().wall).is_ok() { 0 } else { lost };
                }
                Ok(()) => {}
                Err(error) => {
                    if lost == 0 {
                        complain(&format!("alppaca: cannot write the log to {}: {error}\n", sink.name()));
                    }
                    lost += batch.len() as u64;
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

fn render_notice(frame: &Frame, clock: &SharedClock, message: &str) -> String {
    let now = clock.now().wall;
    let record = Record {
        created: now,
        started: now,
        level: Level::Warning,
        name: "alppaca.logging",
        message,
        thread: "log",
        path: file!(),
        line: line!(),
    };
    let mut line = String::new();
    frame.render(&record, &mut line);
    line
}

/// The last resort. If stderr is gone as well there is nobody left to tell.
fn complain(text: &str) {
    let _unheard = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{clock::SystemClock, logging::Format};

    /// A sink that waits to be let go before each batch, and fails when told to.
    struct Gate {
        go: mpsc::Receiver<bool>,
        seen: mpsc::Sender<Vec<String>>,
    }

    impl Sink for Gate {
        fn open(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn write(&mut self, batch: &Batch, _now: jiff::Timestamp) -> io::Result<()> {
            if !self.go.recv().unwrap_or(true) {
                return Err(io::Error::other("told to fail"));
            }
            let texts = batch.records().map(|record| String::from_utf8_lossy(record).into_owned()).collect();
            self.seen.send(texts).map_err(io::Error::other)
        }

        fn name(&self) -> String {
            "gate".to_owned()
        }
    }

    fn gate() -> (Arc<Queue>, mpsc::Sender<bool>, mpsc::Receiver<Vec<String>>) {
        let (go, wait) = mpsc::channel();
        let (tell, seen) = mpsc::channel();
        let frame = Frame::Line(Format::parse("%(message)s").expect("legal"));
        let sink = Box::new(Gate { go: wait, seen: tell });
        (Queue::start("log", sink, frame, SystemClock::shared()).expect("a thread"), go, seen)
    }

    #[test]
    fn a_stalled_sink_blocks_nobody_and_what_is_dropped_is_told() {
        let (queue, go, seen) = gate();
        let record = "x".repeat(1000);
        // Nothing is written meanwhile; if pushing blocked, this would not end.
        (0..3000).for_each(|_| queue.push(&record));
        let mut records = Vec::new();
        while !records.iter().any(|text: &String| text.contains("were dropped")) {
            go.send(true).expect("the writer waits");
            records.extend(seen.recv().expect("a batch"));
            queue.push("one more");
        }
        let told: usize = records.iter().find_map(|text| text.split(' ').next()?.parse().ok()).expect("a number");
        let whole = records.iter().filter(|text| **text == record).count();
        assert_eq!(whole + told, 3000);
    }

    #[test]
    fn after_a_failure_it_goes_on_and_says_what_was_lost() {
        let (queue, go, seen) = gate();
        queue.push("lost");
        go.send(false).expect("the writer waits");
        // Only once the first batch has failed is the second one taken.
        queue.flush(Duration::from_secs(5));
        queue.push("kept");
        go.send(true).expect("the writer waits");
        go.send(true).expect("the writer waits");
        assert_eq!(seen.recv().expect("a batch"), ["kept"]);
        let told = seen.recv().expect("a batch");
        assert!(told.concat().starts_with("1 log record(s) were lost"), "{told:?}");
    }
}
