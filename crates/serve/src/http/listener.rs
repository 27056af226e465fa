//! The listening sockets and the life of the server: bind, accept, keep within limits, stop.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{SocketFlags, acceptfrom_with, sockopt::set_socket_send_buffer_size},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Runtime,
    task::{JoinSet, yield_now},
    time::timeout,
};

use super::{
    access::AccessLog,
    connection::{Connection, IN_A_ROW, watch},
    counters::{Counters, Ended},
    current::CurrentFaces,
    exchange::{Context, Exchange, Wait},
    face::{Face, Faces},
    open_sockets::{OpenSocket, OpenSockets},
    place::{Place, ServerError},
    registry::Ends,
    turns::Turns,
};
use crate::{
    audit::Auditor,
    caller::{Owner, Peer, Subordinates},
    clock::{self, SharedClock},
    policy::{Everyone, Gatekeeper},
};

/// What the kernel keeps of answers that a client does not take (it doubles the number). By itself it would keep megabytes
/// for each connection, and a client that pipelines many requests and reads nothing would have them all answered.
const SEND_BUFFER: usize = 32 * 1024;
/// How often deadlines are looked at while connections are open.
const SWEEP: Duration = Duration::from_secs(1);
/// How long requests that are being answered may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(2);
/// How long idle connections are still listened to when the server stops.
const LAST_CALL: Duration = Duration::from_millis(50);
/// How many connections are ended when no more files can be opened, and the maximum when the table is full.
const BATCH: usize = 64;
/// The number of connections that are accepted in a row while there are several owners. Not one: for each of them there may be
/// a turn of somebody else, for which those have to wait who are not accepted yet.
const AMONG_OTHERS: usize = 4;
/// The pause after a failed accept, to avoid a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many connections may be open at the same time (`max_connections`); for one more, the owner with most loses those
    /// that were idle for longest.
    pub connections: usize,
    /// From the first byte of a head to its end (`header_timeout`).
    pub header_timeout: Duration,
    /// Without a request (`idle_timeout`).
    pub idle_timeout: Duration,
    /// For the client to take an answer (`write_timeout`).
    pub write_timeout: Duration,
}

/// The server of all faces.
pub struct Server {
    context: Context,
}

impl Server {
    /// A server that answers with `faces`, writing a line for each request if `access_log`.
    pub fn new(
        faces: Faces,
        clock: SharedClock,
        limits: Limits,
        access_log: bool,
        subordinates: Arc<Subordinates>,
    ) -> Self {
        let gatekeeper = Arc::new(Everyone::default());
        let auditor = Arc::new(Auditor::without_records());
        let counters = Arc::new(Counters::of(&faces.known));
        let headers = faces.known.iter().flat_map(|face| face.headers()).filter(|name| !name.is_empty()).collect();
        let current = CurrentFaces::new(faces, access_log);
        let (registry, access) = (Arc::default(), Arc::new(AccessLog::new()));
        Self {
            context: Context {
                current,
                headers,
                gatekeeper,
                auditor,
                clock,
                limits,
                registry,
                subordinates,
                counters,
                access,
                turns: Turns::default(),
            },
        }
    }

    /// The way to let it show something else while it runs.
    pub fn current(&self) -> CurrentFaces {
        self.context.current.clone()
    }

    /// The same, where `gatekeeper` decides what a caller sees, and `auditor` records it. Without one every caller sees
    /// everything.
    #[must_use]
    pub fn guarded_by(self, gatekeeper: Arc<dyn Gatekeeper>, auditor: Arc<Auditor>) -> Self {
        Self { context: Context { gatekeeper, auditor, ..self.context } }
    }

    /// Decides what each caller sees.
    pub fn gatekeeper(&self) -> Arc<dyn Gatekeeper> {
        Arc::clone(&self.context.gatekeeper)
    }

