//! Which process holds a socket: for the record only. It is found by reading `/proc`, which takes time, sees only what
//! the daemon may see (its own user's processes, or all as root), and may find a process to which the socket was passed.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its program, if that may be known.
    pub exe: Option<PathBuf>,
}

impl Holder {
    /// The process with a number.
    pub fn of(pid: u32) -> Self {
        Self { pid, exe: fs::read_link(format!("/proc/{pid}/exe")).ok() }
    }

    /// A process of user `uid` that holds the socket with an inode.
    pub fn find(uid: u32, inode: u64) -> Option<Self> {
        find_in(Path::new("/proc"), Some(uid), inode).map(Self::of)
    }

    /// A process of any user that holds it, of those into which may be looked.
    pub fn find_any(inode: u64) -> Option<Self> {
        find_in(Path::new("/proc"), None, inode).map(Self::of)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.exe {
            // The name of a program is its user's choice: quoted.
            Some(exe) => write!(f, "process {}, {:?}", self.pid, exe.to_string_lossy()),
            None => write!(f, "process {}", self.pid),
        }
    }
}

fn find_in(proc: &Path, uid: Option<u32>, inode: u64) -> Option<u32> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    let holds = |process: &fs::DirEntry| {
        let of_user = uid.is_none_or(|uid| process.metadata().is_ok_and(|metadata| metadata.uid() == uid));
        let mut files = of_user.then(|| fs::read_dir(process.path().join("fd")).ok()).flatten().into_iter().flatten();
        files.any(|file| file.is_ok_and(|file| fs::read_link(file.path()).is_ok_and(|target| target == wanted)))
    };
    let number = |process: &fs::DirEntry| process.file_name().to_str()?.parse::<u32>().ok();
    fs::read_dir(proc).ok()?.flatten().filter(|entry| number(entry).is_some()).find(holds).as_ref().and_then(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_socket_is_found_by_its_inode() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let inode = rustix::fs::fstat(&socket).expect("open").st_ino;
        let uid = rustix::process::getuid().as_raw();
        let holder = Holder::find(uid, inode).expect("this process");
        assert_eq!((holder.pid, holder.exe), (std::process::id(), std::env::current_exe().ok()));
        assert_eq!(Holder::find_any(inode).map(|holder| holder.pid), Some(std::process::id()));
        drop(socket);
        assert_eq!(Holder::find(uid, inode), None);
        assert_eq!(Holder::find(uid.wrapping_add(1), inode), None);
    }
}
