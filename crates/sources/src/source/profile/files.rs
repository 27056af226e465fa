//! The two files of the SDKs, read as botocore reads them and handed to the AWS SDK for Rust in the form that it takes: a
//! byte order mark, white space before settings, text behind a `]`, `key: value` and names with spaces are what other SDKs
//! accept. What cannot be read is reported with file, line and reason.

use std::{
    fmt::Write,
    io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// What the names of profiles may have in the AWS SDK for Rust.
const PLAIN: &str = "_-/.@:+";

/// What a profile gets credentials from.
const GIVE_CREDENTIALS: [&str; 6] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "aws_security_token",
    "credential_process",
    "login_session",
];

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `~/.aws/config`, where sections are called `profile x`.
    Config,
    /// `~/.aws/credentials`.
    Credentials,
}

/// A file, and whether it was named: then it has to be there.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) kind: Kind,
    pub(super) path: PathBuf,
    pub(super) named: bool,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) path: PathBuf,
    kind: Kind,
    sections: Vec<Section>,
}

#[derive(Debug)]
pub(super) struct Section {
    /// As it stands between the brackets.
    header: String,
    settings: Vec<Setting>,
}

#[derive(Debug)]
pub(super) struct Setting {
    pub(super) line: usize,
    /// A line that begins further to the right continues it.
    indent: usize,
    key: String,
    /// With the lines that continue it.
    pub(super) value: Zeroizing<String>,
}

/// Reads a file. One that is not there and was not named has nothing in it.
pub(super) async fn read(file: &File) -> Result<Read, String> {
    read_bytes(file, tokio::fs::read(&file.path).await)
}

/// The same, where nothing can wait.
pub(super) fn read_now(file: &File) -> Result<Read, String> {
    read_bytes(file, std::fs::read(&file.path))
}

fn read_bytes(file: &File, bytes: io::Result<Vec<u8>>) -> Result<Read, String> {
    let path = file.path.display();
    let bytes = match bytes {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !file.named => Zeroizing::default(),
        Err(error) => return Err(format!("{path} cannot be read: {error}")),
    };
    let text = str::from_utf8(&bytes).map_err(|error| {
        let line = bytes.iter().take(error.valid_up_to()).filter(|byte| **byte == b'\n').count() + 1;
        format!("{path}:{line}: this is not UTF-8")
    })?;
    let sections = parse(text).map_err(|(line, problem)| format!("{path}:{line}: {problem}"))?;
    Ok(Read { path: file.path.clone(), kind: file.kind, sections })
}

fn parse(text: &str) -> Result<Vec<Section>, (usize, &'static str)> {
    let mut sections: Vec<Section> = Vec::new();
    for (index, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let number = index + 1;
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let last = sections.last_mut().and_then(|section| section.settings.last_mut());
        if let Some(setting) = last.filter(|setting| indent > setting.indent) {
            setting.value.push('\n');
            setting.value.push_str(trimmed);
            continue;
        }
        if let Some(rest) = trimmed.strip_prefix('[') {
            let (header, _) = rest.split_once(']').ok_or((number, "the name of a section has no closing ]"))?;
            sections.push(Section { header: header.trim().to_owned(), settings: Vec::new() });
            continue;
        }
        let (key, value) =
            trimmed.split_once(['=', ':']).ok_or((number, "a setting needs a = between its name and value"))?;
        let section = sections.last_mut().ok_or((number, "a setting is before the first [section]"))?;
        let (key, value) = (key.trim().to_ascii_lowercase(), Zeroizing::new(value.trim().to_owned()));
        if key.is_empty() {
            return Err((number, "a setting has no name before the ="));
        }
        section.settings.push(Setting { line: number, indent, key, value });
    }
    Ok(sections)
}

impl Section {
    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        // As in all SDKs, the last one counts.
        self.settings.iter().rev().find(|setting| setting.key == key)
    }
}