    /// How often was answered what.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.context.counters)
    }

    /// Serves until `stop` is ready, then lets the requests that are being answered end. Each place shows its face; where a
    /// socket listens, it is in `open`.
    pub async fn run(
        self,
        places: Vec<(Place, &'static dyn Face)>,
        open: OpenSockets,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ServerError> {
        let context = Arc::new(self.context);
        let mut tasks = JoinSet::new();
        for (number, (place, face)) in (0_u16..).zip(places) {
            let (context, open) = (Arc::clone(&context), open.clone());
            match place {
                Place::Held(listener) => {
                    let listener = ready(listener, face, &open)?;
                    tasks.spawn(accept(listener, (number, face), context));
                }
                taken @ Place::Taken(_) => {
                    tasks.spawn(async move {
                        match ready(taken.listener().await, face, &open) {
                            Ok(listener) => accept(listener, (number, face), context).await,
                            Err(error) => tracing::error!("{}", ServerError::Socket(error)),
                        }
                    });
                }
            }
        }
        tasks.spawn(sweep(Arc::clone(&context)));
        stop.await;
        tasks.shutdown().await;
        open.clear();
        // What has been sent to us by now is still answered.
        let registry = &context.registry;
        registry.stop();
        clock::sleep(LAST_CALL).await;
        registry.abort(false);
        if timeout(DRAIN, registry.until(false)).await.is_err() {
            tracing::warn!("{} connection(s) were still busy after {DRAIN:?}", registry.len());
            registry.abort(true);
        }
        Ok(())
    }
}

/// Runs `serving` to its end. Here, and not a type parameter, so that the runtime's loop is compiled with this crate, for speed,
/// and not with the caller's, for size.
pub fn drive(runtime: &Runtime, serving: Pin<&mut dyn Future<Output = ()>>) {
    runtime.block_on(serving);
}

fn ready(listener: TcpListener, face: &'static dyn Face, open: &OpenSockets) -> io::Result<AsyncFd<Arc<TcpListener>>> {
    listener.set_nonblocking(true)?;
    // Accepted sockets inherit it.
    set_socket_send_buffer_size(&listener, SEND_BUFFER)?;
    let listener = Arc::new(listener);
    // A program that waits for its old port does not delay the other listeners.
    let awaited = !face.is_internal();
    open.add(OpenSocket { name: face.name().into(), awaited, socket: Arc::<TcpListener>::clone(&listener) });
    watch(listener, Interest::READABLE)
}

async fn accept(listener: AsyncFd<Arc<TcpListener>>, place: (u16, &'static dyn Face), context: Arc<Context>) {
    let mut failing = false;
    let mut in_a_row = 0_usize;
    loop {
        in_a_row = in_a_row.wrapping_add(1);
        let most = if context.turns.are_contended() { AMONG_OTHERS } else { IN_A_ROW };
        if in_a_row.is_multiple_of(most) {
            yield_now().await;
        }
        match accept_one(&listener).await.map(|(socket, peer)| start(socket, peer, place, &context)) {
            Ok(()) => failing = false,
            // The client gave up before we came to it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!("cannot accept connections: {error}; idle ones are closed to make room");
                }
                let no_files = [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error()));
                let ended =
                    if no_files.contains(&error.raw_os_error()) { make_room(&context, BATCH, Ended::Files) } else { 0 };
                if ended > 0 {
                    // Their files are closed when their tasks have had their turn.
                    yield_now().await;
                } else {
                    clock::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn accept_one(listener: &AsyncFd<Arc<TcpListener>>) -> io::Result<(TcpStream, SocketAddr)> {
    let (socket, peer) = listener
        .async_io(Interest::READABLE, |listener| {
            Ok(acceptfrom_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?)
        })
        .await?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok((socket.into(), peer.ok_or(io::ErrorKind::ConnectionAborted)?))
}

/// Serves a new connection. Most clients have sent their request by the time they are accepted: it
/// is answered on the spot, and if that was all, the runtime never hears of the connection. While there are several owners,
/// it is found out first whose it is, and the request waits for its owner's turn.
fn start(socket: TcpStream, peer: SocketAddr, (listener, face): (u16, &'static dyn Face), context: &Arc<Context>) {
    let mut exchange = Exchange::new(Arc::clone(context), peer, listener, face);
    let wait = if context.turns.are_contended() {
        exchange.look_up_owner(&socket);
        Wait::Turn
    } else {
        match exchange.read_turn(&socket) {
            Ok(wait) => {
                // Also if that was all: a flood of such connections is one of several owners, too.
                exchange.note_turn();
                if matches!(wait, Wait::End) {
                    return;
                }
                wait
            }
            Err(error) => {
                tell_end(Some(peer), &error);
                return;
            }
        }
    };
    let (registry, most) = (&context.registry, context.limits.connections);
    let ends = Ends { socket: Arc::new(socket), peer };
    let socket = Arc::clone(&ends.socket);
    if registry.len() >= most && make_room(context, (most / BATCH).clamp(1, BATCH), Ended::Full) == 0 {
        // All are being answered.
        context.counters.ended(Ended::Refused, 1);
        return;
    }
    let now = context.clock.boot();
    let registration = registry.open(Arc::clone(&exchange.slot), ends, now);
    if registry.len() > most / 2 {
        registry.look_up(now, |ends| whose(context, ends));
    }
    let id = registration.id();
    let mut connection = Connection::new(socket, exchange, wait, registration);
    let task = tokio::spawn(async move {
        if let Err(error) = connection.serve().await {
            tell_end(connection.peer(), &error);
        }
    });
    registry.set_abort(id, task.abort_handle());
}

/// Logs how a connection ended. An error means that the client has gone.
fn tell_end(peer: Option<SocketAddr>, error: &io::Error) {
    if let Some(peer) = peer {
        tracing::debug!("{peer}: connection ended: {error}");
    }
}

/// Ends up to `count` connections, of the owner with most. Returns how many.
fn make_room(context: &Context, count: usize, why: Ended) -> usize {
    let ended = context.registry.evict(count, |ends| whose(context, ends));
    context.counters.ended(why, ended);
    ended
}

/// Whose a connection is, as far as room is concerned: the user on this host, or the address.
fn whose(context: &Context, ends: &Ends) -> Owner {
    // It need not prove anything: this gives it nothing, and an answer may be under way.
    let mut unproven = || Err(io::ErrorKind::PermissionDenied.into());
    let peer = context.gatekeeper.identify(&ends.socket, &Peer::unasked(ends.peer), &mut unproven);
    let owner = match peer.owner() {
        Owner::Nobody => Owner::Address(ends.peer.ip().to_canonical()),
        owner => owner,
    };
    context.subordinates.party(owner)
}

/// Ends connections whose deadline has passed. Sleeps for good while there are none.
async fn sweep(context: Arc<Context>) {
    loop {
        context.registry.until(true).await;
        clock::sleep(SWEEP).await;
        let late = context.registry.sweep(context.clock.boot());
        context.counters.ended(Ended::Late, late);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        collections::HashSet,
        io::{Read, Write},
        net::Ipv4Addr,
    };

    use alppaca_store::store::Store;
    use tokio::sync::Notify;

    use super::*;
    use crate::{
        caller::{Membership, Open, Origin, Process, containers::Container},
        clock::{Clock, fake::FakeClock},
        faces::{
            self, Shared,
            imds::{self, HostFacts, Imds, Options, TokenKey},
        },
        http::Respond,
        policy::{ConnectionFacts, Decision},
    };

    fn server() -> Server {
        let clock = FakeClock::new();
        let options = Options { v1: true, ..Options::default() };
        let key = TokenKey::random().expect("randomness");
        let (store, arrived) = (Store::shared(), Arc::<Notify>::default());
        let shared = Shared::of(Arc::clone(&store));
        let imds = Imds::new(options, shared, key, None, &HostFacts::default(), clock.now().wall);
        let patience = Duration::from_secs(1);
        let served: Vec<(&'static dyn Face, Arc<dyn Respond>)> = vec![(imds::FACE, Arc::new(imds))];
        let faces = Faces { known: faces::protocols(), served, store, arrived, patience };
        let time = Duration::from_hours(1);
        let limits = Limits { connections: 1000, header_timeout: time, idle_timeout: time, write_timeout: time };
        Server::new(faces, clock, limits, false, Arc::default())
    }

    /// What a server without roles shares between its connections.
    pub(in crate::http) fn context() -> Context {
        server().context
    }

    fn listening() -> (AsyncFd<Arc<TcpListener>>, SocketAddr) {
        let listener = Place::bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
        let listener = ready(listener, imds::FACE, &OpenSockets::default()).expect("a socket");
        let address = listener.get_ref().local_addr().expect("bound");
        (listener, address)
    }

    /// A client that has sent so many requests at once.
    fn client(address: SocketAddr, requests: usize) -> TcpStream {
        let mut client = TcpStream::connect(address).expect("it listens");
        client.write_all("GET / HTTP/1.1\r\n\r\n".repeat(requests).as_bytes()).expect("open");
        client.set_nonblocking(true).expect("settable");
        client
    }

    fn answers(text: &[u8]) -> usize {
        text.windows(12).filter(|bytes| *bytes == b"HTTP/1.1 200").count()
    }

    #[tokio::test]
    async fn requests_that_were_sent_at_once_leave_a_turn_to_the_others() {
        const REQUESTS: usize = 100;
        let context = Arc::new(context());
        let (listener, address) = listening();
        let mut client = client(address, REQUESTS);
        let (socket, peer) = accept_one(&listener).await.expect("connected");
        start(socket, peer, (0, imds::FACE), &context);
        let (mut received, mut turns) = (Vec::new(), 0);
        while answers(&received) < REQUESTS {
            // The turn of all others.
            yield_now().await;
            turns += 1;
            let _nothing_yet = client.read_to_end(&mut received);
        }
        assert!(turns >= REQUESTS / IN_A_ROW - 1, "{turns} turns");
    }

    const MANY_REQUESTS: u32 = 1;
    const FEW_REQUESTS: u32 = 2;

    /// Knows that the connections from these ports are of the user with few requests.
    #[derive(Default)]
    struct Ports(HashSet<u16>);

    impl Gatekeeper for Ports {
        fn asks_who(&self) -> bool {
            true
        }
        fn identify(&self, _socket: &TcpStream, peer: &Peer, _open: &mut Open<'_>) -> Peer {
            let few = peer.address.is_some_and(|address| self.0.contains(&address.port()));
            let uid = if few { FEW_REQUESTS } else { MANY_REQUESTS };
            let process = Process { uid, gid: None, pid: None, inode: 1, cgroup: Membership::Unknown };
            Peer { origin: Origin::Process(process), ..peer.clone() }
        }
        fn is_local(&self, _address: SocketAddr) -> bool {
            true
        }
        fn admit(&self, facts: ConnectionFacts<'_>) -> Decision {
            Everyone::default().admit(facts)
        }
        fn container(&self, _peer: &Peer) -> Option<Arc<Container>> {
            None
        }
        fn policy(&self) -> Option<String> {
            None
        }
        fn version(&self) -> u64 {
            0
        }
        fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(std::future::pending())
        }
    }

    /// How many answers the clients of one user have got by the time that the one request of another is answered, which came
    /// after all of theirs.
    async fn answered_before(clients: usize, requests: usize) -> usize {
        let (listener, address) = listening();
        let mut flood: Vec<_> = (0..clients).map(|_| client(address, requests)).collect();
        let mut ordinary = client(address, 1);
        let port = ordinary.local_addr().expect("bound").port();
        let server = server().guarded_by(Arc::new(Ports([port].into())), Arc::new(Auditor::without_records()));
        for owner in [MANY_REQUESTS, FEW_REQUESTS] {
            server.context.turns.note(Owner::User(owner));
        }
        let accepting = tokio::spawn(accept(listener, (0, imds::FACE), Arc::new(server.context)));
        let mut received = Vec::new();
        while answers(&received) == 0 {
            yield_now().await;
            let _nothing_yet = ordinary.read_to_end(&mut received);
        }
        accepting.abort();
        let got = flood.iter_mut().map(|client| {
            let mut received = Vec::new();
            let _still_open = client.read_to_end(&mut received);
            answers(&received)
        });
        got.sum()
    }

    #[tokio::test]
    async fn owners_are_several_also_if_each_connection_is_over_with_its_request() {
        for sent_before in [true, false] {
            let (listener, address) = listening();
            let mut clients = [(); 2].map(|()| TcpStream::connect(address).expect("it listens"));
            let port = clients[0].local_addr().expect("bound").port();
            let server = server().guarded_by(Arc::new(Ports([port].into())), Arc::new(Auditor::without_records()));
            let context = Arc::new(server.context);
            for client in &mut clients {
                assert!(!context.turns.are_contended());
                let mut send = || client.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").expect("open");
                let (socket, peer) = accept_one(&listener).await.expect("connected");
                if sent_before {
                    send();
                    start(socket, peer, (0, imds::FACE), &context);
                } else {
                    start(socket, peer, (0, imds::FACE), &context);
                    send();
                }
                context.registry.until(false).await;
                let mut received = Vec::new();
                client.read_to_end(&mut received).expect("it was ended");
                assert_eq!(answers(&received), 1);
            }
            assert!(context.turns.are_contended());
        }
    }

    #[tokio::test]
    async fn new_connections_of_one_owner_leave_a_turn_to_a_new_one_of_another() {
        let before = answered_before(100, 1).await;
        // They are accepted in the order in which they came, but answered by turns.
        assert!(before <= 100 / AMONG_OTHERS + 1, "{before} of 100");
    }

    #[tokio::test]
    async fn requests_of_one_owner_that_were_sent_at_once_leave_every_other_turn_to_another() {
        let before = answered_before(20, 100).await;
        assert!(before <= 20, "{before} of 2000");
    }
}
