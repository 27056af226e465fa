//! How another process takes the place of this one: it asks at the admin socket, and what is spoken then is not HTTP any more.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{Request, header};
use hyper::{body::Incoming, upgrade};
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::mpsc};

use super::{Admin, PeerCredentials, document::Code, reply::Reply};

/// Where it asks.
pub const REPLACEMENT: &str = "/v1/replacement";

/// How long the other process may take until it serves, while nothing can be changed here. Clients ask again for longer.
pub const TURN: Duration = Duration::from_secs(20);

/// The way to ask.
#[derive(Debug)]
pub struct Replacing {
    protocol: &'static str,
    /// The account that may do so beside root.
    account: Option<u32>,
    meetings: mpsc::Sender<Meeting>,
    under_way: Arc<AtomicBool>,
    closed: AtomicBool,
}

/// The connection of a process that is to replace this one. While there is one there is no other.
#[derive(Debug)]
pub struct Meeting {
    /// The connection.
    pub stream: UnixStream,
    /// The number of the process.
    pub pid: u32,
    _under_way: UnderWay,
}

#[derive(Debug)]
struct UnderWay(Arc<AtomicBool>);

impl Replacing {
    /// Meets processes of root and of `account` that speak `protocol`.
    pub fn new(protocol: &'static str, account: Option<u32>) -> (Self, mpsc::Receiver<Meeting>) {
        let (meetings, met) = mpsc::channel(1);
        (Self { protocol, account, meetings, under_way: Arc::default(), closed: false.into() }, met)
    }

    /// Says whether it is too late for changes at the socket, because the other process knows only those before.
    pub fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
    }

    /// It stays so when the other process has taken over.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn speaks(&self, request: &Request<Incoming>) -> bool {
        request.headers().get(header::UPGRADE).is_some_and(|protocol| protocol == self.protocol)
    }
}

/// Answers a process that asks for it, if it is trusted with everything that this process has.
pub(super) fn answer(admin: &Admin, request: Request<Incoming>, caller: &PeerCredentials) -> Reply {
    let Some(replacing) = &admin.replacing else {
        return Reply::error(Code::NoSuchPath, "this daemon was not started by `alppacad`");
    };
    if caller.uid != 0 && Some(caller.uid) != replacing.account {
        tracing::warn!("a process of user {} wanted to replace this daemon: refused", caller.uid);
        return Reply::error(Code::Forbidden, "only who started the daemon can restart it, and root");
    }
    if !replacing.speaks(&request) {
        return Reply::error(Code::NoSuchPath, format!("this daemon speaks {} only", replacing.protocol));
    }
    if replacing.is_closed() {
        return restarting();
    }
    if replacing.under_way.swap(true, Ordering::Relaxed) {
        return Reply::error(Code::Busy, "another restart is under way");
    }
    let under_way = UnderWay(Arc::clone(&replacing.under_way));
    let (meetings, pid) = (replacing.meetings.clone(), caller.process.map_or(0, |process| process.pid));
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade::on(request).await else { return };
        if let Ok(parts) = upgraded.downcast::<TokioIo<UnixStream>>() {
            let stream = parts.io.into_inner();
            // Without the other side the daemon is about to stop.
            let _stopping = meetings.send(Meeting { stream, pid, _under_way: under_way }).await;
        }
    });
    Reply { status: 101, upgrade: Some(replacing.protocol), ..Reply::text(101, "") }
}

/// Has a client ask again, at the process that takes the place of this one.
pub(super) fn restarting() -> Reply {
    Reply::error(Code::Restarting, "the daemon is being restarted; try again")
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
