//! Secrets, right and wrong.

use std::{fs, time::Duration};

use http::{HeaderMap, HeaderValue, Method, header::AUTHORIZATION};
use tempfile::TempDir;

use super::*;
use crate::{
    Peer,
    people::{Directory, Person, WithDirectory},
};

const END: &str = "2026-11-23T10:00:00Z";

struct Site {
    folder: TempDir,
    tokens: Tokens,
}

impl Site {
    fn new(lines: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("tokens"), lines.join("\n")).expect("a file");
        let tokens = Tokens::load("join", folder.path().join("tokens"), Arc::default()).expect("tokens");
        Self { folder, tokens }
    }

    /// The method opened anew, under another name.
    fn reopened(self) -> Self {
        let Self { folder, tokens } = self;
        let tokens = Tokens::load("other", tokens.file, tokens.used).expect("tokens");
        Self { folder, tokens }
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("tokens"), text).expect("a file");
    }

    /// The name, or why not. What is for one request is used by it.
    fn prove(&self, secret: &str, now: SystemTime) -> String {
        match self.show(&[&format!("Alppaca-Token {secret}")], now) {
            Ok(Some(identity)) => {
                if let Some(hold) = &identity.hold {
                    hold.spend();
                }
                identity.name
            }
            Ok(None) => "nothing".to_owned(),
            Err(refusal) => refusal.to_string(),
        }
    }

    fn show(&self, headers: &[&str], now: SystemTime) -> Result<Option<Identity>, Refusal> {
        show(&self.tokens, headers, now)
    }
}

fn show(method: &dyn Prove, headers: &[&str], now: SystemTime) -> Result<Option<Identity>, Refusal> {
    let mut map = HeaderMap::new();
    for value in headers {
        map.append(AUTHORIZATION, HeaderValue::from_str(value).expect("a value"));
    }
    let peer = Peer::Tcp([192, 0, 2, 1].into());
    method.prove(&Evidence { peer: &peer, certificates: &[], method: &Method::GET, path: "/", headers: &map, now })
}

/// A directory that does not answer.
struct Down;

impl Directory for Down {
    fn person(&self, _: &str) -> Result<Person, String> {
        Err("it is down".to_owned())
    }

    fn want_keys(&self) {}

    fn key_owners(&self, _: &[u8]) -> Result<Vec<String>, String> {
        Err("it is down".to_owned())
    }
}

fn end() -> SystemTime {
    let end: jiff::Timestamp = END.parse().expect("a time");
    SystemTime::UNIX_EPOCH + end.as_duration().unsigned_abs()
}

#[test]
fn a_secret_is_that_of_its_host() {
    let (first, line) = issue("web1.example.com", None, false).expect("a token");
    let (second, other) = issue("web2.example.com", None, false).expect("a token");
    assert_ne!(first, second);
    assert!(line.starts_with("web1.example.com ") && !line.contains(first.expose()), "{line}");
    let site = Site::new(&[line, other]);
    for _ in 0..2 {
        assert_eq!(site.prove(first.expose(), end()), "web1.example.com");
        assert_eq!(site.prove(second.expose(), end()), "web2.example.com");
    }
    let identity = site.show(&[&format!("alppaca-token {}", first.expose())], end()).expect("a proof").expect("one");
    assert_eq!((identity.method, &*identity.proven_by), ("token", "join"));
    assert!(identity.proof.starts_with("sha256 ") && !identity.proof.contains(first.expose()));
}

#[test]
fn other_secrets_are_not_known() {
    let (secret, line) = issue("web1", None, false).expect("a token");
    let hash = line.split(' ').nth(1).expect("a hash").to_owned();
    let site = Site::new(&[line]);
    let long = "a".repeat(10_000);
    let upper = secret.expose().to_uppercase();
    for other in [&*hash, &upper, &secret.expose()[1..], &format!("{} x", secret.expose()), &long, "x"] {
        assert_eq!(site.prove(other, end()), "the token is not known", "{other}");
    }
    for headers in [&[][..], &["Bearer x"], &["Alppaca-Token"]] {
        assert_eq!(site.show(headers, end()), Ok(None), "{headers:?}");
    }
    let right = format!("Alppaca-Token {}", secret.expose());
    let twice = site.show(&[&right, &right], end()).expect_err("two headers").to_string();
    assert!(twice.contains("more than once"), "{twice}");
}

#[test]
fn a_token_has_an_end() {
    let (secret, line) = issue("web1", END.parse().ok(), false).expect("a token");
    let site = Site::new(&[line]);
    let before = end() - Duration::from_secs(1);
    assert_eq!(site.prove(secret.expose(), before), "web1");
    assert_eq!(site.prove(secret.expose(), before), "web1");
    assert_eq!(site.prove(secret.expose(), end()), "the token of web1 has ended: make a new one");
}

