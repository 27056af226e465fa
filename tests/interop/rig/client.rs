//! A client under test: a program that makes a round of calls for each line it is given.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

/// Longer than every client's own time-outs and retries together.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub struct Client {
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<String>,
    stderr: Arc<Mutex<String>>,
}

/// How a round went.
#[derive(Debug)]
pub struct Round {
    pub result: Result<(), String>,
    pub took: Duration,
}

impl Client {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (tell, lines) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let stderr = Arc::new(Mutex::new(String::new()));
        let (sink, source) = (Arc::clone(&stderr), BufReader::new(child.stderr.take().expect("piped")));
        thread::spawn(move || {
            for line in source.lines().map_while(Result::ok) {
                let mut text = sink.lock().expect("no panic");
                text.push_str(&line);
                text.push('\n');
            }
        });
        let input = child.stdin.take();
        Self { child, input, lines, stderr }
    }

    /// Begins a round; [`Client::finish`] says how it went.
    pub fn begin(&mut self) -> Instant {
        // One that has ended is told by the missing answer.
        let _written = self.input.as_mut().expect("open until the end").write_all(b"\n");
        Instant::now()
    }

    pub fn finish(&mut self, began: Instant) -> Round {
        let line = self.lines.recv_timeout(PATIENCE);
        let took = began.elapsed();
        let result = match line {
            Ok(line) if line == "ok" => Ok(()),
            Ok(line) => Err(line.strip_prefix("error: ").unwrap_or(&line).to_owned()),
            Err(why) => Err(format!("no answer ({why}); it said:\n{}", self.stderr.lock().expect("no panic"))),
        };
        Round { result, took }
    }

    /// One round.
    pub fn round(&mut self) -> Round {
        let began = self.begin();
        self.finish(began)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // The end of its input is its end; one that hangs is ended.
        self.input = None;
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
