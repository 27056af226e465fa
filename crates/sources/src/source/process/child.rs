//! A program that runs, with what it prints: in a session and process group of its own, so that it has no terminal to
//! wait for, and is ended together with all that it started.

use std::{
    io,
    os::fd::AsFd,
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, ChildStderr, ChildStdout, Command},
    signal::unix::{SignalKind, signal},
};
use zeroize::Zeroizing;

/// The number of bytes per read.
const PIECE: usize = 4096;

/// A program that was started. Dropping it ends its process group.
pub(super) struct Running {
    child: Child,
    /// Its process group has the same number. Taken when it was reaped, since the number may then be another's.
    leader: Option<Pid>,
    ended: tokio::signal::unix::Signal,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    pub(super) output: Output,
    pub(super) complaint: Complaint,
}

/// What it writes to stdout, up to a limit.
pub(super) struct Output {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
}

/// The end of what it writes to stderr.
pub(super) struct Complaint {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
    /// Whether the beginning is missing.
    cut: bool,
}

/// Why a run is over before its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// It prints more than the limit.
    TooMuch,
    /// A pipe or a signal.
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What takes bytes; `false`: no more of them.
trait Take {
    fn take(&mut self, bytes: &[u8]) -> bool;
}

impl Running {
    /// Starts a program that begins a session of its own before it does anything else.
    pub(super) fn start(command: &mut Command, output_limit: usize, complaint_limit: usize) -> io::Result<Self> {
        // Before the start, so that no end is missed.
        let ended = signal(SignalKind::child())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // As large as they may become, since a buffer that grows leaves copies behind.
        let output = Output { bytes: Zeroizing::new(Vec::with_capacity(output_limit)), limit: output_limit };
        let kept = Zeroizing::new(Vec::with_capacity(complaint_limit + PIECE));
        let complaint = Complaint { bytes: kept, limit: complaint_limit, cut: false };
        Ok(Self { child, leader, ended, stdout, stderr, output, complaint })
    }

    /// Reads what it prints until it ends, and then ends what it left running: a process in the background that holds
    /// the pipes open would otherwise be waited for. What can be read of a run that is broken off stays readable.
    pub(super) async fn finish(&mut self) -> Result<ExitStatus, Broken> {
        let Self { leader, ended, stdout, stderr, output, complaint, .. } = self;
        let reading = async { tokio::try_join!(read(stdout.as_mut(), output), read(stderr.as_mut(), complaint)) };
        tokio::select! {
            read = reading => {
                read?;
                exited(*leader, ended).await?;
            }
            end = exited(*leader, ended) => {
                end?;
                // All that it has written is in the pipes by now.
                drain(stdout.as_ref(), output)?;
                drain(stderr.as_ref(), complaint)?;
            }
        }
        self.end();
        Ok(self.child.wait().await?)
    }

    /// Ends the process group. The leader is not reaped before, so that the number is still its own.
    fn end(&mut self) {
        if let Some(leader) = self.leader.take() {
            // It fails only if nothing is left, or if it did not get as far as its own group: `kill_on_drop` ends it then.
            let _gone = kill_process_group(leader, Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// Waits until the process has ended, and leaves it unreaped.
async fn exited(leader: Option<Pid>, ended: &mut tokio::signal::unix::Signal) -> io::Result<()> {
    let Some(leader) = leader else { return Ok(()) };
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(leader), look)?.is_none() {
        if ended.recv().await.is_none() {
            return Err(io::Error::other("there are no signals any more"));
        }
    }
    Ok(())
}

/// Reads to the end of the stream.
async fn read(stream: Option<&mut (impl AsyncRead + Unpin)>, to: &mut impl Take) -> Result<(), Broken> {
    let Some(stream) = stream else { return Ok(()) };
    let mut piece = Zeroizing::new([0; PIECE]);
    loop {
        let length = stream.read(&mut *piece).await?;
        if length == 0 {
            return Ok(());
        }
        if !to.take(&piece[..length]) {
            return Err(Broken::TooMuch);
        }
    }
}

/// Reads what is there, without waiting.
fn drain(stream: Option<&impl AsFd>, to: &mut impl Take) -> Result<(), Broken> {
    let Some(stream) = stream else { return Ok(()) };
    let mut piece = Zeroizing::new([0; PIECE]);
    loop {
        match rustix::io::read(stream, &mut *piece) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Broken::Io(error.into())),
            Ok(length) if to.take(&piece[..length]) => {}
            Ok(_) => return Err(Broken::TooMuch),
        }
    }
}

impl Output {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Take for Output {
    fn take(&mut self, bytes: &[u8]) -> bool {
        let fits = self.bytes.len() + bytes.len() <= self.limit;
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }
}

impl Complaint {
    /// The whole lines at the end of it, and whether something before them is missing.
    pub(super) fn text(&self) -> (String, bool) {
        let bytes = match self.bytes.iter().position(|byte| *byte == b'\n') {
            // The rest of a line may be the rest of a secret.
            Some(newline) if self.cut => &self.bytes[newline + 1..],
            None if self.cut => &[],
            _ => &self.bytes[..],
        };
        (String::from_utf8_lossy(bytes).into_owned(), self.cut)
    }
}

impl Take for Complaint {
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.bytes.extend_from_slice(bytes);
        if let Some(surplus) = self.bytes.len().checked_sub(self.limit).filter(|surplus| *surplus > 0) {
            self.bytes.drain(..surplus);
            self.cut = true;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_it_complains_of_the_last_lines_are_kept() {
        let mut complaint = Complaint { bytes: Zeroizing::default(), limit: 14, cut: false };
        complaint.take(b"one\ntwo\n");
        assert_eq!(complaint.text(), ("one\ntwo\n".to_owned(), false));
        complaint.take(b"three\nfour\n");
        assert_eq!(complaint.text(), ("three\nfour\n".to_owned(), true), "the rest of a line is left out");
        complaint.take(b"a line that is much longer");
        assert_eq!(complaint.text(), (String::new(), true));
    }
}
