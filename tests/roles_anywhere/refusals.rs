//! What the service may refuse, and how it is told.

use std::sync::Arc;

use crate::{
    Off, fetch, files,
    pki::{Leaf, P256, Pki},
    role, role_at,
    server::{Reply, Server},
};
use alppaca::{
    refresh::{ErrorKind, SourceError},
    source::roles_anywhere::Identity,
};

fn identity(pki: &Pki) -> Arc<Identity> {
    pki.issue(&Leaf::new("web", P256));
    let mut settings = files(&pki.path("web.pem"), &pki.path("web.key"));
    settings.chain = Some(pki.path("intermediate.pem"));
    Identity::new(settings)
}

#[test]
fn refusals_and_throttling_are_told_apart() {
    let Some(pki) = Pki::new() else { return };
    let server = Server::start(&pki.path("root.pem"));
    let role = role(&server, &identity(&pki));
    let answered = |reply: Reply| -> SourceError {
        server.reply_with(reply);
        fetch(&role).expect_err("no credentials")
    };
    let error = answered(Reply::error("403 Forbidden", "AccessDeniedException", "Unable to assume role"));
    let refused = |code: &str| ErrorKind::Refused {
        code: code.to_owned(),
        message: error.message.rsplit("403 Forbidden: ").next().expect("a reason").to_owned(),
        withdraws: false,
    };
    assert_eq!(error.kind, refused("AssumeRoleUnauthorizedAccess"));
    assert!(
        error.message.ends_with("/sessions: the answer is 403 Forbidden: AccessDeniedException: Unable to assume role")
    );
    let error = answered(Reply::error("404 Not Found", "ResourceNotFoundException", "no such profile"));
    assert!(matches!(error.kind, ErrorKind::Refused { code, .. } if code == "ResourceNotFoundException"));
    let error = answered(Reply::error("400 Bad Request", "ValidationException", "durationSeconds"));
    assert!(matches!(error.kind, ErrorKind::Refused { code, .. } if code == "ValidationException"));
    for (status, code) in [
        ("400 Bad Request", "ThrottlingException"),
        ("429 Too Many Requests", "TooManyRequestsException"),
        ("500 Internal Server Error", "InternalServerException"),
    ] {
        assert_eq!(answered(Reply::error(status, code, "later")).kind, ErrorKind::Transient, "{code}");
    }
    let page = Reply { status: "403 Forbidden", headers: String::new(), body: "<h1>no</h1>".to_owned() };
    let error = answered(page);
    assert_eq!(error.kind, ErrorKind::Transient);
    assert!(error.message.ends_with("the answer is 403 Forbidden (\"<h1>no</h1>\")"), "{error}");
    let nothing = Reply { status: "201 Created", headers: String::new(), body: "{\"credentialSet\":[]}".to_owned() };
    assert!(answered(nothing).message.ends_with("the document has no credentialSet"));
    // And it goes on as soon as the service does.
    server.reply_with(Reply::credentials("ASIASECOND"));
    assert_eq!(fetch(&role).expect("credentials").access_key_id, "ASIASECOND");
}

#[test]
fn a_wrong_clock_is_named_by_its_error() {
    let Some(pki) = Pki::new() else { return };
    let server = Server::start(&pki.path("root.pem"));
    let identity = identity(&pki);
    let error = fetch(&role_at(&server, &identity, Arc::new(Off(-20)))).expect_err("not valid yet");
    assert!(
        error.message.contains("is only valid from") && error.message.contains("is this host's clock right?"),
        "{error}"
    );
    assert!(server.seen().is_empty(), "it is of no use to ask");
    // A fast clock gets as far as the service.
    let error = fetch(&role_at(&server, &identity, Arc::new(Off(20)))).expect_err("refused");
    assert!(error.message.contains("AccessDeniedException: Signature expired"), "{error}");
    assert!(error.message.contains("s ahead of the service's, which makes signatures invalid"), "{error}");
}

#[test]
fn an_expired_certificate_is_told_and_nothing_is_sent() {
    let Some(pki) = Pki::new() else { return };
    let server = Server::start(&pki.path("root.pem"));
    let identity = identity(&pki);
    let error = fetch(&role_at(&server, &identity, Arc::new(Off(8 * 24 * 60)))).expect_err("expired");
    assert_eq!(error.kind, ErrorKind::Transient);
    assert!(error.message.contains("web.pem (CN=web,O=Test) expired at 20"), "{error}");
    assert!(server.seen().is_empty());
}
