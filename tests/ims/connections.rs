//! How connections are opened, kept, reused and given up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alppaca::{
    mock_ims::{Answer, Behaviour},
    refresh::Source,
    source::ims::{ImsSource, Settings},
};
use tokio::{io::AsyncWriteExt, sync::mpsc};

use crate::{is_transient, read_head, role, settings, source, start_server, start_with_source, url, write_list};

#[tokio::test]
async fn a_list_and_its_documents_share_one_connection() {
    let roles: Vec<_> = (0..20).map(|number| format!("role-{number}")).collect();
    let (source, mock) = start_with_source(Behaviour { roles, ..Behaviour::default() });
    let list = source.roles().await.expect("a list");
    for name in &list.names {
        source.fetch(name).await.expect("credentials");
    }
    assert_eq!(mock.connections(), 1);
}

#[tokio::test]
async fn a_connection_is_not_kept_for_ever_so_that_a_name_that_has_moved_is_followed() {
    let (source, mock) = start_with_source(Behaviour::default());
    source.roles().await.expect("a list");
    let mut connections = Vec::new();
    for _ in 0..12 {
        // Only the timers of the pool and of the connection, while nothing is under way.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(10)).await;
        tokio::time::resume();
        source.roles().await.expect("a list");
        connections.push(mock.connections());
    }
    // Two minutes, with connections that live for half a minute each.
    assert_eq!(connections[..2], [1; 2], "{connections:?}");
    assert!(connections.last().is_some_and(|all| (4..=6).contains(all)), "{connections:?}");
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_does_no_harm() {
    let behaviour = Behaviour { list: Answer::GoodThenClose, document: Answer::GoodThenClose, ..Behaviour::default() };
    let (source, mock) = start_with_source(behaviour);
    for _ in 0..50 {
        source.roles().await.expect("a list");
        source.fetch(&role("test_role")).await.expect("credentials");
    }
    assert_eq!(mock.connections(), 100);
}

#[tokio::test]
async fn a_connection_that_is_closed_just_when_it_is_used_again_is_replaced() {
    // The first connection takes a second request and dies of it, as if it had been closed before.
    let address = start_server(|mut stream, number| async move {
        read_head(&mut stream).await;
        write_list(&mut stream).await;
        read_head(&mut stream).await;
        if number > 1 {
            write_list(&mut stream).await;
        }
    })
    .await;
    let source = source(settings(url(address)));
    for _ in 0..3 {
        source.roles().await.expect("a list");
    }
}

#[tokio::test]
async fn a_new_connection_that_is_closed_without_an_answer_is_an_error_at_once() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&accepted);
    let address = start_server(move |mut stream, number| {
        counter.store(number, Ordering::SeqCst);
        async move {
            read_head(&mut stream).await;
        }
    })
    .await;
    let error = source(settings(url(address))).roles().await.expect_err("no list");
    assert!(is_transient(&error) && error.message.contains("the connection broke off: connection closed"), "{error}");
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_body_without_end_is_left_after_the_limit() {
    let (sender, mut written) = mpsc::channel(1);
    let address = start_server(move |mut stream, _| {
        let sender = sender.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("an open connection");
            let (block, mut bytes) = (vec![b'x'; 64 * 1024], 0);
            while stream.write_all(&block).await.is_ok() {
                bytes += block.len();
            }
            sender.send(bytes).await.expect("the test waits");
        }
    })
    .await;
    let error = source(settings(url(address))).fetch(&role("test_role")).await.expect_err("no document");
    assert!(error.message.contains("longer than 65536 bytes"), "{error}");
    // What is more than the limit sat in the kernel's buffers.
    let bytes = written.recv().await.expect("the server's count");
    assert!(bytes < 32 * 1024 * 1024, "{bytes}");
}

#[tokio::test]
async fn an_ims_that_is_not_there_is_a_clear_and_transient_error() {
    let listener = std::net::TcpListener::bind(crate::localhost()).expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let error = source(settings(url(address))).roles().await.expect_err("nobody there");
    assert!(is_transient(&error), "{error:?}");
    assert!(error.message.contains("cannot connect: tcp connect error: Connection refused"), "{error}");

    let unknown = Settings { timeout: Duration::from_secs(5), ..settings("http://ims.invalid/") };
    let error = source(unknown).roles().await.expect_err("no such name");
    assert!(is_transient(&error) && error.message.starts_with("GET http://ims.invalid/: "), "{error:?}");
}

fn ca_file() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = crate::tls::Authority::new("some CA").write_to(directory.path());
    (directory, path)
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let address = start_server(|stream, _| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let (_directory, ca_file) = ca_file();
    let settings = Settings {
        connect_timeout: Duration::from_millis(100),
        ca_file: Some(ca_file),
        ..settings(format!("https://{address}/"))
    };
    let error = source(settings).roles().await.expect_err("no handshake");
    assert!(is_transient(&error) && error.message.ends_with("cannot connect: no connection within 100ms"), "{error}");
}

#[test]
fn a_source_can_be_made_before_there_is_a_runtime() {
    source(settings("http://ims/"));
    let (_directory, ca_file) = ca_file();
    source(Settings { ca_file: Some(ca_file), ..settings("https://ims/") });
}

#[test]
fn settings_that_cannot_work_are_refused_with_a_reason() {
    let error = ImsSource::new(settings("http://me:s3cr3t@ims/")).expect_err("a password").to_string();
    assert!(error.contains("must not carry a user name or password") && !error.contains("s3cr3t"), "{error}");
}
