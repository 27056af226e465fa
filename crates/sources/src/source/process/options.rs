//! `kind: process`: an external `credential_process`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{Process, Program, Settings};
use crate::{
    needs::{Need, Needs},
    refresh::CallLimit,
    settings::{
        NamedFiles, Node, Problem, Setting, options, read,
        render::{mapping, quoted},
        words::split_words,
        yaml::Key,
    },
    source::{
        host_env::HostEnv,
        kind::{Kind, One, Opened, Opening, Provides, Written},
        long_term::{LIFETIME, SERVE_LONG_TERM, lifetime},
    },
};

options! {
    /// The program and how it is run.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(in crate::source) struct Options {
        /// The program and its arguments, which may hold passwords, though they should not: `/proc` shows them to every
        /// account.
        pub command: Vec<String> = Setting::nested(
            "command",
            "",
            "The program and its arguments: a list, or a text that is split like in a shell. Required.",
        ) => required("a process needs a `command`, such as [/usr/local/bin/login, --json]", command);
        /// From its start to its end.
        pub timeout: Duration = Setting::nested(
            "timeout",
            "30s",
            "Longest time for the program, which is then killed with its process group.",
        ) => value(read::limit);
        /// Variables beside `PATH` and `HOME`.
        pub environment: Vec<(String, String)> = Setting::nested(
            "environment",
            "",
            "A mapping of variables. The program gets these, `PATH` and `HOME`, and no other.",
        ) => or_empty(variables) as render_variables;
        /// How long a set without an end is taken to be good.
        pub lifetime: Duration = LIFETIME => value(lifetime);
        /// Whether clients get sets without a session token.
        pub serve_long_term: bool = SERVE_LONG_TERM => value(read::boolean);
        /// How many programs may run at once.
        pub concurrency: usize = Setting::nested("concurrency", "1", "How many may run at once.")
            => value(read::count);
    }
}

impl Written for Options {
    const WORD: &'static str = "process";
}

impl Options {
    fn program(&self, host_env: &HostEnv) -> Program {
        Program {
            command: self.command.clone(),
            launcher: host_env.launcher.clone(),
            timeout: self.timeout,
            environment: host_env.variables(host_env.home.as_deref(), &self.environment),
            facts: Vec::new(),
        }
    }
}

/// A program and its arguments, as a list or as a text that is split like in a shell.
pub fn command(node: &Node) -> Result<Vec<String>, Problem> {
    let wrong = |message: &str| Problem::new(node.place.clone(), message);
    let words = match read::proper_list(node, "a program is expected here", read::text) {
        Some(words) => words?,
        None => {
            split_words(&read::name_like(node, "\\S")?).ok_or_else(|| wrong("a quotation mark is not closed here"))?
        }
    };
    if words.first().is_none_or(String::is_empty) {
        return Err(wrong("a program is expected here"));
    }
    Ok(words)
}

/// Adds the program of a command, and the files among its arguments: an interpreter runs one of them.
pub fn program_files(command: &[String], host_env: &HostEnv, files: &mut NamedFiles) {
    let Some((program, arguments)) = command.split_first() else { return };
    let found = if program.contains('/') {
        Some(PathBuf::from(program))
    } else {
        let path = host_env.path.as_deref().unwrap_or_default();
        std::env::split_paths(path).map(|directory| directory.join(program)).find(|file| file.is_file())
    };
    files.obeyed("its program", found);
    for argument in arguments.iter().map(Path::new).filter(|path| path.is_absolute() && path.is_file()) {
        files.obeyed("a file that its program is given", Some(argument));
    }
}

pub(in crate::source) fn variables(node: &Node) -> Result<Vec<(String, String)>, Problem> {
    let entries = read::entries(node, "a mapping of variables to their values")?;
    let variable = |(key, node): &(Key, Node)| {
        let value = read::text_or_nothing(node)?;
        if key.text.is_empty() || key.text.contains(['=', '\0']) {
            return Err(Problem::new(key.place.clone(), "this is not the name of a variable"));
        }
        Ok((key.text.clone(), value))
    };
    entries.iter().map(variable).collect()
}

/// `environment`, if there is any.
pub(in crate::source) fn render_variables(variables: &[(String, String)]) -> Option<String> {
    let all = variables.iter().map(|(name, value)| (quoted(name), quoted(value))).collect();
    (!variables.is_empty()).then(|| mapping(all))
}

impl Kind for Options {
    fn provides(&self) -> Provides {
        Provides::One
    }

    /// Arguments are not shown.
    fn summary(&self) -> String {
        self.command.first().cloned().unwrap_or_default()
    }

    fn call_limit(&self) -> CallLimit {
        CallLimit { concurrency: self.concurrency, rate: None }
    }

    fn serves_long_term(&self) -> bool {
        self.serve_long_term
    }

    fn files(&self, host_env: &HostEnv, files: &mut NamedFiles) {
        program_files(&self.command, host_env, files);
    }

    fn needs(&self, host_env: &HostEnv, needs: &mut Needs) {
        needs.add(Need::Program(self.program(host_env).id()), &self.command[0]);
    }

    fn programs(&self, host_env: &HostEnv) -> Vec<Program> {
        vec![self.program(host_env)]
    }

    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String> {
        let host_env = opening.host_env;
        let settings = Settings { program: self.program(host_env), assumed_lifetime: self.lifetime };
        let process = Process::new(settings, host_env.clock.clone()).map_err(|error| error.to_string())?;
        Ok(Arc::new(One(Arc::new(process))))
    }
}
