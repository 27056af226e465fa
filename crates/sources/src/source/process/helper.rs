//! Programs that a helper runs: a process that was started before the daemon was confined, and that runs the programs of a
//! list which it was given then. The daemon can only say which of them, so it needs no system call that executes anything,
//! and whoever takes it over can start nothing else.

use std::{
    collections::HashMap,
    io,
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
};
use zeroize::Zeroizing;

use super::{
    program::{Ended, Program},
    wire::Frame,
};

/// What begins a frame of the daemon's: run the program with this number and these facts, or end the run.
const RUN: u8 = 0;
const END: u8 = 1;
/// What begins a frame of the helper's.
const DONE: u8 = 0;
const FAILED: u8 = 1;

type Said = Result<Ended, String>;

/// How much longer than a program may take its helper is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

const HAS_ENDED: &str =
    "cannot be started: the helper of the daemon that starts programs has ended; restart the daemon";

/// The helper of this process, if it has one.
static HELPER: OnceLock<Helper> = OnceLock::new();

/// A helper that was started and has its list.
pub struct Started {
    programs: Vec<Program>,
    stream: UnixStream,
    /// It ends with the daemon, whose end of the stream is then closed.
    child: Child,
}

/// A helper at work.
struct Helper {
    programs: Vec<Program>,
    stream: Mutex<UnixStream>,
    next: AtomicU64,
    waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Said>>>>,
}

