//! The life of a connection that has to wait: for input, for room, for the store.

use std::{
    io, mem,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    task::yield_now,
    time::timeout,
};

use super::{
    exchange::{Exchange, Unsent, Wait, discard},
    face::Change,
    registry::Registration,
};

/// How long and how much is still read from a client after the last answer, so that what it is
/// still sending does not make the kernel throw the answer away (RFC 9112, section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// The number of pipelined requests that are answered in a row before other connections have their turn, if all are of one
/// owner.
pub(super) const IN_A_ROW: usize = 8;

/// A connection. The registry aborts its task when a deadline passes.
pub(super) struct Connection {
    socket: Arc<TcpStream>,
    exchange: Exchange,
    /// What it waits for.
    wait: Wait,
    _registration: Registration,
}

/// A connection under the runtime's watch.
struct Watched<'a> {
    socket: AsyncFd<Arc<TcpStream>>,
    exchange: &'a mut Exchange,
    wait: Wait,
}

impl Connection {
    /// It waits for `wait`. The socket must not block.
    pub(super) fn new(socket: Arc<TcpStream>, exchange: Exchange, wait: Wait, registration: Registration) -> Self {
        Self { socket, exchange, wait, _registration: registration }
    }

    /// The address of the client.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        self.exchange.peer()
    }

    /// Serves it to its end.
    pub(super) async fn serve(&mut self) -> io::Result<()> {
        let Self { socket, exchange, wait, .. } = self;
        if matches!(wait, Wait::Turn) {
            let _turn = exchange.take_turn().await;
            *wait = exchange.read_turn(socket)?;
        } else if matches!(wait, Wait::Input) {
            // A request follows its connection so soon that it is usually there after the turns of the others. To be told
            // of it by the kernel costs more.
            yield_now().await;
            *wait = exchange.read_turn(socket)?;
            exchange.note_turn();
        }
        if matches!(wait, Wait::End) {
            return Ok(());
        }
        // For both directions: the kernel reports room only after a write has found none, and a second watch would
        // need a second descriptor.
        let socket = watch(Arc::clone(socket), Interest::READABLE | Interest::WRITABLE)?;
        let wait = mem::replace(wait, Wait::End);
        Watched { socket, exchange, wait }.serve().await
    }
}

impl Watched<'_> {
    /// What is rare is boxed: it would make every connection larger.
    async fn serve(&mut self) -> io::Result<()> {
        let mut in_a_row = 0;
        loop {
            let Self { exchange, wait, .. } = self;
            exchange.slot.set_busy(matches!(wait, Wait::Change(_)), matches!(wait, Wait::Room(..)));
            self.wait = match mem::replace(wait, Wait::End) {
                Wait::Input | Wait::Turn => {
                    in_a_row = 0;
                    self.read().await?
                }
                Wait::Nothing => {
                    let mut turn = None;
                    if in_a_row == 0 && self.exchange.has_more() {
                        yield_now().await;
                        turn = self.exchange.take_turn().await;
                    }
                    // While there are other owners, each of them waits for one request of this one.
                    in_a_row = if turn.is_some() { 0 } else { (in_a_row + 1) % IN_A_ROW };
                    self.exchange.turn(self.socket.get_ref(), true)?
                }
                Wait::Change(change) => Box::pin(self.wait_for(change)).await?,
                Wait::Room(unsent, after) => {
                    Box::pin(self.send_rest(unsent)).await?;
                    after.into()
                }
                Wait::Linger => {
                    // However long it takes: the client may have gone, and that is as good.
                    let _elapsed = Box::pin(timeout(LINGER_TIME, self.linger())).await;
                    Wait::End
                }
                Wait::End => return Ok(()),
            };
        }
    }

    async fn read(&mut self) -> io::Result<Wait> {
        let mut ready = self.socket.readable().await?;
        let _turn = self.exchange.take_turn().await;
        let wait = self.exchange.read_turn(ready.get_inner())?;
        if self.exchange.drained {
            // The next byte makes the kernel speak up again: it need not be asked once more now.
            ready.clear_ready();
        } else {
            ready.retain_ready();
        }
        Ok(wait)
    }

    async fn send_rest(&mut self, mut unsent: Box<Unsent>) -> io::Result<()> {
        self.exchange.expect_room();
        while !self.socket.async_io(Interest::WRITABLE, |socket| unsent.send(socket)).await? {}
        self.exchange.expect_request();
        Ok(())
    }

    /// Asks again at each change, for a while; then answers whatever there is.
    async fn wait_for(&mut self, mut change: Change) -> io::Result<Wait> {
        let context = Arc::clone(&self.exchange.context);
        let patience = tokio::time::sleep(context.current.faces().patience(change));
        tokio::pin!(patience);
        loop {
            let changed = context.current.faces().changed(change);
            let known = context.gatekeeper.changed();
            match self.exchange.turn(self.socket.get_ref(), true)? {
                Wait::Change(same) if same == change => {}
                // What it waits for now could have happened before the wait began.
                Wait::Change(other) => {
                    change = other;
                    continue;
                }
                wait => return Ok(wait),
            }
            tokio::select! {
                () = changed => {}
                () = known => {}
                () = &mut patience => return self.exchange.turn(self.socket.get_ref(), false),
            }
        }
    }

    async fn linger(&mut self) -> io::Result<()> {
        rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Write)?;
        let mut taken = 0;
        while taken < LINGER_BYTES {
            match self.socket.async_io(Interest::READABLE, |socket| discard(socket)).await? {
                0 => return Ok(()),
                count => taken += count,
            }
        }
        Ok(())
    }
}

/// Puts a socket of the standard library under the runtime's watch.
#[expect(deprecated, reason = "the new function is unsafe, because a type may lie about its descriptor; these do not")]
pub(super) fn watch<T: Socket>(socket: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(socket, interest)
}

/// The standard library's sockets, which keep the one descriptor they own open until they are dropped.
pub(super) trait Socket: AsRawFd {}
impl Socket for Arc<TcpStream> {}
impl Socket for Arc<TcpListener> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_of<F: Future>(_: impl FnOnce(&'static mut Connection) -> F) -> usize {
        size_of::<F>()
    }

    /// The runtime adds 104 bytes, a flag follows the future, and tasks are multiples of 128 bytes.
    #[test]
    fn an_idle_connection_takes_768_bytes() {
        let task = 104 + size_of::<Connection>() + future_of(Connection::serve) + 8;
        assert!(task <= 768, "{task}");
    }
}
