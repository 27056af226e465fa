//! `kind: ssh`: keys and certificates of OpenSSH.

use std::{path::PathBuf, sync::Arc};

use super::{Settings, Ssh, Subjects};
use crate::{
    method::{Entry, Method, Opened, Opening},
    mtls::not_empty,
    settings::{
        Fields, NamedFiles, Problem, Setting, read,
        render::{list, quoted},
    },
};

/// Whose keys count, and where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    subjects: Subjects,
    file: Option<PathBuf>,
    directory: Option<String>,
    hosts: Vec<String>,
}

/// How it is written.
pub static METHOD: Entry =
    Entry { word: "ssh", settings: &SETTINGS, read: |fields| Some(Arc::new(Options::read(fields)?)) };

const SETTINGS: [Setting; 4] = [
    Setting::nested("for", "", "`hosts`, which sign with their host keys, or `people`. Required."),
    Setting::nested(
        "file",
        "",
        "The file of keys and authorities: of the form of `known_hosts` for hosts, without hashed names and ports, and of \
         `allowed_signers` for people. `@revoked` works in both. This or `directory` is required.",
    ),
    Setting::nested(
        "directory",
        "",
        "The name of one of `directories`, which has the keys of people. A `file` may add keys, authorities and what is \
         revoked.",
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
        let file = fields.optional("file", read::path);
        let directory = fields.optional("directory", read::text);
        match (&file, &directory, subjects) {
            (Some(None), Some(None), _) => fields.problems.push(Problem::nowhere(
                "an ssh method needs a `file` with the keys and authorities, or for people a `directory` with their keys",
            )),
            (_, Some(Some(_)), Some(Subjects::Hosts)) => {
                let message = "a `directory` has the keys of people: hosts need a `file`";
                fields.problems.push(Problem::nowhere(message));
            }
            _ => {}
        }
        let missing = "an ssh method needs `hosts`: the names under which clients know this server";
        let hosts = fields.required("hosts", missing, |node| not_empty(node, "name of the server", read::host_name));
        Some(Self { subjects: subjects?, file: file?, directory: directory?, hosts: hosts? })
    }
}

impl Method for Options {
    fn entry(&self) -> &'static Entry {
        &METHOD
    }

    fn render(&self) -> Vec<(&'static str, String)> {
        let word = SUBJECTS.iter().find(|(_, subjects)| *subjects == self.subjects).map_or("", |(word, _)| word);
        let mut all = vec![("for", word.to_owned())];
        all.extend(self.file.as_ref().map(|file| ("file", quoted(&file.to_string_lossy()))));
        all.extend(self.directory.as_ref().map(|directory| ("directory", quoted(directory))));
        all.push(("hosts", list(self.hosts.iter().map(|host| quoted(host)))));
        all
    }

    fn files(&self, files: &mut NamedFiles) {
        files.obeyed("file", &self.file);
    }

    fn directory(&self) -> Option<&str> {
        self.directory.as_deref()
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
        let directory = self.directory.as_ref().map(|name| opening.directory(name)).transpose()?;
        let ssh = Arc::new(Ssh::load(settings, directory, Arc::clone(&opening.clock))?);
        let again = Arc::clone(&ssh);
        let reload = move || again.reload().map_err(|error| error.to_string());
        Ok(Opened { reload: Some(Box::new(reload)), ..Opened::new(ssh) })
    }
}
