//! `kind: token`: secrets of hosts.

use std::{path::PathBuf, sync::Arc};

use super::Tokens;
use crate::{
    method::{Entry, Method, Opened, Opening},
    settings::{Fields, NamedFiles, Setting, read, render::quoted},
};

/// Where the hashes are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Options {
    file: PathBuf,
}

/// How it is written.
pub static METHOD: Entry =
    Entry { word: "token", settings: &SETTINGS, read: |fields| Some(Arc::new(Options::read(fields)?)) };

const SETTINGS: [Setting; 1] = [Setting::nested(
    "file",
    "",
    "A file with a line for each secret: `NAME SHA256-HEX [until TIME] [once]`. `once`: for one request, which each \
     server counts for itself until it is restarted. Required.",
)];

impl Options {
    fn read(fields: &mut Fields) -> Option<Self> {
        let missing = "a token method needs a `file` with the hashes of the secrets";
        Some(Self { file: fields.required("file", missing, read::path)? })
    }
}

impl Method for Options {
    fn entry(&self) -> &'static Entry {
        &METHOD
    }

    fn render(&self) -> Vec<(&'static str, String)> {
        vec![("file", quoted(&self.file.to_string_lossy()))]
    }

    fn files(&self, files: &mut NamedFiles) {
        files.obeyed("file", Some(&self.file));
    }

    fn takes_all(&self) -> Option<&'static str> {
        Some("secret (Alppaca-Token)")
    }

    fn open(&self, name: &str, opening: &Opening) -> Result<Opened, String> {
        let tokens = Tokens::load(name, self.file.clone(), Arc::clone(&opening.used));
        let tokens = Arc::new(tokens.map_err(|error| error.to_string())?);
        let again = Arc::clone(&tokens);
        let reload = move || again.reload().map_err(|error| error.to_string());
        Ok(Opened { reload: Some(Box::new(reload)), ..Opened::new(tokens) })
    }
}
