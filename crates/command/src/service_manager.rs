//! The life of a daemon: what the service manager is told, and an end at a panic.

use std::{
    env,
    fmt::Write as _,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::BorrowedFd,
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sd_notify::NotifyState;

/// How long the end of a daemon that panicked waits for its log.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Has a panic in any thread end the process, after it is in the log: without that thread, roles would not be renewed, names
/// not looked up or records not written, and nothing would say so.
pub fn end_at_panics(flush: impl Fn() + Clone + Send + Sync + 'static) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        let text = panic.to_string().replace('\n', " ");
        let (flush, (tell, told)) = (flush.clone(), mpsc::channel());
        // By another thread: this one may hold what the log needs.
        let said = thread::Builder::new().spawn(move || {
            tracing::error!("it stops because of a bug in it, please report it: {text}");
            flush();
            tell.send(())
        });
        if said.is_ok() {
            // It ends in either case.
            let _late = told.recv_timeout(LAST_WORDS);
        }
        std::process::abort();
    }));
}

/// How long something that is said once, such as `READY=1`, waits for a service manager that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Tells the service manager, if one listens. One that does not read, such as a systemd that has frozen, delays the daemon by a
/// second at most; what is repeated anyway is not waited for.
pub fn notify(states: &[NotifyState]) {
    use NotifyState::{ExtendTimeoutUsec, Status, Watchdog};
    let is_repeated = states.iter().all(|state| matches!(state, Status(_) | Watchdog | ExtendTimeoutUsec(_)));
    match send(states, &[], (!is_repeated).then_some(PATIENCE)) {
        Err(error) if is_repeated && is_full(&error) => {}
        Err(error) if matches!(states, [NotifyState::Ready]) && is_full(&error) => {
            tracing::warn!(
                "the service manager does not read what it is told; it is told later that the daemon is ready"
            );
            thread::spawn(|| {
                while send(&[NotifyState::Ready], &[], Some(PATIENCE)).is_err_and(|error| is_full(&error)) {}
            });
        }
        Err(error) => tracing::warn!("cannot notify the service manager: {error}"),
        Ok(()) => {}
    }
}

/// The same with a descriptor for its store, or without. `Err` of the kind `WouldBlock` if it does not read.
pub fn notify_with(states: &[NotifyState], descriptor: Option<BorrowedFd>) -> io::Result<()> {
    send(states, descriptor.as_slice(), Some(PATIENCE))
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// By our own call: that of `sd_notify` waits for as long as nothing is read.
#[allow(clippy::disallowed_methods, reason = "the service manager says in the environment where it listens")]
fn send(states: &[NotifyState], descriptors: &[BorrowedFd], patience: Option<Duration>) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let mut message = String::new();
    for state in states {
        // Writing to a String cannot fail.
        let _infallible = writeln!(message, "{state}");
    }
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    match patience {
        Some(patience) => socket.set_write_timeout(Some(patience))?,
        None => socket.set_nonblocking(true)?,
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("one descriptor at a time"));
    }
    let send = || sendmsg(&socket, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::NOSIGNAL);
    let sent = rustix::io::retry_on_intr(send)?;
    if sent == message.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// In a process of its own, which has the variable.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "it is the environment that is tested")]
    fn a_service_manager_that_does_not_read_is_not_waited_for() {
        if env::var_os("NOTIFY_SOCKET").is_none_or(|path| !path.as_bytes().ends_with(b"/unread")) {
            let directory = tempfile::TempDir::new().expect("a directory");
            let path = directory.path().join("unread");
            let socket = UnixDatagram::bind(&path).expect("a socket");
            let test = env::current_exe().expect("this program");
            let name = "service_manager::tests::a_service_manager_that_does_not_read_is_not_waited_for";
            let status = Command::new(test).args(["--exact", name]).env("NOTIFY_SOCKET", &path).status();
            assert!(status.expect("it runs").success());
            let mut text = [0; 64];
            let length = socket.recv(&mut text).expect("the first message");
            assert_eq!(&text[..length], b"READY=1\nSTATUS=x\n");
            return;
        }
        notify(&[NotifyState::Ready, NotifyState::Status("x")]);
        let full = (0..10_000).find_map(|_| send(&[NotifyState::Watchdog], &[], None).err()).expect("it is full");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        notify(&[NotifyState::Status("dropped")]);
        let error = notify_with(&[NotifyState::FdStore], None).expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
