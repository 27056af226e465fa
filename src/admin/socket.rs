//! The socket in the file system: made safely, replaced only if no daemon answers at it, removed at the end.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, lchown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::unistd::Gid;
use rustix::{fs::Mode, process::umask};

use crate::sandbox::{Identity, make_directory};

/// The listening socket. Its file is removed when this is dropped, if the directory is still ours to write.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    file: SocketFile,
    /// The group whose members may connect; all users if there is none.
    group: Option<Gid>,
}

/// Where a socket was made.
#[derive(Debug, Clone)]
pub struct SocketPlace {
    path: PathBuf,
    id: (u64, u64),
    group: Option<Gid>,
    stays: Stays,
}

/// Whether the file stays when its socket is dropped, because another process listens there.
type Stays = Arc<AtomicBool>;

impl SocketPlace {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether that socket still has its name.
    pub fn is_there(&self) -> bool {
        is_that(&self.path, self.id)
    }

    /// Makes another there. Done by the daemon's own account.
    pub fn bind_again(&self) -> Result<AdminSocket, SocketError> {
        let mut socket = AdminSocket::bind(&self.path, self.group, None)?;
        socket.file.stays = Arc::clone(&self.stays);
        Ok(socket)
    }

    /// Says whether another process listens there when this one has ended, also at what [`Self::bind_again`] has made.
    pub fn set_another(&self, another: bool) {
        self.stays.store(another, Ordering::Relaxed);
    }
}

fn is_that(path: &Path, id: (u64, u64)) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == id)
}

/// The file, which may meanwhile be another process's of the same name.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
    stays: Stays,
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon answers at it.
    #[error("{}: another daemon answers there", .0.display())]
    InUse(PathBuf),
    /// A file of another kind has its name.
    #[error("{}: there is a file of that name that is not a socket", .0.display())]
    NotASocket(PathBuf),
    /// Something with the file or its directory failed.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl AdminSocket {
    /// Makes it at `path`, which is absolute. Called before privileges are dropped, while there is one thread. Its directory is made, and
    /// then belongs to `identity`, if it is not there. Everybody may connect, or only `group`.
    pub fn bind(path: &Path, group: Option<Gid>, identity: Option<&Identity>) -> Result<Self, SocketError> {
        let failed = |source| SocketError::File { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            make_directory(directory, identity).map_err(failed)?;
        }
        clear_the_way(path)?;
        let listener = bind(path, group).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let metadata = fs::symlink_metadata(path).map_err(failed)?;
        let file = SocketFile { id: (metadata.dev(), metadata.ino()), path: path.to_owned(), stays: Stays::default() };
        Ok(Self { listener, file, group })
    }

    /// Takes over the one at which the service manager has listened until now.
    pub fn adopt(listener: UnixListener) -> Result<Self, SocketError> {
        let named = listener.local_addr().map(|address| address.as_pathname().map(Path::to_owned));
        let path = named.ok().flatten().unwrap_or_default();
        let failed = |source| SocketError::File { path: path.clone(), source };
        listener.set_nonblocking(true).map_err(failed)?;
        let metadata = fs::symlink_metadata(&path).map_err(failed)?;
        let file = SocketFile { id: (metadata.dev(), metadata.ino()), path, stays: Arc::new(true.into()) };
        Ok(Self { listener, file, group: None })
    }

    /// Takes over the one of the daemon that this one replaces, if it is at `path` and for `group`. The file stays until that
    /// daemon has ended.
    pub fn inherit(listener: UnixListener, path: &Path, group: Option<Gid>) -> Option<Self> {
        let named = listener.local_addr().is_ok_and(|address| address.as_pathname() == Some(path));
        let metadata = fs::symlink_metadata(path).ok().filter(|found| named && found.file_type().is_socket())?;
        let of_all = metadata.mode() & 0o002 != 0;
        if of_all != group.is_none() || group.is_some_and(|group| group.as_raw() != metadata.gid()) {
            return None;
        }
        let file =
            SocketFile { id: (metadata.dev(), metadata.ino()), path: path.to_owned(), stays: Arc::new(true.into()) };
        Some(Self { listener, file, group })
    }

    /// The same in the place of another's that cannot be [inherited](Self::inherit).
    pub fn bind_instead(path: &Path, group: Option<Gid>, identity: Option<&Identity>) -> Result<Self, SocketError> {
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(SocketError::File { path: path.to_owned(), source })
            }
            _ => Self::bind(path, group, identity),
        }
    }

    /// The same socket, to be passed on.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Whether only a group may connect.
    pub fn is_restricted(&self) -> bool {
        self.group.is_some()
    }

    /// Where it is, to see whether it stays there.
    pub fn place(&self) -> SocketPlace {
        SocketPlace {
            path: self.file.path.clone(),
            id: self.file.id,
            group: self.group,
            stays: Arc::clone(&self.file.stays),
        }
    }

    pub(super) fn into_parts(self) -> (UnixListener, SocketFile) {
        (self.listener, self.file)
    }
}

/// Removes what a daemon that is gone has left.
fn clear_the_way(path: &Path) -> Result<(), SocketError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(SocketError::File { path: path.to_owned(), source }),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|source| SocketError::File { path: path.to_owned(), source })
        }
        Err(source) => Err(SocketError::File { path: path.to_owned(), source }),
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
    }
}

/// The file has its mode and its group from the first moment: to change them afterwards by name would, for root, be
/// at the mercy of the directory's owner.
fn bind(path: &Path, group: Option<Gid>) -> io::Result<UnixListener> {
    let closed = if group.is_some() { 0o117 } else { 0o111 };
    let own = Gid::effective();
    let root = nix::unistd::geteuid().is_root();
    if let (Some(group), true) = (group, root) {
        nix::unistd::setegid(group)?;
    }
    let mask = umask(Mode::from_bits_truncate(closed));
    let bound = UnixListener::bind(path);
    umask(mask);
    if let (Some(_), true) = (group, root) {
        nix::unistd::setegid(own)?;
    }
    let bound = bound?;
    if let (Some(group), false) = (group, root) {
        // Possible for a member of the group.
        lchown(path, None, Some(group.as_raw()))?;
    }
    Ok(bound)
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if !self.stays.load(Ordering::Relaxed) && is_that(&self.path, self.id) {
            // If it stays, that is no mistake: no daemon answers at it, so the next one replaces it.
            let _stays = fs::remove_file(&self.path);
        }
    }
}
