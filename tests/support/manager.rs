//! A service manager that keeps descriptors.

use std::{
    fmt::Write as _,
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rustix::{
    io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};
use tempfile::TempDir;

use super::Daemon;

/// As much of systemd as the store needs: `man 5 systemd.service`, `FileDescriptorStoreMax=`.
pub struct Manager {
    socket: UnixDatagram,
    pub directory: TempDir,
    pub stored: Vec<(String, OwnedFd)>,
    /// What is started instead of the program.
    program: Option<PathBuf>,
}

impl Manager {
    pub fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_mins(1))).expect("settable");
        Self { socket, directory, stored: Vec::new(), program: None }
    }

    /// Starts this instead of the program.
    pub fn of(program: PathBuf) -> Self {
        Self { program: Some(program), ..Self::new() }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    /// Takes one message; what it said.
    fn take(&mut self, flags: RecvFlags) -> Option<String> {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags).ok()?;
        let said = String::from_utf8_lossy(&text[..received.bytes]).into_owned();
        let name = said.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or_default().to_owned();
        if said.contains("FDSTOREREMOVE=1") {
            self.stored.retain(|(stored, _)| *stored != name);
        }
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        self.stored.extend(rights.flatten().map(|descriptor| (name.clone(), descriptor)));
        Some(said)
    }

    /// Waits for a message with `part`.
    pub fn wait_for(&mut self, part: &str) {
        while !self.take(RecvFlags::empty()).expect("more is said").contains(part) {}
    }

    /// Waits until each of these parts was in a message, in any order.
    pub fn wait_for_all(&mut self, parts: &[&str]) {
        let mut missing = parts.to_vec();
        while !missing.is_empty() {
            let said = self.take(RecvFlags::empty()).expect("more is said");
            missing.retain(|part| !said.contains(part));
        }
    }

    pub fn names(&mut self) -> Vec<&str> {
        while self.take(RecvFlags::DONTWAIT).is_some() {}
        self.stored.iter().map(|(name, _)| &**name).collect()
    }

    /// Starts the daemon with what is stored.
    pub fn start(&mut self, config: &str) -> Daemon {
        // Only the daemon of this test inherits them.
        static STARTING: Mutex<()> = Mutex::new(());
        let names = self.names().join(":");
        let starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut script = String::new();
        let mut inherited = Vec::new();
        for (number, (_, descriptor)) in (3..).zip(&self.stored) {
            // Out of the way of the numbers that they get.
            let descriptor = fcntl_dupfd_cloexec(descriptor, 100).expect("a descriptor");
            fcntl_setfd(&descriptor, FdFlags::empty()).expect("settable");
            let _infallible = writeln!(script, "exec {number}<&{0} {0}<&-", descriptor.as_raw_fd());
            inherited.push(descriptor);
        }
        script += "exec \"$0\" \"$@\"";
        let (count, notify) = (inherited.len(), self.path());
        let own = self.program.as_deref();
        let command = |program: &str| {
            // Not every sh knows descriptors above 9.
            let mut command = Command::new("bash");
            command.args(["-c", &script]).arg(own.unwrap_or(Path::new(program))).env("NOTIFY_SOCKET", notify);
            command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDNAMES", names);
            command
        };
        Daemon::start_through(config, command, || drop((inherited, starting)))
    }
}
