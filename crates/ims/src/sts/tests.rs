//! Against the strict mock, over loopback.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc, time::Duration};

use alppaca_mock_sts::{Handle, Role, Script, User};

use super::{Caller, Options, Sts, Trouble};
use crate::{
    clock::SystemClock,
    fetch::ProxyVariables,
    rules::Grant,
    settings::{Fields, Setting, Value, problem::Source, yaml},
    source::{HostEnv, aws::Environment},
};

const USER: &str = "arn:aws:iam::111111111111:user/ims";
const WEB: &str = "arn:aws:iam::222222222222:role/web";
const HUB: &str = "arn:aws:iam::111111111111:role/hub";

const TABLE: &[Setting] = &[Setting::nested("sts", "", "")];

fn options(url: &str, more: &str) -> Options {
    let keys = "{kind: static, access_key_id: AKIATEST, secret_access_key: secret}";
    let text = format!("sts: {{credentials: {keys}, regions: [eu-central-1, eu-west-1], endpoint: '{url}'{more}}}");
    let source = Arc::new(Source { name: PathBuf::from("test.yaml"), text });
    let node = yaml::read(&source).expect("YAML").expect("a document");
    let Value::Map(entries) = node.value else { panic!("no mapping") };
    let mut fields = Fields::new(entries, TABLE);
    let read = super::read(&mut fields);
    assert!(fields.problems.is_empty(), "{}", fields.problems[0]);
    read.expect("options")
}

pub(crate) fn host_env() -> HostEnv {
    HostEnv {
        host: "ims1".to_owned(),
        aws: Environment::default(),
        proxies: ProxyVariables::read(|_| None),
        home: None,
        path: None,
        ssh_auth_sock: None,
        launcher: Vec::new(),
        sign_ins: alppaca_sources::sign_in::SignIns::new(SystemClock::shared(), None),
        clock: SystemClock::shared(),
    }
}

async fn mock() -> Handle {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let user =
        User { arn: USER.to_owned(), access_key_id: "AKIATEST".to_owned(), secret_access_key: "secret".to_owned() };
    let script =
        Script { users: vec![user], roles: vec![Role::new(WEB, USER), Role::new(HUB, USER)], ..Script::default() };
    alppaca_mock_sts::serve(listener, script, SystemClock::shared()).expect("a mock")
}

/// Waits until the server has credentials of its own.
async fn open(options: &Options) -> Arc<Sts> {
    let (sts, background) = options.open(&host_env(), &[]).expect("opened");
    tokio::spawn(background);
    let ready = async {
        while sts.unready().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ready).await.expect("ready");
    sts
}

fn grant(arn: &str) -> Grant {
    Grant {
        session_name: "web1".to_owned(),
        source_identity: Some("web1".to_owned()),
        tags: vec![("team".to_owned(), "shop".to_owned())],
        transitive_tags: vec!["team".to_owned()],
        ..Grant::of(arn)
    }
}

fn caller(proven_by: &str) -> Caller {
    Caller { name: "web1".to_owned(), method: "mtls", proven_by: proven_by.to_owned() }
}

#[tokio::test]
async fn one_call_for_many_requests_and_its_id_is_known() {
    let mock = mock().await;
    let sts = open(&options(&mock.url(), "")).await;
    let (grant, hosts, other) = (grant(WEB), caller("hosts"), caller("other"));
    let (one, two) = tokio::join!(sts.credentials(&grant, &hosts), sts.credentials(&grant, &hosts));
    let (one, two) = (one.expect("credentials"), two.expect("credentials"));
    assert!(Arc::ptr_eq(&one, &two) && one.by_user);
    let three = sts.credentials(&grant, &other).await.expect("credentials");
    assert_ne!(three.credentials.access_key_id, one.credentials.access_key_id, "another proof, another session");
    let calls: Vec<_> = mock.calls().into_iter().filter(|call| call.get("Action") == "AssumeRole").collect();
    assert_eq!(calls.len(), 2);
    assert_eq!(one.request_id.as_deref(), Some(calls[0].request_id.as_str()));
    assert_eq!((calls[0].region.as_str(), one.region.as_str()), ("eu-central-1", "eu-central-1"));
    assert_eq!((calls[0].get("SourceIdentity"), calls[0].get("Tags.member.1.Value")), ("web1", "shop"));
    let health = sts.health();
    assert_eq!((health.signer.as_deref(), health.sets, health.trouble), (Some(USER), 2, None));
    assert!(!format!("{one:?}").contains(one.credentials.secret_access_key.expose()));
}

#[tokio::test]
async fn what_aws_refuses_is_named_and_a_region_that_is_down_is_avoided() {
    let mock = mock().await;
    let sts = open(&options(&mock.url(), "")).await;
    mock.change(|script| script.roles[0].set_source_identity = false);
    let refused = sts.credentials(&grant(WEB), &caller("hosts")).await;
    let Err(Trouble::Refused { why, .. }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("sts:SetSourceIdentity") && why.contains("request "), "{why}");
    mock.change(|script| script.down = vec!["eu-central-1".to_owned()]);
    let minted = sts.credentials(&grant(HUB), &caller("hosts")).await.expect("credentials");
    assert_eq!(minted.region, "eu-west-1");
    mock.change(|script| script.down = vec!["*".to_owned()]);
    let kept = sts.credentials(&grant(HUB), &caller("hosts")).await.expect("what is there");
    assert!(Arc::ptr_eq(&kept, &minted));
    let foreign = grant("arn:aws-cn:iam::222222222222:role/web");
    assert!(matches!(sts.credentials(&foreign, &caller("hosts")).await, Err(Trouble::Refused { .. })));
}

#[tokio::test]
async fn a_chain_lasts_an_hour_at_most_and_is_no_users() {
    let mock = mock().await;
    mock.change(|script| script.roles[0] = Role { max_session: Duration::from_hours(12), ..Role::new(WEB, HUB) });
    let options = options(&mock.url(), &format!(", assume: '{HUB}'"));
    assert!(options.is_chain());
    let sts = open(&options).await;
    let minted = sts.credentials(&grant(WEB), &caller("hosts")).await.expect("credentials");
    assert!(!minted.by_user);
    let long = Grant { duration: Some(Duration::from_hours(2)), ..grant(WEB) };
    let refused = sts.credentials(&long, &caller("hosts")).await;
    let Err(Trouble::Refused { why, .. }) = refused else { panic!("{refused:?}") };
    assert!(why.contains("role chaining"), "{why}");
}
