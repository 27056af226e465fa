//! The settings `sandbox` and `sandbox_allow`, which both programs have.

use std::path::{Component, Path, PathBuf};

use super::Mode;
use crate::{
    needs::{Need, Needs},
    settings::{
        Fields, Node, Problem, Setting,
        read::{self, Read},
        render::{list, mapping, quoted},
    },
};

/// What is said of the confinement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Whether there is one (`sandbox`).
    pub mode: Mode,
    /// What it allows beside what the rest of the configuration needs (`sandbox_allow`).
    pub allow: Allow,
}

/// What is allowed in addition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allow {
    read: Vec<PathBuf>,
    write: Vec<PathBuf>,
    connect: Vec<u16>,
}

/// The settings of `sandbox_allow`.
pub const ALLOW: &[Setting] = &[
    Setting::nested("read", "[]", "Files and directories that are read, with all that is below: absolute paths.")
        .on_restart(),
    Setting::nested("write", "[]", "The same, in which files are also made, written and removed.").on_restart(),
    Setting::nested("connect", "[]", "Ports to which TCP connections are opened.").on_restart(),
];

const MODES: [(&str, Mode); 3] = [("enforce", Mode::Enforce), ("report", Mode::Report), ("off", Mode::Off)];

impl Options {
    /// Reads both keys. `None` says that something is wrong, which is noted in `fields`.
    pub fn read(fields: &mut Fields) -> Option<Self> {
        let mode = fields.value("sandbox", |node| read::choice(node, &MODES));
        let allow = fields.section("sandbox_allow", ALLOW, |fields| {
            let read = fields.value("read", |node| read::list(node, place));
            let write = fields.value("write", |node| read::list(node, place));
            let connect = fields.value("connect", |node| read::list(node, read::port));
            Some(Allow { read: read?, write: write?, connect: connect? })
        });
        let (mode, place) = (mode?, fields.place("sandbox_allow"));
        if let Some(place) = place.filter(|_| mode != Mode::Enforce) {
            let message = format!("`sandbox_allow` has no effect with `sandbox: {}`", mode.word());
            fields.warnings.push(Problem::new(place, message));
        }
        Some(Self { mode, allow: allow?.unwrap_or_default() })
    }

    /// The value of one of the keys as YAML.
    pub fn render(&self, key: &str) -> Option<String> {
        match key {
            "sandbox" => Some(self.mode.word().to_owned()),
            "sandbox_allow" if self.allow != Allow::default() => Some(self.allow.render()),
            _ => None,
        }
    }
}

impl Allow {
    /// Adds what it allows.
    pub fn needs(&self, needs: &mut Needs) {
        let mut needs = needs.of("sandbox_allow");
        for path in &self.read {
            needs.add(Need::ReadPresent(path.clone()), "read");
        }
        for path in &self.write {
            needs.add(Need::WritePresent(path.clone()), "write");
        }
        for port in &self.connect {
            needs.add(Need::Connect(*port), "connect");
        }
    }

    fn render(&self) -> String {
        let paths = |paths: &[PathBuf]| list(paths.iter().map(|path| quoted(&path.to_string_lossy())));
        mapping(vec![
            ("read".to_owned(), paths(&self.read)),
            ("write".to_owned(), paths(&self.write)),
            ("connect".to_owned(), list(self.connect.iter().map(u16::to_string))),
        ])
    }
}

/// A path of which it is clear what it allows.
fn place(node: &Node) -> Read<PathBuf> {
    let text = read::text_like(node, "^/")?;
    let path = Path::new(&text);
    let wrong = |message: String| Err(Problem::new(node.place.clone(), message));
    if path == Path::new("/") {
        return wrong("this would allow all files; `sandbox: off` says so plainly".to_owned());
    }
    if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        return read::wrong(node, "an absolute path without `..`, such as /opt/vendor/share,");
    }
    if text.contains(['*', '?']) && !path.exists() {
        return wrong(format!("{text:?} is not there, and patterns are not expanded: name the directory"));
    }
    Ok(path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Topic, Value, load};

    static SETTINGS: &[Setting] = &[
        Setting::new(Topic::Process, "sandbox", "enforce", ""),
        Setting::new(Topic::Process, "sandbox_allow", "", ""),
    ];

    fn parsed(text: &str) -> (Option<Options>, Vec<String>) {
        let tree = load::tree(vec![("a.yaml".into(), text.to_owned())]).expect("YAML").map(|node| node.value);
        let Some(Value::Map(entries)) = tree else { panic!("no mapping: {text}") };
        let mut fields = Fields::new(entries, SETTINGS);
        fields.refuse_unknown();
        let options = Options::read(&mut fields);
        (options, fields.problems.iter().chain(&fields.warnings).map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_allowed_is_needed_and_written_back_as_it_was_read() {
        let (options, said) = parsed("sandbox_allow: {read: /opt/vendor, write: [/srv/v], connect: [636, 389]}");
        let options = options.expect("legal");
        assert_eq!(said, [""; 0]);
        let mut needs = Needs::default();
        options.allow.needs(&mut needs);
        let needs: Vec<_> = needs.iter().map(|needed| format!("{:?} {}", needed.need, needed.reason)).collect();
        assert_eq!(
            needs,
            [
                "ReadPresent(\"/opt/vendor\") sandbox_allow: read",
                "WritePresent(\"/srv/v\") sandbox_allow: write",
                "Connect(636) sandbox_allow: connect",
                "Connect(389) sandbox_allow: connect",
            ]
        );
        let again = format!("sandbox_allow: {}", options.render("sandbox_allow").expect("given"));
        assert_eq!(parsed(&again).0, Some(options));
        assert_eq!(parsed("sandbox: report").0.and_then(|options| options.render("sandbox_allow")), None);
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for (text, expected) in [
            ("sandbox_allow: {read: [/opt, vendor]}", "a.yaml:1:30: an absolute path"),
            ("sandbox_allow: {read: /opt/../etc}", "a.yaml:1:23: an absolute path"),
            ("sandbox_allow: {write: /}", "a.yaml:1:24: this would allow all files"),
            ("sandbox_allow: {read: /no-such/*.so}", "a.yaml:1:23: \"/no-such/*.so\" is not there, and patterns"),
            ("sandbox_allow: {connect: 0}", "a.yaml:1:26: a port number"),
            ("sandbox_allow: {connect: any}", "a.yaml:1:26: a port number"),
            ("sandbox_allow: {reads: /opt}", "a.yaml:1:17: there is no setting \"reads\"; did you mean `read`?"),
            ("sandbox_allow: /opt", "a.yaml:1:16: a mapping is expected here"),
            (
                "sandbox: off\nsandbox_allow: {read: /opt}",
                "a.yaml:2:1: `sandbox_allow` has no effect with `sandbox: off`",
            ),
        ] {
            let said = parsed(text).1;
            assert!(said.len() == 1 && said[0].starts_with(expected), "{text}: {said:?}");
        }
    }
}
