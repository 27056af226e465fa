//! Options that are declared, read and rendered.

use std::{path::PathBuf, sync::Arc, time::Duration};

use alppaca_core::credentials::Secret;
use serde_json::json;

use super::*;
use crate::{Problem, TakesEffect, problem, read, render::quoted, schema::schema, yaml};

const SHARED: Setting = Setting::nested("retries", "3", "How often.");

options! {
    /// A login.
    #[derive(Debug, PartialEq, Eq)]
    struct Login {
        /// The password.
        password: Secret = Setting::nested("password", "", "The password.")
            => required("a login needs a `password`", |node| read::text(node).map(Secret::new));
        /// The file.
        file: Option<PathBuf> = Setting::nested("file", "", "A file.") => optional(read::path);
    }
}

options! {
    /// A server.
    #[derive(Debug, PartialEq, Eq)]
    struct Server {
        /// Where.
        port: u16 = Setting::nested("port", "80", "The port.").on_restart() => value(read::port);
        /// How it is entered.
        login: Login;
        /// How often.
        retries: usize = SHARED => value(read::count);
        /// How long, which is also called otherwise.
        wait: Duration = Setting::nested("time-out", "5s", "How long.") => value(read::limit) as shouted;
    }
    before Server::before;
    after Server::after;
}

impl Server {
    fn before(fields: &mut Fields) {
        fields.exclude("file", &["port"]);
    }

    fn after(self, fields: &mut Fields) -> Option<Self> {
        let wrong = || Problem::nowhere("too often");
        fields.note(if self.retries < 9 { Ok(self) } else { Err(wrong()) })
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a key may be left out")]
fn shouted(wait: &Duration) -> Option<String> {
    Some(quoted(&format!("{}S", wait.as_secs())))
}

fn read(text: &str) -> (Option<Server>, Vec<String>) {
    let file = problem::Source { name: "a.yaml".into(), text: text.to_owned() };
    let node = yaml::read(&Arc::new(file)).expect("legal").expect("not empty");
    let mut fields = Fields::new(Vec::new(), &[]);
    let server = fields.nested(node, Server::SETTINGS, Server::read);
    (server, fields.problems.iter().map(|problem| problem.to_string().lines().next().unwrap().to_owned()).collect())
}

#[test]
fn the_table_has_a_row_for_each_key_in_order() {
    let rows: Vec<_> = Server::SETTINGS.iter().map(|row| (row.key, row.default)).collect();
    assert_eq!(rows, [("port", "80"), ("password", ""), ("file", ""), ("retries", "3"), ("time-out", "5s")]);
    let on_restart: Vec<_> = Server::SETTINGS.iter().map(Setting::needs_restart).collect();
    assert_eq!(on_restart, [true, false, false, false, false]);
    assert_eq!(Server::SETTINGS[4].takes_effect, TakesEffect::OnReload);
}

#[test]
fn defaults_are_read_and_what_is_not_given_is_not_written() {
    let (server, problems) = read("password: open sesame");
    assert_eq!(problems, [""; 0]);
    let server = server.expect("a server");
    assert_eq!((server.port, server.retries, server.wait), (80, 3, Duration::from_secs(5)));
    let written = [("port", "80"), ("password", "\"***\""), ("retries", "3"), ("time-out", "\"5S\"")];
    assert_eq!(server.render(), written.map(|(key, value)| (key, value.to_owned())));
}

#[test]
fn all_that_is_wrong_is_collected() {
    let (server, problems) = read("{port: 0, file: x, retries: none, wait: 5s}");
    assert_eq!(server, None);
    for part in ["no setting \"wait\"", "`file` replaces `port`", "a port number", "needs a `password`", "at least 1"] {
        assert!(problems.iter().any(|problem| problem.contains(part)), "{part}: {problems:?}");
    }
    assert_eq!(problems.len(), 5);
}

#[test]
fn what_was_read_is_checked_afterwards() {
    let (server, problems) = read("{password: x, retries: 9}");
    assert_eq!((server, problems), (None, vec!["too often".to_owned()]));
}

#[test]
fn the_schema_says_what_the_readers_read() {
    let read = |node| {
        let mut fields = Fields::of_document(Some(node), Server::SETTINGS);
        drop(Server::read(&mut fields));
    };
    let schema = schema("A server", read).expect("all keys are read");
    let property = |key: &str| &schema["properties"][key];
    assert_eq!(property("port")["anyOf"][0], json!({"type": "integer", "minimum": 1, "maximum": 65535}));
    assert_eq!((&property("port")["default"], &property("time-out")["default"]), (&json!(80), &json!("5s")));
    assert_eq!(property("port")["description"], "The port. Takes effect on restart.");
    assert_eq!((&schema["required"], &schema["additionalProperties"]), (&json!(["password"]), &json!(false)));
    // Nothing is no password, but is as good as no file.
    assert_eq!(property("password")["type"], json!(["string", "number", "boolean"]));
    assert_eq!(property("file")["anyOf"][1], json!({"type": "null"}));
    assert_eq!(schema["allOf"][0]["errorMessage"], "`file` replaces `port`; remove one");
}

#[test]
fn the_schema_says_which_lists_may_be_empty_and_where_nothing_may_stand() {
    const TABLE: &[Setting] =
        &[Setting::nested("any", "", ""), Setting::nested("some", "", ""), Setting::nested("servers", "", "")];
    let read = |node| {
        let mut fields = Fields::of_document(Some(node), TABLE);
        drop(fields.optional("any", |node| read::list(node, read::port)));
        drop(fields.optional("some", |node| read::filled_list(node, "no port", read::port)));
        drop(fields.named("servers", Server::SETTINGS, |_, fields| Server::read(fields)));
    };
    let schema = schema("A document", read).expect("all keys are read");
    let form = |key: &str, kind: &str| {
        let forms = schema["properties"][key]["anyOf"].as_array().expect("several");
        forms.iter().find(|form| form["type"] == kind).expect("that form").clone()
    };
    assert_eq!(form("any", "array").get("minItems"), None);
    assert_eq!(form("some", "array")["minItems"], 1);
    // A server needs a password.
    assert_eq!(form("servers", "object")["additionalProperties"]["type"], "object");
}

#[test]
fn a_key_that_nothing_reads_is_named() {
    const TABLE: &[Setting] = &[Setting::nested("read", "", ""), Setting::nested("lost", "", "")];
    let read = |node| drop(Fields::of_document(Some(node), TABLE).optional("read", read::text));
    assert_eq!(schema("A document", read), Err(vec![".lost".to_owned()]));
}