impl Read {
    /// The profile that a section is about, with its name as it is meant.
    fn profile<'a>(&self, section: &'a Section) -> Option<&'a str> {
        let header = section.header.as_str();
        match (self.kind, header) {
            (Kind::Credentials, name) | (Kind::Config, name @ "default") => Some(name),
            (Kind::Config, _) => {
                header.strip_prefix("profile").filter(|rest| rest.starts_with([' ', '\t'])).map(unquoted)
            }
        }
    }

    pub(super) fn sections_of<'a>(&'a self, name: &'a str) -> impl DoubleEndedIterator<Item = &'a Section> {
        self.sections.iter().filter(move |section| self.profile(section) == Some(name))
    }

    /// A section that is about no profile, such as `services NAME`.
    pub(super) fn section(&self, kind: &str, name: &str) -> Option<&Section> {
        let is_it = |section: &&Section| {
            section
                .header
                .split_once(char::is_whitespace)
                .is_some_and(|(of, rest)| of == kind && unquoted(rest) == name)
        };
        self.sections.iter().rev().find(is_it)
    }

    /// The names of all profiles in it.
    pub(super) fn profiles(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().filter_map(|section| self.profile(section))
    }

    /// The file in the form that the SDK takes. `known`: the profile whose credentials are there already; what would get
    /// them again is left out.
    pub(super) fn render(&self, home: &Path, known: Option<&str>) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::new());
        for section in &self.sections {
            let is_known = known.is_some() && self.profile(section) == known;
            let header = match (self.profile(section), self.kind) {
                (Some(name), Kind::Config) => format!("profile {}", plain(name)),
                (Some(name), Kind::Credentials) => plain(name),
                (None, _) => match section.header.split_once(char::is_whitespace) {
                    Some((kind, name)) => format!("{kind} {}", plain(unquoted(name))),
                    None => section.header.clone(),
                },
            };
            // A String takes whatever is written.
            let _ = writeln!(text, "[{header}]");
            for Setting { key, value, .. } in &section.settings {
                let (key, value) = match key.as_str() {
                    key if is_known && GIVE_CREDENTIALS.contains(&key) => continue,
                    "source_profile" | "sso_session" | "services" => (key.as_str(), plain(unquoted(value))),
                    "web_identity_token_file" => {
                        (key.as_str(), at_home(Path::new(&**value), home).to_string_lossy().into_owned())
                    }
                    // Its name of old; botocore takes it first.
                    "aws_security_token" => ("aws_session_token", value.to_string()),
                    "aws_session_token" if section.get("aws_security_token").is_some() => continue,
                    key => (key, value.to_string()),
                };
                let value = Zeroizing::new(value);
                let _ = writeln!(text, "{key} = {}", value.replace('\n', "\n  "));
            }
        }
        text
    }
}

/// A name in the letters that the SDK takes: the same for the same name, and never that of another.
pub(super) fn plain(name: &str) -> String {
    let mut plain = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || PLAIN.as_bytes().contains(&byte) {
            plain.push(char::from(byte));
        } else {
            // A String takes whatever is written.
            let _ = write!(plain, "%{byte:02X}");
        }
    }
    plain
}

pub(super) fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

/// A path as a person writes it, with `~/` for the home directory.
pub fn at_home(path: &Path, home: &Path) -> PathBuf {
    path.strip_prefix("~").map_or_else(|_| path.to_owned(), |rest| home.join(rest))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn read(kind: Kind, text: &str) -> Result<Read, String> {
        let sections = parse(text).map_err(|(line, problem)| format!("f:{line}: {problem}"))?;
        Ok(Read { path: "f".into(), kind, sections })
    }

    fn rendered(kind: Kind, text: &str) -> String {
        read(kind, text).expect(text).render(Path::new("/home/me"), None).to_string()
    }

    #[test]
    fn what_other_sdks_accept_is_brought_into_the_form_that_ours_takes() {
        for (text, expected) in [
            ("\u{feff}[profile x]\na = b\n", "[profile x]\na = b\n"),
            ("[profile x] text\na=b\n", "[profile x]\na = b\n"),
            ("[default]# text\nA: b\n", "[profile default]\na = b\n"),
            ("[profile x]\n\ta = b\n\tc = d\n\t\te\n", "[profile x]\na = b\nc = d\n  e\n"),
            ("[profile\tx]\r\na\t=\tb=c\r\n", "[profile x]\na = b=c\n"),
            ("[profile x]\ns3 =\n  a = b\n  c = d\n", "[profile x]\ns3 = \n  a = b\n  c = d\n"),
            ("[profile \"my prof\"]\nsource_profile = prüf\n", "[profile my%20prof]\nsource_profile = pr%C3%BCf\n"),
            ("[profile my prof]\n", "[profile my%20prof]\n"),
            ("[sso-session a b]\n[preview]\n", "[sso-session a%20b]\n[preview]\n"),
            ("[profile x]\nweb_identity_token_file = ~/t\n", "[profile x]\nweb_identity_token_file = /home/me/t\n"),
            ("[profile x]\naws_session_token = old\naws_security_token = T\n", "[profile x]\naws_session_token = T\n"),
        ] {
            assert_eq!(rendered(Kind::Config, text), expected, "{text:?}");
        }
        assert_eq!(rendered(Kind::Credentials, "[my prof]\na = b\n"), "[my%20prof]\na = b\n");
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_line() {
        for (text, problem) in [
            ("[profile x\n", "f:1: the name of a section has no closing ]"),
            ("\n[profile x]\na b\n", "f:3: a setting needs a = between its name and value"),
            ("# c\na = b\n", "f:2: a setting is before the first [section]"),
            ("[x]\n= b\n", "f:2: a setting has no name before the ="),
        ] {
            assert_eq!(read(Kind::Config, text).expect_err(text), problem);
        }
    }

    #[test]
    fn names_stay_apart() {
        let names = ["a b", "a%20b", "a_b", "ä", "%C3%A4"];
        let plain: std::collections::HashSet<String> = names.iter().map(|name| plain(name)).collect();
        assert_eq!(plain.len(), names.len());
        assert!(plain.iter().all(|name| name.is_ascii() && !name.contains(' ')));
    }
}
