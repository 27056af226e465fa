//! The bounded queue between the code that logs and the thread that writes. A stalled syslog or a full
//! disk delays no request; records that find no room are dropped, counted and reported.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    fields::Fields,
    format::Record,
    frame::Frame,
    level::Level,
    sink::{Batch, Failure, Sink},
};
use crate::clock::{BootTime, SharedClock};

/// How much may wait to be written.
const CAPACITY: usize = 1024 * 1024;
/// How much of that may be taken by records that clients cause: the rest is kept for the daemon's own.
const FOR_CLIENTS: usize = CAPACITY / 2;
/// How much is gathered at most before it is written.
const GATHERED: usize = 16 * 1024;
/// How long records are gathered before they are written. Waking the writer for each would cost a
/// busy server more than the writing itself.
const GATHER: Duration = Duration::from_millis(10);
/// The pause after a failed write, so that a broken handler is not tried thousands of times a second.
const PAUSE: Duration = Duration::from_millis(200);
/// How often to report that records still cannot be written.
const TELL_AGAIN: Duration = Duration::from_mins(1);
const STACK: usize = 128 * 1024;

/// How much room a record may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    /// A record that clients can cause as often as they like: half of the room.
    Client,
    /// Any other: all of it.
    Own,
}

impl Rank {
    fn room(self) -> usize {
        match self {
            Self::Client => FOR_CLIENTS,
            Self::Own => CAPACITY,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    dropped: u64,
    /// How many the writer has taken and may not have written.
    in_hand: usize,
    /// Whether the writer is awake: gathering, or writing.
    awake: bool,
    /// Whether a caller waits for all to be written.
    urgent: bool,
    /// How many records were accepted, which is the number of the next one.
    accepted: u64,
    /// How many of them the writer is done with: it has written them, or given them up.
    passed: u64,
    /// The numbers of those that a caller waits for, and whether they are given up.
    awaited: BTreeMap<u64, bool>,
    closed: bool,
    /// Whether the writer has ended, and has reported all that there was to report.
    ended: bool,
}

impl State {
    /// Whether it is worth to wait for more records.
    fn gathers(&mut self) -> bool {
        !self.urgent && !self.closed && self.awaited.is_empty() && self.waiting.bytes.len() < GATHERED
    }

    /// The writer is done with the next `count` records.
    fn pass(&mut self, count: usize, given_up: bool) {
        let first = self.passed;
        self.passed += count as u64;
        if given_up {
            self.awaited.range_mut(first..self.passed).for_each(|(_, given_up)| *given_up = true);
        }
    }
}

/// What becomes of records that are lost.
pub(super) enum Trouble<'a> {
    /// They cannot be written.
    Failing { target: &'a str, error: &'a io::Error, lost: u64 },
    /// They can be written again.
    Over { target: &'a str },
    /// The number that could not be written; reported once at the end.
    Lost(u64),
    /// The number that found no room; reported once at the end.
    Dropped(u64),
}

/// How the writer reports trouble, and what it calls a record.
pub(super) struct Warden {
    pub(super) record: &'static str,
    pub(super) tell: Box<dyn Fn(&Trouble<'_>) + Send>,
    /// Whether records that cannot be written are kept, and tried again until the queue is closed.
    pub(super) keeps: bool,
}

impl Warden {
    /// That of the log, which has only stderr to turn to, and says the rest itself when it can be written again.
    pub(super) fn of_log() -> Self {
        let tell = |trouble: &Trouble<'_>| {
            if let Trouble::Failing { target, error, .. } = trouble {
                complain(&format!("alppaca: cannot write the log to {target}: {error}\n"));
            }
        };
        Self { record: "log record(s)", tell: Box::new(tell), keeps: false }
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
    taken: Condvar,
    /// Whether the last attempt to write has failed.
    failing: Arc<AtomicBool>,
    /// How many records were lost, for whatever reason.
    lost: Arc<AtomicU64>,
}

impl Queue {
    /// Starts the thread that writes to `sink`; `frame` renders what the queue itself has to say.
    pub(super) fn start(
        thread: &str,
        mut sink: Box<dyn Sink>,
        frame: Frame,
        clock: SharedClock,
        warden: Warden,
    ) -> io::Result<Arc<Self>> {
        let queue = Arc::new(Self::default());
        let writer = Arc::clone(&queue);
        thread::Builder::new().name(thread.into()).stack_size(STACK).spawn(move || {
            writer.write_all(&mut *sink, &frame, &clock, &warden);
        })?;
        Ok(queue)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of records that were lost, which grows.
    pub(super) fn lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.lost)
    }

    /// Whether the last attempt to write has failed, which changes.
    pub(super) fn failing(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.failing)
    }

    /// Takes a record if there is room; whether there was.
    pub(super) fn push(&self, record: &str, rank: Rank) -> bool {
        let mut state = self.state();
        let has_room = self.has_room(&mut state, record, rank);
        if has_room {
            self.take(&mut state, record);
        }
        has_room
    }

    /// Takes a record of our own if there is room, and waits until it is written, but no longer than `limit`; whether it
    /// is. One that is not may still be written later.
    pub(super) fn push_through(&self, record: &str, limit: Duration) -> bool {
        self.push_awaited(record).is_some_and(|number| self.wait_for(number, limit))
    }

    /// Takes a record that is then waited for; its number, if there was room.
    fn push_awaited(&self, record: &str) -> Option<u64> {
        let mut state = self.state();
        if !self.has_room(&mut state, record, Rank::Own) {
            return None;
        }
        let number = state.accepted;
        state.awaited.insert(number, false);
        self.take(&mut state, record);
        Some(number)
    }

    /// Waits until this record is written or given up, but no longer than `limit`; whether it is written. Of what comes
    /// after it, only what is written with it delays it.
    fn wait_for(&self, number: u64, limit: Duration) -> bool {
        let pending = |state: &mut State| state.passed <= number;
        let waited = self.written.wait_timeout_while(self.state(), limit, pending);
        let (mut state, _timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        let given_up = state.awaited.remove(&number);
        state.passed > number && given_up == Some(false)
    }

    /// Whether there is room for a record, which is counted if there is not.
    fn has_room(&self, state: &mut State, record: &str, rank: Rank) -> bool {
        let has_room = state.waiting.bytes.len() + record.len() <= rank.room();
        if !has_room {
            state.dropped += 1;
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    /// Takes a record as soon as there is room.
    pub(super) fn push_patiently(&self, record: &str) {
        let full = |state: &mut State| state.waiting.len() > 0 && state.waiting.bytes.len() + record.len() > CAPACITY;
        let waited = self.taken.wait_while(self.state(), full);
        self.take(&mut waited.unwrap_or_else(PoisonError::into_inner), record);
    }

    fn take(&self, state: &mut State, record: &str) {
        state.waiting.push(record);
        state.accepted += 1;
        // A writer that is at work looks again by itself.
        if !state.awake || !state.gathers() {
            self.filled.notify_one();
        }
    }

    /// Waits until all is written, but no longer than `limit`; how many records may not be.
    pub(super) fn flush(&self, limit: Duration) -> usize {
        // Of a closed queue also the last word, which says what could not be written.
        let busy = |state: &mut State| state.awake || state.waiting.len() > 0 || (state.closed && !state.ended);
        let mut state = self.state();
        state.urgent = true;
        self.filled.notify_one();
        // Too late is too late: the program must be able to end.
        let waited = self.written.wait_timeout_while(state, limit, busy);
        let (mut state, _timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        if busy(&mut state) { state.waiting.len() + state.in_hand } else { 0 }
    }

    /// The writer is done with the next `count` records.
    fn pass(&self, count: usize, given_up: bool) {
        let mut state = self.state();
        state.pass(count, given_up);
        if !state.awaited.is_empty() {
            self.written.notify_all();
        }
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
        state.in_hand = 0;
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
        state.in_hand = batch.len();
        self.taken.notify_all();
        Some((batch, mem::take(&mut state.dropped)))
    }

    fn write_all(&self, sink: &mut dyn Sink, frame: &Frame, clock: &SharedClock, warden: &Warden) {
        let Warden { record, tell, keeps } = warden;
        let mut batch = Batch::default();
        let (mut lost, mut dropped) = (0_u64, 0_u64);
        let mut tell_again = BootTime::ZERO;
        while let Some((next, more)) = self.next(batch) {
            batch = next;
            dropped += more;
            while let Err(Failure { written, error }) = sink.write(&batch, clock.now().wall) {
                batch.discard(written);
                self.pass(written, false);
                let keep = *keeps && !self.state().closed;
                let these = if keep { 0 } else { batch.len() as u64 };
                self.lost.fetch_add(these, Ordering::Relaxed);
                let now = clock.now().boot;
                if !self.failing.swap(true, Ordering::Relaxed) || now >= tell_again {
                    tell_again = now + TELL_AGAIN;
                    tell(&Trouble::Failing { target: &sink.name(), error: &error, lost: lost + these });
                }
                lost += these;
                thread::sleep(PAUSE);
                if !keep {
                    self.pass(batch.len(), true);
                    batch.clear();
                    break;
                }
            }
            if batch.len() == 0 {
                continue;
            }
            if self.failing.swap(false, Ordering::Relaxed) {
                tell(&Trouble::Over { target: &sink.name() });
            }
            self.pass(batch.len(), false);
            if lost == 0 && dropped == 0 {
                continue;
            }
            batch.clear();
            let mut notice = |text: &str| batch.push(&render_notice(frame, clock, text));
            if lost > 0 {
                notice(&format!("{lost} {record} were lost while they could not be written"));
            }
            if dropped > 0 {
                notice(&format!("{dropped} {record} were dropped: they came faster than they could be written"));
            }
            // If this fails, it is reported the next time.
            if sink.write(&batch, clock.now().wall).is_ok() {
                last_word(tell, &mut lost, &mut dropped);
            }
        }
        last_word(tell, &mut lost, &mut dropped);
        self.state().ended = true;
        self.written.notify_all();
    }
}

fn last_word(tell: &dyn Fn(&Trouble<'_>), lost: &mut u64, dropped: &mut u64) {
    match mem::take(lost) {
        0 => {}
        lost => tell(&Trouble::Lost(lost)),
    }
    match mem::take(dropped) {
        0 => {}
        dropped => tell(&Trouble::Dropped(dropped)),
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
        fields: Fields::default(),
        thread: "log",
        path: file!(),
        line: line!(),
    };
    let mut line = String::new();
    frame.render(&record, &mut line);
    line
}

/// The last resort. If stderr is gone as well, nothing can be reported.
fn complain(text: &str) {
    let _unheard = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::{Format, clock::SystemClock};

    /// A sink that waits for a signal before each batch, and fails on request.
    struct Gate {
        go: mpsc::Receiver<bool>,
        seen: mpsc::Sender<Vec<String>>,
    }

    impl Sink for Gate {
        fn open(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn write(&mut self, batch: &Batch, _now: jiff::Timestamp) -> Result<(), Failure> {
            if !self.go.recv().unwrap_or(true) {
                return Err(io::Error::other("a failure on request").into());
            }
            let texts = batch.records().map(|record| String::from_utf8_lossy(record).into_owned()).collect();
            self.seen.send(texts).map_err(|error| io::Error::other(error).into())
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
        (Queue::start("log", sink, frame, SystemClock::shared(), Warden::of_log()).expect("a thread"), go, seen)
    }

    #[test]
    fn a_stalled_sink_blocks_nobody_and_what_is_dropped_is_told() {
        let (queue, go, seen) = gate();
        let record = "x".repeat(1000);
        // Nothing is written meanwhile; if pushing blocked, this would not end.
        let taken = (0..3000).filter(|_| queue.push(&record, Rank::Own)).count();
        let (mut records, mut pushed) = (Vec::new(), 3000);
        let told = |records: &[String]| -> usize {
            let notices = records.iter().filter(|text| text.contains("were dropped"));
            notices
                .map(|text| text.split(' ').next().and_then(|count| count.parse::<usize>().ok()).expect("a number"))
                .sum()
        };
        let whole = |records: &[String]| records.iter().filter(|text| **text == record).count();
        // A writer that begins late has records to write also after the first word of those that were dropped.
        while told(&records) == 0 || whole(&records) + told(&records) < pushed {
            go.send(true).expect("the writer waits");
            records.extend(seen.recv_timeout(Duration::from_mins(1)).expect("a batch"));
            if told(&records) == 0 {
                // It may still be full.
                pushed += usize::from(!queue.push("one more", Rank::Own));
            }
        }
        let (whole, told) = (whole(&records), told(&records));
        assert_eq!((whole, whole + told), (taken, pushed));
        assert_eq!(queue.lost().load(Ordering::Relaxed), told as u64);
    }

    #[test]
    fn a_record_is_waited_for_whatever_comes_after_it() {
        let (queue, go, seen) = gate();
        let own = queue.push_awaited("own").expect("room");
        go.send(true).expect("the writer waits");
        assert_eq!(seen.recv().expect("a batch"), ["own"]);
        // From here on there is always something that is not written.
        assert!(queue.push("later", Rank::Client));
        assert!(queue.wait_for(own, Duration::from_mins(1)));
        let late = queue.push_awaited("late").expect("room");
        assert!(!queue.wait_for(late, Duration::ZERO));
        assert!(queue.state().awaited.is_empty());
    }

    #[test]
    fn whether_a_record_is_written_is_said_of_itself_alone() {
        let (queue, go, seen) = gate();
        let written = queue.push_awaited("written").expect("room");
        go.send(true).expect("the writer waits");
        assert_eq!(seen.recv().expect("a batch"), ["written"]);
        let lost = queue.push_awaited("lost").expect("room");
        go.send(false).expect("the writer waits");
        let pending = |state: &mut State| state.passed <= lost;
        drop(queue.written.wait_while(queue.state(), pending).expect("not poisoned"));
        assert!(queue.failing().load(Ordering::Relaxed));
        assert!(!queue.wait_for(lost, Duration::ZERO));
        assert!(queue.wait_for(written, Duration::ZERO));
    }

    #[test]
    fn of_a_batch_that_is_written_in_part_the_rest_is_given_up() {
        let mut state = State { accepted: 6, passed: 1, ..State::default() };
        state.awaited.extend([1, 2, 3, 4, 5].map(|number| (number, false)));
        state.pass(2, false);
        state.pass(2, true);
        assert_eq!(state.passed, 5);
        let given_up: Vec<u64> = state.awaited.iter().filter(|(_, lost)| **lost).map(|(number, _)| *number).collect();
        assert_eq!(given_up, [3, 4]);
    }

    #[test]
    fn after_a_failure_it_goes_on_and_says_what_was_lost() {
        let (queue, go, seen) = gate();
        queue.push("lost", Rank::Own);
        go.send(false).expect("the writer waits");
        // Only once the first batch has failed is the second one taken.
        queue.flush(Duration::from_secs(5));
        queue.push("kept", Rank::Own);
        go.send(true).expect("the writer waits");
        go.send(true).expect("the writer waits");
        assert_eq!(seen.recv().expect("a batch"), ["kept"]);
        let told = seen.recv().expect("a batch");
        assert!(told.concat().starts_with("1 log record(s) were lost"), "{told:?}");
    }

    #[test]
    fn what_clients_cause_displaces_nothing_of_the_daemons_own() {
        let (queue, _go, _seen) = gate();
        let record = "x".repeat(1000);
        let taken = (0..3000).filter(|_| queue.push(&record, Rank::Client)).count();
        assert!((500..1500).contains(&taken), "{taken}");
        // The writer may have taken a batch before, but no more than that fits twice.
        assert_eq!((0..500).filter(|_| queue.push(&record, Rank::Own)).count(), 500);
        assert_eq!(queue.lost().load(Ordering::Relaxed), 3000 - taken as u64);
    }

    #[test]
    fn where_records_are_kept_a_failure_loses_none_and_is_over_when_they_are_written() {
        let (go, wait) = mpsc::channel();
        let (tell, seen) = mpsc::channel();
        let frame = Frame::Line(Format::parse("%(message)s").expect("legal"));
        let sink = Box::new(Gate { go: wait, seen: tell });
        let (report, reports) = mpsc::channel();
        let told = move |trouble: &Trouble<'_>| {
            let text = match trouble {
                Trouble::Failing { lost, .. } => format!("failing {lost}"),
                Trouble::Over { .. } => "over".to_owned(),
                Trouble::Lost(_) | Trouble::Dropped(_) => "lost".to_owned(),
            };
            report.send(text).expect("the test waits");
        };
        let warden = Warden { record: "record(s)", tell: Box::new(told), keeps: true };
        let queue = Queue::start("log", sink, frame, SystemClock::shared(), warden).expect("a thread");
        queue.push_patiently("kept");
        go.send(false).expect("the writer waits");
        assert_eq!(reports.recv().expect("a report"), "failing 0");
        assert!(queue.failing().load(Ordering::Relaxed));
        go.send(false).expect("the writer waits");
        go.send(true).expect("the writer waits");
        assert_eq!(seen.recv().expect("a batch"), ["kept"]);
        assert_eq!(reports.recv().expect("a report"), "over");
        assert!(!queue.failing().load(Ordering::Relaxed));
        assert_eq!(queue.lost().load(Ordering::Relaxed), 0);
    }
}