/// Ends a run that nobody waits for any more.
struct Run<'a> {
    helper: &'a Helper,
    id: u64,
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if lock(&self.helper.waiting).remove(&self.id).is_some() {
            // If it is gone, the run is, too.
            let _gone = self.helper.send(self.id, &[END]);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a helper for these programs with `command`, which has to call [`serve`].
pub fn start(mut command: Command, programs: Vec<Program>) -> io::Result<Started> {
    let (mut stream, theirs) = UnixStream::pair()?;
    command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn()?;
    let list = Zeroizing::new(serde_json::to_vec(&programs)?);
    Frame::new(0, &[&list]).write(&mut stream)?;
    Ok(Started { programs, stream, child })
}

impl Started {
    /// Has it run the programs of its list from now on. `ended` is called if it ends.
    pub fn use_it(self, ended: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut answers = self.stream.try_clone()?;
        let waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<Said>>>> = Arc::default();
        let (programs, stream, mut child) = (self.programs, Mutex::new(self.stream), self.child);
        let helper = Helper { programs, stream, next: AtomicU64::new(1), waiting: Arc::clone(&waiting) };
        HELPER.set(helper).map_err(|_| io::Error::other("there is a helper already"))?;
        thread::Builder::new().name("programs".into()).stack_size(128 * 1024).spawn(move || {
            while let Ok(Some(frame)) = Frame::read(&mut answers) {
                if let Some(waiting) = lock(&waiting).remove(&frame.run) {
                    // It may have given up at this moment.
                    let _late = waiting.send(said(&frame.body));
                }
            }
            // One that says nothing that makes sense ends, too. What it has not answered fails now, and what follows at once.
            let _ended_already = answers.shutdown(Shutdown::Both);
            lock(&waiting).clear();
            // Whatever its status was: it should not have ended.
            let _status = child.wait();
            ended();
        })?;
        Ok(())
    }
}

/// Whether a helper runs all programs.
pub(super) fn is_there() -> bool {
    HELPER.get().is_some()
}

/// Has the helper run this program.
pub(super) async fn run(program: &Program, facts: &[(String, String)]) -> Said {
    let helper = HELPER.get().ok_or("there is no helper")?;
    let number = helper.programs.iter().position(|known| known == program).ok_or(
        "is not one of the programs with which the daemon was started, and the sandbox allows no other: restart it",
    )?;
    let (tell, told) = oneshot::channel();
    let id = helper.next.fetch_add(1, Ordering::Relaxed);
    lock(&helper.waiting).insert(id, tell);
    let run = Run { helper, id };
    let number = u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
    let facts = serde_json::to_vec(facts).map_err(|error| error.to_string())?;
    helper.send(id, &[&[RUN][..], &number, &facts].concat()).map_err(|_closed| HAS_ENDED)?;
    // It keeps the program's own limit, unless it has stopped itself.
    let said = tokio::time::timeout(program.timeout + PATIENCE, told).await;
    let said = said.map_err(|_late| "the helper does not answer")?.map_err(|_ended| HAS_ENDED)?;
    drop(run);
    said
}

impl Helper {
    fn send(&self, run: u64, body: &[u8]) -> io::Result<()> {
        Frame::new(run, &[body]).write(&mut *lock(&self.stream))
    }
}

fn said(body: &[u8]) -> Said {
    let malformed = || "the helper has said nothing that makes sense".to_owned();
    let (kind, rest) = body.split_first().ok_or_else(malformed)?;
    let (length, rest) = rest.split_at_checked(4).ok_or_else(malformed)?;
    let length = length.try_into().map(u32::from_le_bytes).map_err(|_| malformed())?;
    let length = usize::try_from(length).map_err(|_| malformed())?;
    let (text, output) = rest.split_at_checked(length).ok_or_else(malformed)?;
    let text = String::from_utf8_lossy(text).into_owned();
    if *kind == DONE { Ok(Ended::new(output, text)) } else { Err(text) }
}

fn answer(run: u64, said: &Said) -> Frame {
    let (kind, text, output) = match said {
        Ok(ended) => (DONE, ended.said(), ended.output()),
        Err(text) => (FAILED, text.as_str(), &[][..]),
    };
    let length = u32::try_from(text.len()).unwrap_or_default().to_le_bytes();
    Frame::new(run, &[&[kind], &length, text.as_bytes(), output])
}

/// Which program is to run, and with which facts.
fn wished(wish: &[u8]) -> Option<(usize, Vec<(String, String)>)> {
    let (number, facts) = wish.split_at_checked(4)?;
    let number = usize::try_from(u32::from_le_bytes(number.try_into().ok()?)).ok()?;
    Some((number, serde_json::from_slice(facts).ok()?))
}

/// The helper's side: reads its list from `stream`, and runs what is asked for until the daemon ends.
pub fn serve(mut stream: UnixStream) -> io::Result<()> {
    let Some(list) = Frame::read(&mut stream)? else { return Ok(()) };
    let programs: Arc<[Program]> = serde_json::from_slice::<Vec<Program>>(&list.body)?.into();
    let (ask, mut asked) = mpsc::unbounded_channel();
    let mut requests = stream.try_clone()?;
    // What is read ends with the daemon, and with it this process.
    thread::Builder::new().name("requests".into()).spawn(move || {
        while let Ok(Some(frame)) = Frame::read(&mut requests) {
            if ask.send(frame).is_err() {
                return;
            }
        }
    })?;
    let answers = Arc::new(Mutex::new(stream));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // A service manager sends it to all processes of a service: this one ends with the daemon.
        let _ignored =
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?];
        let mut running = HashMap::new();
        while let Some(frame) = asked.recv().await {
            match frame.body.split_first() {
                Some((&RUN, wish)) => {
                    let wish = wished(wish);
                    let (programs, answers, run) = (Arc::clone(&programs), Arc::clone(&answers), frame.run);
                    let task = tokio::spawn(async move {
                        let known = wish.and_then(|(number, facts)| Some((programs.get(number)?, facts)));
                        let said = match known {
                            Some((program, facts)) => program.run_here(&facts).await,
                            None => Err("there is no such program".to_owned()),
                        };
                        // If the daemon is gone, the end of its requests is about to be read.
                        let _gone = answer(run, &said).write(&mut *lock(&answers));
                    });
                    running.retain(|_, task: &mut tokio::task::JoinHandle<()>| !task.is_finished());
                    running.insert(run, task);
                }
                _ => {
                    if let Some(task) = running.remove(&frame.run) {
                        task.abort();
                    }
                }
            }
        }
        Ok(())
    })
}
