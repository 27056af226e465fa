//! The mock itself, where the source's tests do not show it.

use std::{net::TcpStream, time::Duration};

use alppaca::{
    mock_ims::{Answer, Behaviour, LIST_PATH, MockIms},
    refresh::{ErrorKind, Source},
};

use crate::{is_transient, localhost, role, settings, source, start_with_source, url};

#[tokio::test]
async fn it_serves_all_that_localhost_means() {
    let mock = MockIms::bind_localhost(0, Behaviour::default()).expect("a free port");
    let address = mock.local_addr().expect("bound");
    assert!(address.ip().is_loopback() && address.is_ipv4());
    tokio::spawn(mock.run());
    source(settings(url(address))).roles().await.expect("a list");
    // Not every machine has IPv6; one that has it got the same port, which nobody else had yet.
    if TcpStream::connect(("::1", address.port())).is_ok() {
        let url = format!("http://[::1]:{}{LIST_PATH}", address.port());
        source(settings(url)).roles().await.expect("a list");
    }
}

#[tokio::test]
async fn what_it_does_can_be_changed_while_it_runs() {
    let (source, mock) = start_with_source(Behaviour::default());
    let (known, unknown) = (role("test_role"), role("unknown"));
    source.fetch(&known).await.expect("credentials");
    let error = source.fetch(&unknown).await.expect_err("404");
    assert!(matches!(error.kind, ErrorKind::Refused { withdraws: false, .. }), "{error:?}");

    mock.update(|behaviour| behaviour.roles.push("unknown".into()));
    source.fetch(&unknown).await.expect("credentials");

    let mut requests = mock.watch();
    mock.update(|behaviour| behaviour.fail_percent = 100);
    assert!(is_transient(&source.fetch(&known).await.expect_err("503")));
    assert_eq!(requests.recv().await.expect("a request").target, format!("{LIST_PATH}test_role"));

    mock.set(Behaviour { documents: vec![("test_role".into(), Answer::Empty)], ..Behaviour::default() });
    assert!(source.fetch(&known).await.expect_err("empty").message.contains("empty"));
    assert_eq!(mock.calls(&format!("{LIST_PATH}test_role")), 3);
}

#[tokio::test]
async fn latency_holds_each_answer_back() {
    let (source, mock) = start_with_source(Behaviour { latency: Duration::from_hours(1), ..Behaviour::default() });
    let name = role("test_role");
    let mut requests = mock.watch();
    tokio::select! {
        outcome = source.fetch(&name) => panic!("answered: {outcome:?}"),
        request = requests.recv() => drop(request.expect("a request")),
    }
}

#[tokio::test]
async fn it_is_gone_when_its_future_is_dropped() {
    let mock = MockIms::bind(localhost(), Behaviour::default()).expect("a free port");
    let address = mock.local_addr().expect("bound");
    let running = tokio::spawn(mock.run());
    let source = source(settings(url(address)));
    source.roles().await.expect("a list");
    running.abort();
    assert!(running.await.expect_err("aborted").is_cancelled());
    assert!(is_transient(&source.roles().await.expect_err("nobody there")));
}
