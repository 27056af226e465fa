//! Another process takes the place of this one (`alppacad restart`). It gets what this one has, prepares itself, and says when
//! it is ready; only then does this one change nothing any more, and ends when the other serves. If the other ends before, this
//! one goes on.

use std::{io, os::fd::AsFd, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Interest},
    net::UnixStream,
    sync::mpsc,
};

use crate::{
    admin::{Admin, Meeting, SocketPlace},
    clock::SharedClock,
    handover::{
        self,
        passing::{self, DONE, GO, READY, SETS},
    },
    http::OpenSockets,
    refresh::RoleRequests,
};

/// More than any line has that the other process says.
const LINE: u64 = 64;

/// What the other process gets, or has to know.
pub(super) struct Parts {
    pub(super) admin: Arc<Admin>,
    pub(super) socket: SocketPlace,
    pub(super) requests: RoleRequests,
    pub(super) clock: SharedClock,
    pub(super) open: OpenSockets,
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
    while let Some(Meeting { stream, pid, .. }) = meetings.recv().await.as_mut() {
        notice!("restart: process {pid} prepares to take over");
        match parts.meet(stream).await {
            Ok(()) => {
                notice!("stopping: process {pid} has taken over");
                return;
            }
            Err(error) => {
                parts.close(false);
                tracing::error!("restart: process {pid} has not taken over ({error}): this process goes on");
            }
        }
    }
    std::future::pending::<()>().await;
}

impl Parts {
    async fn meet(&self, stream: &mut UnixStream) -> io::Result<()> {
        self.pass_on(stream).await?;
        let (reading, mut writing) = stream.split();
        let mut reading = BufReader::new(reading);
        hear(&mut reading, READY).await?;
        self.close(true);
        writing.write_all(format!("{GO}\n").as_bytes()).await?;
        hear(&mut reading, DONE).await?;
        self.socket.set_another(true);
        Ok(())
    }

    /// Passes on the sets and the sockets.
    async fn pass_on(&self, stream: &UnixStream) -> io::Result<()> {
        let handover = self.requests.handover().await.ok_or(io::ErrorKind::Interrupted)?;
        let bytes = handover::write(&handover, self.clock.now());
        let sets = handover::sealed(&bytes).map_err(io::Error::other)?;
        let open = self.open.all();
        let sockets = open.iter().map(|open| (handover::name_of_listener(open.name), open.socket.as_fd()));
        let passed: Vec<_> = [(SETS.to_owned(), sets.as_fd())].into_iter().chain(sockets).collect();
        stream.writable().await?;
        stream.try_io(Interest::WRITABLE, || passing::send(stream, &passed))
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

/// Waits for a word.
async fn hear(reading: &mut (impl AsyncBufReadExt + Unpin), word: &str) -> io::Result<()> {
    let mut line = String::new();
    reading.take(LINE).read_line(&mut line).await?;
    match line.trim_end() {
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
            assert_eq!(hear(&mut BufReader::new(said.as_bytes()), READY).await.is_ok(), heard, "{said}");
        }
    }
}
