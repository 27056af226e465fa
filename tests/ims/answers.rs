//! Whatever an IMS may say: what the source makes of it, and that it betrays no secret.

use std::{fs, time::Duration};

use alppaca::{
    credentials::format_timestamp,
    mock_ims::{Answer, Behaviour, Handle, LIST_PATH},
    refresh::{ErrorKind, RoleList, Source, SourceError},
    source::ims::{Identity, IdentityKind, ImsSource},
};

use crate::{is_doubtful, is_transient, role, settings, source, start, start_with_source, url};

const DRIP: Answer = Answer::Drip(Duration::from_millis(20));

async fn list_error(answer: Answer) -> SourceError {
    let (source, _mock) = start_with_source(Behaviour { list: answer, ..Behaviour::default() });
    source.roles().await.expect_err("no list")
}

/// A mock whose documents are answered like this, and a source that soon loses its patience.
fn impatient(document: Answer) -> (ImsSource, Handle) {
    let (address, mock) = start(Behaviour { document, ..Behaviour::default() });
    (source(settings_with_timeout(&url(address))), mock)
}

fn settings_with_timeout(url: &str) -> alppaca::source::ims::Settings {
    alppaca::source::ims::Settings { timeout: Duration::from_millis(200), ..settings(url) }
}

fn names(list: &RoleList) -> Vec<&str> {
    list.names.iter().map(alppaca::credentials::RoleName::as_str).collect()
}

#[tokio::test]
async fn roles_and_their_credentials_arrive_as_they_were_issued() {
    for answer in [Answer::Good, Answer::Chunked, Answer::GoodThenClose] {
        let behaviour = Behaviour {
            list: answer.clone(),
            document: answer,
            roles: vec!["a".into(), "b".into()],
            ..Behaviour::default()
        };
        let (source, mock) = start_with_source(behaviour);
        let list = source.roles().await.expect("a list");
        assert_eq!((names(&list), list.problems.len()), (vec!["a", "b"], 0));
        for name in &list.names {
            let credentials = source.fetch(name).await.expect("credentials");
            let issued = mock.issued_with(&credentials.access_key_id).expect("issued by the mock");
            assert_eq!(issued.role, name.as_str());
            assert_eq!(credentials.secret_access_key.expose(), issued.secret_access_key);
            assert_eq!(credentials.session_token.expose(), issued.session_token);
            assert_eq!(format_timestamp(credentials.expiration), format_timestamp(issued.expiration));
        }
        assert_eq!(mock.issued().len(), 2);
    }
}

#[tokio::test]
async fn a_server_in_trouble_says_when_to_come_back() {
    let headers = vec![("Retry-After".to_owned(), "120".to_owned())];
    for (answer, again) in [(Answer::Status(503), Some(Duration::from_mins(2))), (Answer::Status(500), None)] {
        let behaviour =
            Behaviour { list: answer.clone(), document: answer, headers: headers.clone(), ..Behaviour::default() };
        let (source, _mock) = start_with_source(behaviour);
        let errors =
            [source.roles().await.expect_err("no list"), source.fetch(&role("test_role")).await.expect_err("no set")];
        assert!(errors.iter().all(|error| is_transient(error) && error.again == again), "{errors:?}");
    }
}

