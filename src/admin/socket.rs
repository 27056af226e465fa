//! The socket in the file system: made safely, replaced only if no daemon answers at it, removed at the end.

use std::{
    fmt, fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, lchown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::unistd::Gid;
use rustix::{
    fs::{Access as Permission, Mode, access},
    process::umask,
};

use crate::sandbox::{Identity, make_directory};

/// The listening socket. Its file is removed when this is dropped, if the directory is still ours to write.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    file: SocketFile,
    access: Access,
    /// Whether a socket unit keeps it.
    of_unit: bool,
    /// Whether it is in the place of one that a socket unit keeps, whose file is gone.
    instead_of_unit: bool,
}

/// Who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// All users.
    Everybody,
    /// The members of a group.
    Group(Gid),
    /// The user who starts the daemon, and root.
    Owner,
}

impl Access {
    /// The bits that the mode does not have.
    fn closed(self) -> u32 {
        match self {
            Self::Everybody => 0o111,
            Self::Group(_) => 0o117,
            Self::Owner => 0o177,
        }
    }

    fn group(self) -> Option<Gid> {
        match self {
            Self::Group(group) => Some(group),
            Self::Everybody | Self::Owner => None,
        }
    }
}

/// All users, unless a group is named.
impl From<Option<Gid>> for Access {
    fn from(group: Option<Gid>) -> Self {
        group.map_or(Self::Everybody, Self::Group)
    }
}

/// Which file a socket has: its device and inode. While the socket is open, in whichever process, no other file has these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketId {
    device: u64,
    inode: u64,
}

impl SocketId {
    fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Whether the file has that name.
    pub fn is_at(self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|found| Self::of(&found) == self)
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.device, self.inode)
    }
}

impl FromStr for SocketId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text| u64::from_str_radix(text, 16).map_err(|_| ());
        let (device, inode) = text.split_once('-').ok_or(())?;
        Ok(Self { device: number(device)?, inode: number(inode)? })
    }
}

/// A socket that another process has had, or still has, and its file.
pub type Former = (SocketId, UnixListener);

/// Where a socket was made.
#[derive(Debug, Clone)]
pub struct SocketPlace {
    path: PathBuf,
    id: SocketId,
    access: Access,
    fate: Arc<Fate>,
}

/// What becomes of the file.
#[derive(Debug, Default)]
struct Fate {
    /// Whether it stays when the socket is dropped, because another process listens there, or will.
    stays: AtomicBool,
    /// The name that it has until it takes the place of another's.
    beside: Mutex<Option<PathBuf>>,
}

impl Fate {
    /// The name that a file has now which is to be at `path`.
    fn name(&self, path: &Path) -> PathBuf {
        let beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        beside.as_deref().unwrap_or(path).to_owned()
    }
}

impl SocketPlace {
    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which file it has.
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// Whether that socket still has its name.
    pub fn is_there(&self) -> bool {
        self.id.is_at(&self.fate.name(&self.path))
    }

    /// Makes another there. Done by the daemon's own account.
    pub fn bind_again(&self) -> Result<AdminSocket, SocketError> {
        let mut socket = AdminSocket::bind(&self.path, self.access, None)?;
        *self.fate.beside.lock().unwrap_or_else(PoisonError::into_inner) = None;
        socket.file.fate = Arc::clone(&self.fate);
        Ok(socket)
    }

    /// Says whether the file stays when this process has ended, also that of what [`Self::bind_again`] has made.
    pub fn set_stays(&self, stays: bool) {
        self.fate.stays.store(stays, Ordering::Relaxed);
    }

    /// Whether this process, by the rights that it has now, can do [`Self::take_place`].
    pub fn can_take_place(&self) -> io::Result<()> {
        match (self.fate.name(&self.path) == self.path, self.path.parent()) {
            (false, Some(directory)) => Ok(access(directory, Permission::WRITE_OK | Permission::EXEC_OK)?),
            _ => Ok(()),
        }
    }

    /// Takes the place of another's, if it was [made beside it](AdminSocket::bind_beside).
    pub fn take_place(&self) -> Result<(), SocketError> {
        let mut beside = self.fate.beside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = &*beside {
            fs::rename(name, &self.path).map_err(|source| SocketError::File { path: self.path.clone(), source })?;
        }
        *beside = None;
        Ok(())
    }
}

