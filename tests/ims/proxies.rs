//! Through a proxy: what it gets to see, and a real one (tinyproxy).

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use alppaca::{
    credentials::Secret,
    fetch::{Proxies, Proxy},
    mock_ims::{Answer, Behaviour, LIST_PATH},
    refresh::{ErrorKind, Source},
    source::ims::{ImsSource, Settings},
};

use crate::{is_transient, localhost, role, settings, source, start, start_server, tinyproxy::Tinyproxy, tls, url};

fn through(proxy: SocketAddr, credentials: Option<(&str, &str)>, settings: Settings) -> Settings {
    let credentials = credentials.map(|(user, password)| (user.to_owned(), Secret::new(password)));
    let proxies = Proxies::always(Proxy { url: format!("http://{proxy}"), credentials });
    Settings { proxies, ..settings }
}

#[tokio::test]
async fn a_plain_request_goes_to_the_proxy_in_absolute_form_with_its_credentials() {
    // The mock plays the proxy.
    let (proxy, mock) = start(Behaviour::default());
    let url = format!("http://ims.example:8080{LIST_PATH}");
    let source = source(through(proxy, Some(("me", "s3cr3t")), settings(&url)));
    source.roles().await.expect("a list");
    let request = mock.requests().pop().expect("a request");
    assert_eq!(request.target, url);
    assert_eq!(request.header("host"), Some("ims.example:8080"));
    assert_eq!(request.header("proxy-authorization"), Some("Basic bWU6czNjcjN0"));
    let shown = format!("{source:?} {:?}", through(proxy, Some(("me", "s3cr3t")), settings(&url)));
    assert!(!shown.contains("s3cr3t") && !shown.contains("bWU6"), "{shown}");
}

#[tokio::test]
async fn a_proxy_that_does_not_answer_connect_is_given_up() {
    let proxy = start_server(|stream, _| async move {
        let _open = stream;
        std::future::pending::<()>().await;
    })
    .await;
    let (_directory, settings) = tls::start_for_proxy().await;
    let settings = Settings { connect_timeout: Duration::from_millis(100), ..through(proxy, None, settings) };
    let error = source(settings).roles().await.expect_err("no tunnel");
    let expected = format!("cannot connect, through the proxy {proxy}: no connection within 100ms");
    assert!(is_transient(&error) && error.message.ends_with(&expected), "{error}");
}

#[test]
fn a_proxy_that_cannot_be_used_is_refused_with_a_reason() {
    for (proxy, user, expected) in [
        ("https://proxy:3128", None, "the URL of the proxy must start with http://"),
        ("http://me:s3cr3t@proxy:3128", None, "must not carry a user name"),
        ("http://proxy:3128", Some("a:b"), "the proxy's user name must not contain a colon"),
    ] {
        let credentials = user.map(|user| (user.to_owned(), Secret::new("s3cr3t")));
        let proxies = Proxies::always(Proxy { url: proxy.to_owned(), credentials });
        let error = ImsSource::new(Settings { proxies, ..settings("http://ims/") }).expect_err("bad").to_string();
        assert!(error.contains(expected) && !error.contains("s3cr3t"), "{error}");
    }
}

#[tokio::test]
async fn a_real_proxy_forwards_plain_requests() {
    let Some(proxy) = Tinyproxy::start("") else { return };
    let (ims, mock) = start(Behaviour::default());
    let source = source(through(proxy.address, None, settings(url(ims))));
    source.roles().await.expect("a list");
    source.fetch(&role("test_role")).await.expect("credentials");
    let request = mock.requests().pop().expect("a request");
    assert!(request.header("via").is_some_and(|via| via.contains("tinyproxy")), "{request:?}");
}

#[tokio::test]
async fn a_real_proxy_passes_on_the_upstreams_word_and_its_own_403_is_none() {
    let Some(proxy) = Tinyproxy::start("Filter \"FILTER\"\nFilterExtended Yes") else { return };
    let headers = vec![("Alppaca-IMS".to_owned(), "1".to_owned())];
    let (ims, _mock) = start(Behaviour { document: Answer::Status(404), headers, ..Behaviour::default() });
    let upstream = source(through(proxy.address, None, settings(url(ims))));
    let error = upstream.fetch(&role("test_role")).await.expect_err("404");
    assert!(matches!(error.kind, ErrorKind::Refused { withdraws: true, .. }), "{error:?}");

    let denied = source(through(proxy.address, None, settings("http://denied.example/")));
    let error = denied.fetch(&role("test_role")).await.expect_err("403");
    assert!(is_transient(&error) && error.message.contains("403"), "{error:?}");
    assert!(error.message.ends_with("this seems to come from the proxy itself"), "{error}");
}

#[tokio::test]
async fn a_real_proxy_tunnels_tls() {
    let Some(proxy) = Tinyproxy::start("") else { return };
    let (_directory, settings) = tls::start_for_proxy().await;
    let source = source(through(proxy.address, None, settings));
    source.roles().await.expect("a list");
    source.fetch(&role("test_role")).await.expect("credentials");
}

#[tokio::test]
async fn a_real_proxy_gets_its_credentials_both_ways() {
    let Some(proxy) = Tinyproxy::start("BasicAuth me s3cr3t") else { return };
    let (ims, _mock) = start(Behaviour::default());
    let (_directory, tls) = tls::start_for_proxy().await;
    for settings in [settings(url(ims)), tls] {
        let good = source(through(proxy.address, Some(("me", "s3cr3t")), settings.clone()));
        good.roles().await.expect("a list");
        for bad in [None, Some(("me", "wr0ng"))] {
            let error = source(through(proxy.address, bad, settings.clone())).roles().await.expect_err("refused");
            assert!(is_transient(&error), "{error:?}");
            // What the tunnel's error is called, what the forwarded request gets.
            let told = ["tunnel error", "407 Proxy Authentication Required", "401 Unauthorized"];
            assert!(told.iter().any(|text| error.message.contains(text)), "{error}");
            assert!(!format!("{error:?}").contains("wr0ng"), "{error:?}");
        }
    }
}

#[tokio::test]
async fn an_ims_that_is_down_behind_a_real_proxy_withdraws_nothing() {
    let Some(proxy) = Tinyproxy::start("") else { return };
    let closed = TcpListener::bind(localhost()).expect("a free port").local_addr().expect("bound");
    let error = source(through(proxy.address, None, settings(url(closed)))).roles().await.expect_err("nobody there");
    assert!(is_transient(&error), "{error:?}");
}