#[tokio::test]
async fn requests_say_who_asks_and_want_no_compression() {
    let (address, mock) = start(Behaviour::default());
    source(settings(url(address))).roles().await.expect("a list");
    let request = mock.requests().pop().expect("a request");
    assert_eq!((request.method.as_str(), request.target.as_str()), ("GET", LIST_PATH));
    assert_eq!(request.header("host"), Some(address.to_string().as_str()));
    assert_eq!(request.header("user-agent"), Some(concat!("alppaca/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.headers.len(), 3, "{request:?}");
}

#[tokio::test]
async fn this_host_shows_who_it_is_by_what_is_in_a_file_now() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let (address, mock) = start(Behaviour::default());
    let source = |kind| {
        let identity = Some(Identity::Secret { kind, file: file.clone() });
        source(alppaca::source::ims::Settings { identity, ..settings(url(address)) })
    };
    for (kind, content, header) in [
        (IdentityKind::Jwt, "a.b.c\n", "Bearer a.b.c"),
        (IdentityKind::Jwt, "d.e.f\n", "Bearer d.e.f"),
        (IdentityKind::Token, "s3cr3t", "Alppaca-Token s3cr3t"),
    ] {
        fs::write(&file, content).expect("a file");
        let source = source(kind);
        let list = source.roles().await.expect("a list");
        source.fetch(&list.names[0]).await.expect("credentials");
        for request in mock.requests().iter().rev().take(2) {
            assert_eq!(request.header("authorization"), Some(header));
        }
    }
    fs::remove_file(&file).expect("the file");
    let error = source(IdentityKind::Jwt).roles().await.expect_err("no file");
    assert!(is_transient(&error) && error.message.contains("the file of the identity"), "{error:?}");
}

#[tokio::test]
async fn an_ims_may_live_behind_a_path_and_role_names_are_escaped() {
    let name = "A+b=c,d.e@f-g_h";
    let (address, mock) =
        start(Behaviour { list_path: "/afp/v1/".into(), roles: vec![name.into()], ..Behaviour::default() });
    let source = source(settings(format!("http://{address}/afp/v1/")));
    assert_eq!(names(&source.roles().await.expect("a list")), [name]);
    source.fetch(&role(name)).await.expect("credentials");
    assert_eq!(mock.calls("/afp/v1/A%2Bb%3Dc%2Cd.e%40f-g_h"), 1, "{:?}", mock.requests());
}

#[tokio::test]
async fn a_thousand_roles_with_long_names_fit_whatever_the_limit_for_documents() {
    let roles: Vec<_> = (0..1_000).map(|number| format!("{number:064}")).collect();
    let (address, _mock) = start(Behaviour { roles: roles.clone(), ..Behaviour::default() });
    let source = source(alppaca::source::ims::Settings { max_response_bytes: 4_096, ..settings(url(address)) });
    let list = source.roles().await.expect("a list");
    assert_eq!(names(&list), roles);
    source.fetch(&list.names[999]).await.expect("credentials");
}

#[tokio::test]
async fn illegal_lines_are_reported_and_the_other_roles_stay() {
    let roles = ["good", "a/b", "..", "%2e%2e", "fine"].map(String::from).to_vec();
    let (source, _mock) = start_with_source(Behaviour { roles, ..Behaviour::default() });
    let list = source.roles().await.expect("a list");
    assert_eq!((names(&list), list.problems.len()), (vec!["good", "fine"], 3));
    assert!(list.problems[0].starts_with("line 2 ") && list.problems[0].contains("'/'"), "{:?}", list.problems);
}

/// What a server adds to its answers that says only what it has decided.
fn decided() -> Vec<(String, String)> {
    vec![("Alppaca-IMS".to_owned(), "1".to_owned())]
}

#[tokio::test]
async fn an_empty_list_is_a_refusal_unless_the_server_says_only_what_it_has_decided() {
    let error = list_error(Answer::Empty).await;
    assert!(is_doubtful(&error) && error.message.ends_with("the role list is empty"), "{error:?}");
    let behaviour = Behaviour { list: Answer::Empty, headers: decided(), ..Behaviour::default() };
    let (source, _mock) = start_with_source(behaviour);
    let list = source.roles().await.map(|list| RoleList { date: None, ..list });
    assert_eq!(list, Ok(RoleList::default()));
}

#[tokio::test]
async fn a_list_says_how_long_it_is_fresh() {
    let headers = vec![("cache-control".to_owned(), "private, max-age=600".to_owned())];
    let (source, _mock) = start_with_source(Behaviour { headers, ..Behaviour::default() });
    assert_eq!(source.roles().await.expect("a list").max_age, Some(Duration::from_mins(10)));
}

#[tokio::test]
async fn what_is_no_list_says_nothing_about_the_roles() {
    for (answer, expected) in [
        (Answer::Html, "not a list of role names (\"<!DOCTYPE html> <html><body> Login"),
        (Answer::Garbage, "not a list of role names"),
        (Answer::Refusal, "not a list of role names"),
        (Answer::Huge, "longer than 1048576 bytes"),
        (Answer::HugeChunked, "longer than 1048576 bytes"),
        (Answer::Raw(b"x\n".repeat(10_001)), "more than 10000 lines"),
        (Answer::Reset, "broke off"),
        (Answer::Cut, "broke off"),
        (Answer::Gzip, "encoded (gzip)"),
        (Answer::Redirect, "302 Found to the host login.invalid"),
        (Answer::Status(500), "500 Internal Server Error (\"as the mock was told\")"),
        (Answer::Status(503), "503 Service Unavailable"),
        (Answer::Status(429), "429 Too Many Requests"),
    ] {
        let error = list_error(answer.clone()).await;
        assert!(is_transient(&error), "{answer:?}: {error:?}");
        assert!(error.message.starts_with("GET http://127.0.0.1:"), "{answer:?}: {error}");
        assert!(error.message.contains(expected), "{answer:?}: {error}");
        assert!(!error.message.contains('\n') && error.message.len() < 300, "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn what_afp_answers_in_trouble_is_quoted_and_may_be_its_own_trouble() {
    for (status, message) in [(403, "Permission Denied"), (404, "ConfigurationError")] {
        let answer = Answer::Afp(status, message);
        let (source, _mock) = start_with_source(Behaviour { document: answer.clone(), ..Behaviour::default() });
        for error in [list_error(answer).await, source.fetch(&role("test_role")).await.expect_err("no credentials")] {
            assert!(is_doubtful(&error), "{error:?}");
            assert!(error.message.contains(&format!("the answer is {status} ")), "{error}");
            assert!(error.message.ends_with(&format!("(\"{message}\")")), "{error}");
        }
    }
    for (status, message) in [(500, "Internal Server Error"), (502, "Call to AWS failed")] {
        let error = list_error(Answer::Afp(status, message)).await;
        assert!(is_transient(&error) && error.message.contains(message), "{error:?}");
    }
}

#[tokio::test]
async fn a_list_that_is_forbidden_or_gone_withdraws_by_the_word_of_a_server_that_decides() {
    for status in [403, 404] {
        let behaviour = Behaviour { list: Answer::Status(status), headers: decided(), ..Behaviour::default() };
        let (source, _mock) = start_with_source(behaviour);
        let error = source.roles().await.expect_err("no list");
        assert!(error.withdraws(), "{error:?}");
    }
}

#[tokio::test]
async fn every_usual_date_is_understood_and_judged_by_nobody_here() {
    for answer in [Answer::FractionDate, Answer::OffsetDate, Answer::Expired] {
        let (source, mock) = start_with_source(Behaviour { document: answer.clone(), ..Behaviour::default() });
        let credentials = source.fetch(&role("test_role")).await.expect("credentials");
        let issued = mock.issued().pop().expect("issued");
        assert_eq!(format_timestamp(credentials.expiration), format_timestamp(issued.expiration), "{answer:?}");
    }
}

#[tokio::test]
async fn ten_second_credentials_are_credentials() {
    let behaviour = Behaviour { lifetime: Duration::from_secs(10), ..Behaviour::default() };
    let (source, mock) = start_with_source(behaviour);
    let credentials = source.fetch(&role("test_role")).await.expect("credentials");
    assert!(mock.issued_with(&credentials.access_key_id).is_some());
}

#[tokio::test]
async fn what_is_no_document_says_nothing_about_the_role() {
    for (answer, expected) in [
        (Answer::Empty, "the document is empty"),
        (Answer::Html, "not the expected JSON object"),
        (Answer::Garbage, "not the expected JSON object"),
        (Answer::BadDate, "Expiration is not an ISO 8601 time"),
        (Answer::MissingField, "has no Token"),
        (Answer::Huge, "longer than 65536 bytes (ims_max_response_bytes)"),
        (Answer::HugeChunked, "longer than 65536 bytes (ims_max_response_bytes)"),
        (Answer::Reset, "broke off"),
        (Answer::Cut, "broke off"),
        (Answer::Gzip, "encoded (gzip)"),
        (Answer::Redirect, "to the host login.invalid"),
        (Answer::Status(204), "204 No Content"),
        (Answer::Status(407), "407 Proxy Authentication Required"),
        (Answer::Status(408), "408 Request Timeout"),
        (Answer::Status(429), "429 Too Many Requests"),
        (Answer::Status(500), "500 Internal Server Error"),
        (Answer::Status(503), "503 Service Unavailable"),
    ] {
        let (source, _mock) = start_with_source(Behaviour { document: answer.clone(), ..Behaviour::default() });
        let error = source.fetch(&role("test_role")).await.expect_err("no credentials");
        assert!(is_transient(&error), "{answer:?}: {error:?}");
        assert!(error.message.contains("/security-credentials/test_role: "), "{answer:?}: {error}");
        assert!(error.message.contains(expected), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_document_that_is_forbidden_or_gone_is_refused_and_withdrawn_by_a_server_that_decides() {
    for status in [400, 401, 403, 404, 410] {
        for headers in [Vec::new(), decided()] {
            let decides = !headers.is_empty() && matches!(status, 403 | 404);
            let behaviour = Behaviour { document: Answer::Status(status), headers, ..Behaviour::default() };
            let (source, _mock) = start_with_source(behaviour);
            let error = source.fetch(&role("test_role")).await.expect_err("no credentials");
            let ErrorKind::Refused { code, message, withdraws } = error.kind else { panic!("{error:?}") };
            assert_eq!((code.as_str(), withdraws), ("AssumeRoleUnauthorizedAccess", decides), "{status}");
            assert!(message.contains(&status.to_string()), "{message}");
        }
    }
}

#[tokio::test]
async fn an_error_document_refuses_and_withdraws_nothing() {
    let (source, _mock) = start_with_source(Behaviour { document: Answer::Refusal, ..Behaviour::default() });
    let error = source.fetch(&role("test_role")).await.expect_err("no credentials");
    let expected = ErrorKind::Refused {
        code: "AssumeRoleUnauthorizedAccess".into(),
        message: "EC2 cannot assume the role".into(),
        withdraws: false,
    };
    assert_eq!(error.kind, expected);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_given_up() {
    for answer in [Answer::Hang, DRIP] {
        let (source, _mock) = impatient(answer.clone());
        let error = source.fetch(&role("test_role")).await.expect_err("no credentials");
        assert!(is_transient(&error), "{error:?}");
        assert!(error.message.ends_with("no complete answer within 200ms"), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_not_taken_for_the_next_one() {
    let document = r#"{"Code": "Success", "AccessKeyId": "ASIAANOTHER", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}"#;
    let another = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{document}", document.len());
    let list = Answer::GoodThen(another.into_bytes());
    let (source, mock) = start_with_source(Behaviour { list, ..Behaviour::default() });
    for _ in 0..20 {
        source.roles().await.expect("a list");
        let credentials = source.fetch(&role("test_role")).await.expect("credentials");
        assert!(mock.issued_with(&credentials.access_key_id).is_some(), "{}", credentials.access_key_id);
    }
}

#[tokio::test]
async fn one_bad_role_leaves_the_others_alone() {
    let behaviour = Behaviour {
        roles: ["bad", "slow", "good"].map(String::from).to_vec(),
        documents: vec![("bad".into(), Answer::Reset), ("slow".into(), DRIP)],
        ..Behaviour::default()
    };
    let (address, _mock) = start(behaviour);
    let source = source(settings_with_timeout(&url(address)));
    let [bad, slow, good] = ["bad", "slow", "good"].map(role);
    let (bad, slow, good) = tokio::join!(source.fetch(&bad), source.fetch(&slow), source.fetch(&good));
    assert!(bad.is_err() && slow.is_err());
    good.expect("credentials");
}

#[tokio::test]
async fn no_error_and_no_debug_output_shows_a_secret() {
    let answers = [
        Answer::Good,
        Answer::Empty,
        Answer::Garbage,
        Answer::BadDate,
        Answer::MissingField,
        Answer::Reset,
        Answer::Gzip,
        Answer::Huge,
        DRIP,
    ];
    for answer in answers {
        let (source, mock) = impatient(answer.clone());
        let outcome = source.fetch(&role("test_role")).await;
        let shown =
            format!("{outcome:?} {source:?} {}", outcome.as_ref().err().map(ToString::to_string).unwrap_or_default());
        let issued = mock.issued().pop().expect("issued");
        assert!(!shown.contains(&issued.secret_access_key[..8]), "{answer:?}: {shown}");
        // The first 16 characters of each session token are the same.
        assert!(!shown.contains(&issued.session_token[16..24]), "{answer:?}: {shown}");
    }
}

#[tokio::test]
async fn a_document_in_the_place_of_the_list_is_not_quoted() {
    for document in ["{\"SecretAccessKey\":\"wJalrX\"}", "[default]\naws_secret_access_key = wJalrX", "Token: wJalrX y"]
    {
        let error = list_error(Answer::Raw(document.into())).await;
        assert!(is_transient(&error) && !format!("{error:?}").contains("wJalrX"), "{error:?}");
    }
}
