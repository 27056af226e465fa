//! A real proxy (tinyproxy) for the calls to STS alone.

use crate::{
    HOUR, ims, key,
    stand_in::{Reply, StandIn},
    start, support,
    tinyproxy::Tinyproxy,
};

#[test]
fn aws_proxy_host_is_for_the_call_to_sts_alone() {
    let Some(proxy) = Tinyproxy::start("") else { return };
    let ims = ims(&["base"]);
    let sts = StandIn::start(|_| Reply::Set(HOUR));
    let config = format!(
        "{}assume_role: arn:aws:iam::123456789012:role/a\naws_proxy_host: 127.0.0.1\naws_proxy_port: {}\n",
        ims.config(),
        proxy.address.port()
    );
    let daemon = start(&config, &sts);
    daemon.wait_for_log("role a: fetched ");
    key(&daemon, "a");
    assert!(sts.calls()[0].via.as_deref().is_some_and(|via| via.contains("tinyproxy")), "{:?}", sts.calls());
    assert!(ims.handle.requests().iter().all(|request| request.header("via").is_none()));
}

#[test]
fn a_source_may_have_a_proxy_that_wants_a_password() {
    let Some(proxy) = Tinyproxy::start("BasicAuth me s3cr3t") else { return };
    let ims = ims(&["base"]);
    let sts = StandIn::start(|_| Reply::Set(HOUR));
    let config = |password: &str| {
        format!(
            "{}sources:\n  sts1: {{kind: sts, endpoint: '{}', proxy: 'http://me:{password}@{}'}}\n\
             roles:\n  a: {{source: ims, role_arn: 'arn:aws:iam::123456789012:role/a', via: sts1}}\n",
            ims.config(),
            sts.url(),
            proxy.address
        )
    };
    let daemon = start(&config("s3cr3t"), &sts);
    daemon.wait_for_log("role a: fetched ");
    assert!(sts.calls()[0].via.is_some());
    // The proxy's own refusal is not AWS's word.
    let daemon = start(&config("wrong"), &sts);
    let told = daemon.wait_for_log("role a: cannot fetch credentials");
    assert!(!told.contains("wrong") && !told.contains("ERROR"), "{told}");
    assert_eq!(sts.calls().len(), 1);
}

#[test]
fn an_ims_is_asked_through_the_environments_proxy_where_that_is_said() {
    let Some(proxy) = Tinyproxy::start("BasicAuth me s3cr3t") else { return };
    let ims = ims(&["base"]);
    for (config, through) in [
        ("sources:\n  afp: {kind: ims, url: 'http://IMS', proxy: environment}\n", true),
        ("sources:\n  afp: {kind: ims, url: 'http://IMS', proxy: environment, no_proxy: [127.0.0.0/8]}\n", false),
        ("sources:\n  afp: {kind: ims, url: 'http://IMS'}\n", false),
        ("ims_url: http://IMS\nims_proxy: environment\n", true),
    ] {
        let before = ims.handle.requests().len();
        let daemon = support::Daemon::start_with(&config.replace("IMS", &ims.address.to_string()), |command| {
            command.env("http_proxy", format!("http://me:s3cr3t@{}", proxy.address)).env_remove("no_proxy");
        });
        daemon.wait_for_log("role base: fetched ");
        let vias: Vec<bool> =
            ims.handle.requests().iter().skip(before).map(|request| request.header("via").is_some()).collect();
        assert!(!vias.is_empty() && vias.iter().all(|via| *via == through), "{config}: {vias:?}");
        assert!(!daemon.log().contains("s3cr3t"), "{}", daemon.log());
    }
}
