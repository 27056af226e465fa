//! The admin socket in the file system. One test, because it changes the umask, which belongs to the whole process.

use std::{fs, os::unix::net::UnixListener};

use alppaca::admin::{Access, AdminSocket, SocketError};

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_or_another_file_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("x.sock");
    drop(UnixListener::bind(&path).expect("free"));
    let first = AdminSocket::bind(&path, Access::Everybody, None).expect("stale");
    assert!(matches!(AdminSocket::bind(&path, Access::Everybody, None), Err(SocketError::InUse(_))));
    fs::remove_file(&path).expect("ours");
    let theirs = UnixListener::bind(&path).expect("free");
    drop(first);
    assert!(path.exists(), "another's socket is left alone");
    drop(theirs);
    fs::remove_file(&path).expect("ours");
    fs::write(&path, "precious").expect("ours");
    assert!(matches!(AdminSocket::bind(&path, Access::Everybody, None), Err(SocketError::NotASocket(_))));
    assert_eq!(fs::read(&path).expect("still there"), b"precious");
}
