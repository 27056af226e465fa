//! `web_identity`: what each answer of STS means. (`interop_web_identity` has a real STS.)

use std::{sync::Arc, time::Duration};

use alppaca::{
    clock::SystemClock,
    credentials::{AccountId, RoleArn},
    refresh::Fetch,
    source::{
        aws::StsSettings,
        sts::Request,
        web_identity::{Settings, WebIdentity},
    },
};

use crate::{
    is_refused, is_transient, options,
    server::{Reply, Server},
    write,
};

const ISSUED: &str = "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleWithWebIdentityResult><AssumedRoleUser><AssumedRoleId>AROA:x</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/app/x</Arn></AssumedRoleUser><Credentials><AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>wJalr</SecretAccessKey><SessionToken>IQoJ</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>";

fn identity(server: &Server, token_file: &std::path::Path) -> Arc<WebIdentity> {
    Arc::new(WebIdentity::new(
        Settings {
            token_file: token_file.to_owned(),
            sts: StsSettings {
                region: "eu-central-1".into(),
                endpoint: Some(server.url()),
                fips: false,
                dual_stack: false,
                http: options(),
            },
        },
        SystemClock::shared(),
    ))
}

fn role() -> Request {
    Request::new("arn:aws:iam::123456789012:role/app".parse().expect("an ARN"), "alppaca-on-host".to_owned())
}

#[tokio::test]
async fn everything_that_can_be_said_is_said_unsigned_with_the_token_of_the_moment() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    let server = Server::start(|_| (200, ISSUED.to_owned()));
    let role = Request {
        duration: Some(Duration::from_mins(15)),
        policy: Some("{}".into()),
        policy_arns: vec!["arn:aws:iam::aws:policy/ReadOnlyAccess".into()],
        ..role()
    };
    let source = identity(&server, &token).role(role);
    for text in ["ey.first", "ey.second"] {
        write(&token, &format!("{text}\n"));
        let set = source.fetch(None).await.expect("credentials");
        assert_eq!(
            (set.access_key_id.as_str(), set.account_id.as_ref().map(AccountId::as_str)),
            ("ASIAEXAMPLE", Some("123456789012"))
        );
        assert_eq!(set.role_arn.as_ref().map(RoleArn::as_str), Some("arn:aws:iam::123456789012:role/app"));
        let asked = server.asked().pop().expect("a call");
        assert_eq!(asked.header("authorization"), None);
        for part in [
            "Action=AssumeRoleWithWebIdentity&",
            "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fapp",
            "RoleSessionName=alppaca-on-host",
            "DurationSeconds=900",
            "Policy=%7B%7D",
            "PolicyArns.member.1.arn=arn%3Aaws%3Aiam%3A%3Aaws%3Apolicy%2FReadOnlyAccess",
            &format!("WebIdentityToken={text}"),
        ] {
            assert!(asked.body.contains(part), "{part}: {asked:?}");
        }
    }
}

#[tokio::test]
async fn a_set_lives_as_long_as_by_the_clock_of_sts() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    write(&token, "ey.secret");
    for (date, asked, life) in [
        // Two hours before the expiration in the answer, whenever that is here.
        (Some("Date: Wed, 31 Dec 2098 22:00:00 GMT"), None, Some(Duration::from_hours(2))),
        (Some("Date: Wed, 31 Dec 2098 22:00:00 GMT"), Some(Duration::from_hours(3)), Some(Duration::from_hours(2))),
        (None, Some(Duration::from_hours(3)), Some(Duration::from_hours(3))),
        (None, None, None),
        (Some("Date: tomorrow"), None, None),
    ] {
        let headers: Vec<_> = date.into_iter().map(str::to_owned).collect();
        let server =
            Server::with_headers(move |_| Reply { status: 200, headers: headers.clone(), body: ISSUED.to_owned() });
        let source = identity(&server, &token).role(Request { duration: asked, ..role() });
        let set = source.fetch(None).await.expect("credentials");
        assert_eq!(set.life, life, "{date:?} {asked:?}");
    }
}

#[tokio::test]
async fn each_answer_means_what_it_means() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    write(&token, "ey.secret");
    for (status, code, transient, part) in [
        (400, "IDPCommunicationError", true, "IDPCommunicationError"),
        (400, "InvalidIdentityToken", true, "InvalidIdentityToken"),
        (400, "ExpiredTokenException", true, "must write a new token"),
        (400, "Throttling", true, "Throttling"),
        (500, "InternalFailure", true, "InternalFailure"),
        (403, "IDPRejectedClaim", false, "the issuer rejects this token"),
        (403, "AccessDenied", false, "trust policy"),
        (400, "PackedPolicyTooLarge", false, "PackedPolicyTooLarge"),
        (400, "ValidationError", false, "ValidationError"),
    ] {
        // Longer than what is usually quoted of an error.
        let padding = " ".repeat(2000);
        let body = format!(
            "<ErrorResponse><Error>{padding}<Type>Sender</Type><Code>{code}</Code><Message>it says so</Message></Error><RequestId>x</RequestId></ErrorResponse>"
        );
        let server = Server::start(move |_| (status, body.clone()));
        let error = identity(&server, &token).role(role()).fetch(None).await.expect_err("no credentials");
        assert_eq!((is_transient(&error), is_refused(&error)), (transient, !transient), "{code}: {error:?}");
        assert!(error.message.contains(part) && error.message.contains("it says so"), "{code}: {error}");
        assert_eq!(server.asked().len(), 1, "nothing is repeated inside");
        assert!(!format!("{error:?}").contains("ey.secret"), "{error:?}");
    }
}

#[tokio::test]
async fn a_token_that_sts_would_not_take_is_not_sent() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    let server = Server::start(|_| (200, ISSUED.to_owned()));
    let source = identity(&server, &token).role(role());
    for (text, part) in
        [("x".repeat(20_001), "has 20001 characters"), ("abc".into(), "has 3 characters"), (String::new(), "is empty")]
    {
        write(&token, &text);
        let error = source.fetch(None).await.expect_err("no token");
        assert!(is_transient(&error) && error.message.contains(part), "{error}");
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn a_server_that_is_down_says_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    write(&token, "ey.secret");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let settings = Settings {
        token_file: token,
        sts: StsSettings {
            region: "eu-central-1".into(),
            endpoint: Some(format!("http://{closed}")),
            fips: false,
            dual_stack: false,
            http: options(),
        },
    };
    let error = Arc::new(WebIdentity::new(settings, SystemClock::shared()))
        .role(role())
        .fetch(None)
        .await
        .expect_err("nobody there");
    assert!(is_transient(&error) && error.message.contains("cannot connect: "), "{error}");
}