#[test]
fn a_token_for_one_request_is_taken_once() {
    let (secret, line) = issue("web1", END.parse().ok(), true).expect("a token");
    let site = Site::new(std::slice::from_ref(&line));
    let at = |seconds| end() - Duration::from_secs(seconds);
    assert_eq!(site.prove(secret.expose(), at(60)), "web1");
    site.tokens.reload().expect("the same");
    assert_eq!(site.prove(secret.expose(), at(1)), "the token was for one request, and has been used");
    assert!(site.prove(secret.expose(), at(0)).contains("has ended"));
    // It need not be remembered after its end.
    let (other, more) = issue("web2", "2026-11-24T10:00:00Z".parse().ok(), true).expect("a token");
    site.write(&format!("{line}\n{more}\n"));
    site.tokens.reload().expect("two");
    assert_eq!(site.prove(other.expose(), at(0)), "web2");
    assert_eq!(site.tokens.used.count(), 1);
    assert_eq!(issue("web1", None, true), Err(IssueError::Endless));
    assert_eq!(issue("a b", None, false), Err(IssueError::Name("a b".to_owned())));
}

#[test]
fn a_token_for_one_request_is_good_again_when_the_request_came_to_nothing() {
    let (secret, line) = issue("web1", END.parse().ok(), true).expect("a token");
    let site = Site::new(&[line]);
    let header = format!("Alppaca-Token {}", secret.expose());
    let before = end() - Duration::from_secs(1);
    let first = site.show(&[&header], before).expect("a proof").expect("one");
    // No other request has it meanwhile, not even through a clone, or a method that is opened anew.
    let held = Refusal::Unavailable("the token is for one request, and another one has it".to_owned());
    assert_eq!(site.show(&[&header], before), Err(held.clone()));
    let site = site.reopened();
    let clone = first.clone();
    drop(first);
    assert_eq!(site.show(&[&header], before), Err(held));
    drop(clone);
    // Nor is it used by those that end before the server decides.
    let Site { folder, tokens } = site;
    let again = Tokens::load("join", tokens.file.clone(), Arc::clone(&tokens.used)).expect("tokens");
    let method = WithDirectory(Arc::new(again), Arc::new(Down));
    for _ in 0..2 {
        assert_eq!(show(&method, &[&header], before), Err(Refusal::Unavailable("it is down".to_owned())));
    }
    let site = Site { folder, tokens };
    assert_eq!(site.prove(secret.expose(), before), "web1");
    assert_eq!(site.prove(secret.expose(), before), "the token was for one request, and has been used");
}

#[test]
fn a_token_for_one_request_that_is_held_is_not_forgotten_at_its_end() {
    let (secret, line) = issue("web1", END.parse().ok(), true).expect("a token");
    let (other, more) = issue("web2", "2026-11-24T10:00:00Z".parse().ok(), true).expect("a token");
    let site = Site::new(&[line, more]);
    let header = format!("Alppaca-Token {}", secret.expose());
    let before = end() - Duration::from_secs(1);
    let first = site.show(&[&header], before).expect("a proof").expect("one");
    assert_eq!(site.prove(other.expose(), end()), "web2");
    // The clock is set back.
    let held = site.prove(secret.expose(), before);
    assert!(held.contains("another one has it"), "{held}");
    first.hold.as_ref().expect("a hold").spend();
    drop(first);
    assert!(site.prove(secret.expose(), before).contains("has been used"));
}

#[test]
fn a_token_that_was_used_stays_used_when_its_method_is_opened_anew() {
    let (secret, line) = issue("web1", END.parse().ok(), true).expect("a token");
    let site = Site::new(&[line]);
    let before = end() - Duration::from_secs(1);
    assert_eq!(site.prove(secret.expose(), before), "web1");
    let site = site.reopened();
    assert_eq!(site.prove(secret.expose(), before), "the token was for one request, and has been used");
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let (secret, line) = issue("web1", None, false).expect("a token");
    let site = Site::new(&[line]);
    site.write("web1\n");
    let error = site.tokens.reload().expect_err("wrong").to_string();
    assert!(error.ends_with("tokens:1: NAME and the SHA-256 of its secret are expected"), "{error}");
    assert_eq!(site.prove(secret.expose(), end()), "web1");
    site.write("");
    site.tokens.reload().expect("nobody");
    assert_eq!(site.prove(secret.expose(), end()), "the token is not known");
    let Err(error) = Tokens::load("x", "/nowhere/tokens".into(), Arc::default()) else { panic!("loaded") };
    assert!(error.to_string().starts_with("/nowhere/tokens: "), "{error}");
}
