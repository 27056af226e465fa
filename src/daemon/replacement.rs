//! Another process takes the place of this one (`alppacad restart`). It gets what this one has, prepares itself, and says when
//! it is ready; only then does this one change nothing any more, and ends when the other serves. If the other ends before, this
//! one goes on.

use std::{io, os::fd::AsFd, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest},
    net::UnixStream,
    sync::{mpsc, watch},
    time::timeout,
};

use crate::{
    admin::{Admin, Meeting, ProcessId, SocketPlace, TURN},
    clock::{self, SharedClock},
    handover::{
        self,
        passing::{self, DONE, GO, NO, OVER, READY, SETS},
    },
    http::OpenSockets,
    refresh::RoleRequests,
};

/// More than any line has that the other process says.
const LINE: u64 = 64;
/// How long another process may prepare itself.
pub(super) const PREPARATION: Duration = Duration::from_mins(10);
/// How long the renewal of a sign-in that is under way is waited for, after which only the other process renews it.
const RENEWAL: Duration = Duration::from_secs(10);

/// How often it is looked whether a process that has not taken over has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What the other process gets, or has to know.
pub(super) struct Parts {
    pub(super) admin: Arc<Admin>,
    pub(super) socket: SocketPlace,
    pub(super) requests: RoleRequests,
    pub(super) clock: SharedClock,
    pub(super) open: OpenSockets,
    /// Has it be looked whether the files of this process are still there.
    pub(super) looks: watch::Sender<()>,
}

/// Whose processes can replace this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaceableBy {
    /// Root's.
    Root,
    /// Root's, and those of this account.
    RootAnd(u32),
}

impl ReplaceableBy {
    /// The account beside root's.
    pub(super) fn account(self) -> Option<u32> {
        match self {
            Self::Root => None,
            Self::RootAnd(account) => Some(account),
        }
    }
}

/// Waits until another process has taken the place of this one.
pub(super) async fn replaced(mut meetings: mpsc::Receiver<Meeting>, parts: Parts) {
    while let Some(meeting) = meetings.recv().await {
        let pid = meeting.pid;
        notice!("restart: process {pid} prepares to take over");
        let mut guest = Guest { meeting, serves: false };
        match parts.meet(&mut guest.meeting.stream).await {
            Ok(()) => {
                guest.serves = true;
                notice!("stopping: process {pid} has taken over");
                return;
            }
            Err(error) => {
                drop(guest);
                parts.go_on(ProcessId::of(pid));
                tracing::error!("restart: process {pid} has not taken over ({error}): this process goes on");
            }
        }
    }
    std::future::pending::<()>().await;
}

/// Another process, which must not serve if this is dropped before it has taken over: also if this process is stopped.
struct Guest {
    meeting: Meeting,
    serves: bool,
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !self.serves {
            // It may have ended.
            let _unheard = self.meeting.stream.try_write(format!("{NO}\n").as_bytes());
        }
    }
}

impl Parts {
    async fn meet(&self, stream: &mut UnixStream) -> io::Result<()> {
        self.pass_on(stream).await?;
        let (reading, mut writing) = stream.split();
        let mut reading = BufReader::new(reading);
        hear(&mut reading, READY, PREPARATION).await?;
        // Before it is closed, which is what people notice.
        let paused = timeout(RENEWAL, self.admin.sign_ins.pause()).await;
        paused.map_err(|_| io::Error::other("a sign-in is being renewed"))?;
        self.close(true);
        writing.write_all(format!("{GO}\n").as_bytes()).await?;
        hear(&mut reading, DONE, TURN).await?;
        writing.write_all(format!("{OVER}\n").as_bytes()).await?;
        self.socket.set_stays(true);
        Ok(())
    }

    /// Passes on the sets and the sockets.
    async fn pass_on(&self, stream: &UnixStream) -> io::Result<()> {
        let handover = self.requests.handover().await.ok_or(io::ErrorKind::Interrupted)?;
        let bytes = handover::write(&handover, self.clock.now());
        let sets = handover::sealed(&bytes).map_err(io::Error::other)?;
        let open = self.open.all();
        let sockets = open.iter().map(|open| (handover::name_of_listener(&open.name), open.socket.as_fd()));
        let passed: Vec<_> = [(SETS.to_owned(), sets.as_fd())].into_iter().chain(sockets).collect();
        stream.writable().await?;
        stream.try_io(Interest::WRITABLE, || passing::send(stream, &passed))
    }

    /// Changes things again. The `other` process may have put its files in the place of this one's.
    fn go_on(&self, other: Option<ProcessId>) {
        self.admin.sign_ins.go_on();
        self.close(false);
        let looks = self.looks.clone();
        tokio::spawn(async move {
            let ended = async {
                while other.is_some_and(ProcessId::is_alive) {
                    clock::sleep(LOOK).await;
                }
            };
            // One that lives on has kept its own.
            let _lives_on = timeout(TURN, ended).await;
            looks.send_replace(());
        });
    }

    /// From now on nothing changes here that the other process would have to know (`true`), or again.
    fn close(&self, closed: bool) {
        if let Some(replacing) = &self.admin.replacing {
            replacing.close(closed);
        }
        self.admin.leases.hand_over(closed);
        self.admin.selections.hand_over(closed);
    }
}

/// Reads a line, which is empty if the other side has ended.
pub(super) async fn line(reading: &mut (impl AsyncBufReadExt + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    reading.take(LINE).read_line(&mut line).await?;
    line.truncate(line.trim_end().len());
    Ok(line)
}

/// Waits for a word.
async fn hear(reading: &mut (impl AsyncBufReadExt + Unpin), word: &str, limit: Duration) -> io::Result<()> {
    let said = timeout(limit, line(reading)).await;
    match &*said.map_err(|_| io::Error::other(format!("it has not said {word:?} within {limit:?}")))?? {
        said if said == word => Ok(()),
        "" => Err(io::Error::other(format!("it ended before it said {word:?}"))),
        said => Err(io::Error::other(format!("it said {said:?} instead of {word:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_word_that_is_due_is_heard() {
        for (said, heard) in
            [("ready\n", true), ("done\n", false), ("", false), ("ready", true), (&"x".repeat(99), false)]
        {
            assert_eq!(hear(&mut BufReader::new(said.as_bytes()), READY, TURN).await.is_ok(), heard, "{said}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_word_is_not_waited_for_for_ever() {
        let (_silent, stream) = tokio::io::duplex(64);
        let error = hear(&mut BufReader::new(stream), DONE, TURN).await.expect_err("it says nothing");
        assert_eq!(error.to_string(), "it has not said \"done\" within 20s");
    }
}