/// The file, which may meanwhile be another process's of the same name.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    id: SocketId,
    fate: Arc<Fate>,
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
    /// then belongs to `identity`, if it is not there.
    pub fn bind(path: &Path, access: impl Into<Access>, identity: Option<&Identity>) -> Result<Self, SocketError> {
        let access = access.into();
        let failed = |source| SocketError::File { path: path.to_owned(), source };
        if let Some(directory) = path.parent() {
            make_directory(directory, identity).map_err(failed)?;
        }
        clear_the_way(path)?;
        let listener = bind(path, access).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let id = SocketId::of(&fs::symlink_metadata(path).map_err(failed)?);
        Ok(Self {
            listener,
            file: SocketFile { path: path.to_owned(), id, fate: Arc::default() },
            access,
            of_unit: false,
            instead_of_unit: false,
        })
    }

    /// Where the service manager listens, or has listened before the file was removed.
    pub fn path_of(listener: &UnixListener) -> Option<PathBuf> {
        listener.local_addr().ok()?.as_pathname().map(Path::to_owned)
    }

    /// Takes over the one at which the service manager has listened until now.
    pub fn adopt(listener: UnixListener) -> Result<Self, SocketError> {
        let path = Self::path_of(&listener).unwrap_or_default();
        let failed = |source| SocketError::File { path: path.clone(), source };
        listener.set_nonblocking(true).map_err(failed)?;
        let id = SocketId::of(&fs::symlink_metadata(&path).map_err(failed)?);
        let file = SocketFile { path, id, fate: Arc::default() };
        let socket = Self { listener, file, access: Access::Everybody, of_unit: true, instead_of_unit: false };
        socket.place().set_stays(true);
        Ok(socket)
    }

    /// Takes over the one of `former` whose file is at `path`, if it is as one with that `access` is, and of one of the `owners`, who
    /// could change that. The file stays.
    pub fn inherit(former: Vec<Former>, path: &Path, access: impl Into<Access>, owners: &[u32]) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok()?;
        let id = SocketId::of(&metadata);
        let access = access.into();
        let mode = 0o777 & !access.closed();
        let of_group = access.group().is_none_or(|group| group.as_raw() == metadata.gid());
        if metadata.mode() & 0o7777 != mode || !of_group || !owners.contains(&metadata.uid()) {
            return None;
        }
        let (_, listener) = former.into_iter().find(|(known, _)| *known == id)?;
        listener.set_nonblocking(true).ok()?;
        let file = SocketFile { path: path.to_owned(), id, fate: Arc::default() };
        let socket = Self { listener, file, access, of_unit: false, instead_of_unit: false };
        socket.place().set_stays(true);
        Some(socket)
    }

    /// The same beside another's that cannot be [inherited](Self::inherit), until it [takes its place](SocketPlace::take_place).
    pub fn bind_beside(
        path: &Path,
        access: impl Into<Access>,
        identity: Option<&Identity>,
    ) -> Result<Self, SocketError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let name = PathBuf::from(name);
        let mut socket = Self::bind(&name, access, identity)?;
        path.clone_into(&mut socket.file.path);
        *socket.file.fate.beside.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
        Ok(socket)
    }

    /// The same socket, to be passed on.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Whether a socket unit keeps it.
    pub fn is_of_unit(&self) -> bool {
        self.of_unit
    }

    /// The same, as one that is in the place of a socket unit's, whose file is gone.
    #[must_use]
    pub fn instead_of_unit(self) -> Self {
        Self { instead_of_unit: true, ..self }
    }

    /// Whether it is that.
    pub fn is_instead_of_unit(&self) -> bool {
        self.instead_of_unit
    }

    /// Whether only a group may connect.
    pub fn is_restricted(&self) -> bool {
        self.access.group().is_some()
    }

    /// Where it is, to see whether it stays there.
    pub fn place(&self) -> SocketPlace {
        SocketPlace {
            path: self.file.path.clone(),
            id: self.file.id,
            access: self.access,
            fate: Arc::clone(&self.file.fate),
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
fn bind(path: &Path, access: Access) -> io::Result<UnixListener> {
    let group = access.group();
    let own = Gid::effective();
    let root = nix::unistd::geteuid().is_root();
    if let (Some(group), true) = (group, root) {
        nix::unistd::setegid(group)?;
    }
    let mask = umask(Mode::from_bits_truncate(access.closed()));
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
        let name = self.fate.name(&self.path);
        if !self.fate.stays.load(Ordering::Relaxed) && self.id.is_at(&name) {
            // If it stays, that is no mistake: no daemon answers at it, so the next one replaces it.
            let _stays = fs::remove_file(name);
        }
    }
}
