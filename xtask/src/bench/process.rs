//! A process under measurement: started on its core, watched through /proc, ended with us.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// The core of the servers; the load has the other one.
pub const SERVER_CORE: &str = "0";
pub const LOAD_CORE: &str = "1";

/// A child that ends when this value does, and also if we are killed.
pub struct Process {
    child: Child,
    /// The process that does the work: nginx's worker rather than its master.
    pub worker: u32,
}

impl Process {
    pub fn start(core: &str, program: &Path, arguments: &[&str], stdout: Stdio, log: &Path) -> Result<Self> {
        let child = Command::new("taskset")
            // A Ctrl-C reaches the whole group; for every other death of ours there is the parent's signal.
            .args(["-c", core, "setpriv", "--pdeathsig", "TERM"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(fs::File::options().create(true).append(true).open(log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let worker = child.id();
        Ok(Self { child, worker })
    }

    /// What it prints, if it was started with a pipe.
    pub fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// From now on its first child is measured.
    pub fn measure_child(&mut self) -> Result<()> {
        let file = format!("/proc/{0}/task/{0}/children", self.child.id());
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if let Some(worker) = fs::read_to_string(&file)?.split_whitespace().next() {
                self.worker = worker.parse()?;
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        anyhow::bail!("no worker process within 5 s")
    }

    /// User and system time so far.
    pub fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.worker))?;
        cpu_of(&stat).context("an unexpected /proc/PID/stat")
    }

    /// Resident memory in bytes.
    pub fn resident(&self) -> Result<u64> {
        Ok(field(&format!("/proc/{}/status", self.worker), "VmRSS:")? * 1024)
    }

    /// How often its threads went to sleep of their own will so far: each is one wake-up.
    pub fn wakeups(&self) -> Result<u64> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.worker))?;
        tasks.map(|task| field(&task?.path().join("status").to_string_lossy(), "voluntary_ctxt_switches:")).sum()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // TERM, so that nginx takes its worker along.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + Duration::from_secs(3);
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ticks are 10 ms on every Linux that Rust runs on.
fn cpu_of(stat: &str) -> Option<Duration> {
    // The name in parentheses may hold spaces.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

fn field(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next());
    Ok(value.with_context(|| format!("no {name} in {file}"))?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 1 0 100 1000 200";
        assert_eq!(cpu_of(stat), Some(Duration::from_secs(2)));
    }
}
