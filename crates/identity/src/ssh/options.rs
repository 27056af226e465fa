//! `kind: ssh`: keys and certificates of OpenSSH.

use std::{path::PathBuf, sync::Arc};

use super::{Settings, Ssh, Subjects};
use crate::{
    method::{Entry, Method, Opened, Opening},
    mtls::not_empty,
    settings::{
        Fields, NamedFiles, Setting, read,
        render::{list, quoted},
    },
};

/// Whose keys count, and where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    subjects: Subjects,
    file: PathBuf,
    hosts: Vec<String>,
}

/// How it is written.
pub static METHOD: Entry =
    Entry { word: "ssh", settings: &SETTINGS, read: |fields| Some(Arc::new(Options::read(fields)?)) };

const SETTINGS: [Setting; 3] = [
    Setting::nested("for", "", "`hosts`, which sign with their host keys, or `people`. Required."),
    Setting::nested(
        "file",
        "",
        "The file of keys and authorities: of the form of `known_hosts` for hosts, without hashed names and ports, and of \
         `allowed_signers` for people. `@revoked` works in both. Required.",
    ),
    Setting::nested(
        "hosts",
        "",
        "A list of the names under which clients know this server. They sign the name, so that another server cannot use \
         the signature. Required.",
    ),
];

const SUBJECTS: [(&str, Subjects); 2] = [("hosts", Subjects::Hosts), ("people", Subjects::People)];

impl Options {
    fn read(fields: &mut Fields) -> Option<Self> {
        let missing = "an ssh method needs `for`: hosts or people";
        let subjects = fields.required("for", missing, |node| read::choice(node, &SUBJECTS));
        let file = fields.required("file", "an ssh method needs a `file` with the keys and authorities", read::path);
        let missing = "an ssh method needs `hosts`: the names under which clients know this server";
        let hosts = fields.required("hosts", missing, |node| not_empty(node, "name of the server", read::host_name));
        Some(Self { subjects: subjects?, file: file?, hosts: hosts? })
    }
}

impl Method for Options {
    fn entry(&self) -> &'static Entry {
        &METHOD
    }

    fn render(&self) -> Vec<(&'static str, String)> {
        let word = SUBJECTS.iter().find(|(_, subjects)| *subjects == self.subjects).map_or("", |(word, _)| word);
        vec![
            ("for", word.to_owned()),
            ("file", quoted(&self.file.to_string_lossy())),
            ("hosts", list(self.hosts.iter().map(|host| quoted(host)))),
        ]
    }

    fn files(&self, files: &mut NamedFiles) {
        files.obeyed("file", Some(&self.file));
    }

    fn takes_all(&self) -> Option<&'static str> {
        Some(match self.subjects {
            Subjects::Hosts => "SSH signature of a host",
            Subjects::People => "SSH signature of a person",
        })
    }

    fn open(&self, name: &str, opening: &Opening) -> Result<Opened, String> {
        let settings = Settings {
            name: name.to_owned(),
            subjects: self.subjects,
            file: self.file.clone(),
            hosts: self.hosts.clone(),
        };
        let ssh = Arc::new(Ssh::load(settings, Arc::clone(&opening.clock))?);
        let again = Arc::clone(&ssh);
        let reload = move || again.reload().map_err(|error| error.to_string());
        Ok(Opened { reload: Some(Box::new(reload)), ..Opened::new(ssh) })
    }
}
