//! Descriptors over a Unix socket, from one daemon to the one that takes its place, each with a name: a line of names, and with
//! it the descriptors (`SCM_RIGHTS`, unix(7)).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

/// What is spoken, by its name and version in HTTP's `Upgrade`. The number changes with the meaning of what follows.
pub const PROTOCOL: &str = "alppaca-replacement/2";
/// The name of the file with the sets.
pub const SETS: &str = "sets";
/// The new daemon is ready to serve.
pub const READY: &str = "ready";
/// The old one changes nothing any more.
pub const GO: &str = "go";
/// The new one serves.
pub const DONE: &str = "done";
/// The old one ends.
pub const OVER: &str = "over";
/// The old one goes on, or was stopped: the new one must not serve.
pub const NO: &str = "no";

/// As many as the kernel passes at once (`SCM_MAX_FD`).
const MOST: usize = 253;
/// Longer than any line of theirs.
const LONGEST: usize = 16 * 1024;

/// Sends them all at once. `Err` of the kind `WouldBlock` if `socket` does not block and has no room.
pub fn send(socket: impl AsFd, passed: &[(String, BorrowedFd)]) -> io::Result<()> {
    let passed = passed.get(..MOST).unwrap_or(passed);
    let names: Vec<&str> = passed.iter().map(|(name, _)| &**name).collect();
    let line = names.join(" ") + "\n";
    let descriptors: Vec<BorrowedFd> = passed.iter().map(|(_, descriptor)| *descriptor).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if line.len() > LONGEST || !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("too many sockets"));
    }
    let sent = sendmsg(socket, &[IoSlice::new(line.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    if sent == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives them.
pub fn receive(socket: &UnixStream) -> io::Result<Vec<(String, OwnedFd)>> {
    let mut line = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut line)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors: Vec<OwnedFd> = rights.flatten().collect();
    let line = line.get(..received.bytes).and_then(|bytes| std::str::from_utf8(bytes).ok());
    let line = line.and_then(|line| line.strip_suffix('\n')).ok_or(io::ErrorKind::UnexpectedEof)?;
    let names: Vec<&str> = line.split(' ').filter(|name| !name.is_empty()).collect();
    if names.len() != descriptors.len() {
        return Err(io::Error::other("not as many descriptors as names"));
    }
    Ok(names.into_iter().map(ToOwned::to_owned).zip(descriptors).collect())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        io::{Read, Seek, Write},
    };

    use super::*;

    #[test]
    fn descriptors_arrive_with_their_names() {
        let (one, other) = UnixStream::pair().expect("a pair");
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(b"x").expect("room");
        file.rewind().expect("seekable");
        let passed = vec![("a".to_owned(), file.as_fd()), ("b-1".to_owned(), one.as_fd())];
        send(&one, &passed).expect("room");
        let mut received = receive(&other).expect("sent");
        let names: Vec<_> = received.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "b-1"]);
        let mut text = String::new();
        File::from(received.swap_remove(0).1).read_to_string(&mut text).expect("it is the file");
        assert_eq!(text, "x");
        send(&one, &[]).expect("room");
        assert!(receive(&other).expect("sent").is_empty());
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        for sent in [&b""[..], b"a", b"a\n", &[255, 10]] {
            let (mut one, other) = UnixStream::pair().expect("a pair");
            one.write_all(sent).expect("room");
            drop(one);
            assert!(receive(&other).is_err(), "{sent:?}");
        }
    }
}
