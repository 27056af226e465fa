//! `files`: the roles that are written into files.

use std::{
    path::{Component, Path, PathBuf},
    time::Duration,
};

use serde_json::json;

use super::{named_roles::unknown_role, upstreams::Upstreams};
use crate::{
    credentials::RoleName,
    files::{Access, File, Format, Profile, legal_mode},
    source::process::command,
};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::{Place, Problem},
    read::{self, Read, render_duration},
    render::{list, mapping, quoted},
    yaml::Node,
};

/// The settings of a file.
pub const FILE: &[Setting] = &[
    Setting::nested(
        "path",
        "",
        "Where it is: an absolute path, or a name without a slash, which is a file in `files` in `run_dir`. Required.",
    ),
    Setting::nested("role", "", "The role. Required, unless there are `profiles`."),
    Setting::nested("profile", "default", "The name of its profile (`format: credentials`)."),
    Setting::nested(
        "profiles",
        "",
        "Instead of `role`: a mapping of names of profiles to roles, which are written into the same file (`format: \
         credentials`).",
    ),
    Setting::nested(
        "format",
        "credentials",
        "`credentials`: a shared credentials file of the AWS SDKs; `env`: variables, for a shell or systemd; `process`: \
         the JSON of a `credential_process`.",
    ),
    Setting::nested(
        "mode",
        "0600",
        "Its mode. The daemon's account owns it, and others may at most read it: `0640` is for the group of the file, \
         `0644` for every account of the host.",
    ),
    Setting::nested("users", "[]", "Users who may read it, by name or number, by an access control list."),
    Setting::nested("groups", "[]", "Groups whose members may read it, in the same way."),
    Setting::nested(
        "on_change",
        "",
        "A program and its arguments, run after each change: a list, or a text that is split like in a shell. It gets \
         `ALPPACA_FILE`, the path, and no secret.",
    ),
    Setting::nested(
        "on_change_timeout",
        "30s",
        "Longest time for that program, which is then killed with its process group.",
    ),
];

const FORMATS: [(&str, Format); 3] =
    [("credentials", Format::Credentials), ("env", Format::Env), ("process", Format::Process)];

/// More than anybody needs; each has a task of its own.
const MOST: usize = 64;

/// One file, as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredFile {
    /// The file.
    pub file: File,
    /// The program that is run after a change, and its arguments.
    pub on_change: Option<Vec<String>>,
    /// How long it may take.
    pub on_change_timeout: Duration,
}

/// One that was read, and where its parts stand.
struct Item {
    file: ConfiguredFile,
    place: Place,
    roles: Vec<(RoleName, Place)>,
}

/// Reads the list; `None` if something is wrong.
pub(super) fn files(fields: &mut Fields, upstreams: Option<&Upstreams>) -> Option<Vec<ConfiguredFile>> {
    let items = fields.items("files", FILE, item)?;
    let mut wrong = |place: &Place, message: String| fields.problems.push(Problem::new(place.clone(), message));
    if let Some(surplus) = items.get(MOST) {
        wrong(&surplus.place, format!("no more than {MOST} files can be kept"));
    }
    for (index, item) in items.iter().enumerate() {
        let path = &item.file.file.path;
        if items[..index].iter().any(|other| other.file.file.path == *path) {
            wrong(
                &item.place,
                format!("{} is written by another item already; name several roles in `profiles`", path.display()),
            );
        }
    }
    let served: Vec<_> = upstreams.map(Upstreams::roles).unwrap_or_default();
    for (role, place) in items.iter().flat_map(|item| &item.roles).filter(|_| !served.is_empty()) {
        if served.iter().any(|served| served.name == *role && !served.shared) {
            wrong(place, format!("the role \"{role}\" has no session for a file (`shared: false`)"));
        } else if served.iter().all(|served| served.name != *role) {
            wrong(place, unknown_role(role.as_str(), &served));
        }
    }
    fields.problems.is_empty().then(|| items.into_iter().map(|item| item.file).collect())
}

fn item(place: &Place, fields: &mut Fields) -> Option<Item> {
    fields.exclude("profiles", &["role", "profile"]);
    fields.note_one_of(&["role", "profiles"]);
    let at = fields.place("path").unwrap_or_else(|| place.clone());
    let path = fields.needed("path", "a file needs a `path`: an absolute one, or a name for one in `run_dir`", path);
    let format = fields.value("format", |node| read::choice(node, &FORMATS));
    let mode = fields.value("mode", mode);
    let users = fields.value("users", |node| read::list(node, account));
    let groups = fields.value("groups", |node| read::list(node, account));
    let on_change = fields.optional("on_change", command);
    let on_change_timeout = fields.value("on_change_timeout", read::limit);
    let read_profiles = profiles(fields);
    let (mode, read_profiles, format) = (mode?, read_profiles?, format?);
    if format != Format::Credentials {
        for key in ["profile", "profiles"] {
            if let Some(place) = fields.place(key) {
                let message = format!("`{key}` has no effect here: only `format: credentials` has profiles");
                fields.problems.push(Problem::new(place, message));
            }
        }
    }
    let file = File {
        path: path?,
        format,
        profiles: read_profiles.iter().map(|(profile, _)| profile.clone()).collect(),
        access: Access { mode, users: users?, groups: groups? },
    };
    if file.access.is_for_everybody()
        && let Some(place) = fields.place("mode")
    {
        let message = "every account of this host can read the credentials in this file; `users` and `groups` name those \
                       who shall";
        fields.warnings.push(Problem::new(place, message));
    }
    let roles = read_profiles.into_iter().map(|(profile, place)| (profile.role, place)).collect();
    let file = ConfiguredFile { file, on_change: on_change?, on_change_timeout: on_change_timeout? };
    Some(Item { file, place: at, roles })
}

/// The roles in a file, each with its place.
fn profiles(fields: &mut Fields) -> Option<Vec<(Profile, Place)>> {
    let role = fields.optional("role", |node| Ok((read::role_name(node)?, node.place.clone())));
    let name = fields.value("profile", |node| profile_name(&read::text(node)?, &node.place));
    if let Some(node) = fields.given("profiles").cloned() {
        let entries = fields.note(read::entries(&node, "a mapping of names of profiles to roles"))?;
        let read = entries.iter().map(|(key, node)| {
            let profile = Profile { name: profile_name(&key.text, &key.place)?, role: read::role_name(node)? };
            Ok((profile, node.place.clone()))
        });
        let read = fields.note(read.collect::<Read<Vec<_>>>())?;
        if read.is_empty() {
            fields.problems.push(Problem::new(node.place, "an empty mapping: nothing would be written"));
            return None;
        }
        return Some(read);
    }
    let Some((role, place)) = role? else {
        fields.complain_here("a file needs a `role`, or `profiles`");
        return None;
    };
    Some(vec![(Profile { name: name?, role }, place)])
}

fn path(node: &Node) -> Read<PathBuf> {
    let text = read::text(node)?;
    let path = Path::new(&text);
    let named = path.file_name().is_some() && !text.ends_with('/') && !text.contains('\0');
    let absolute = path.is_absolute() && path.components().all(|part| part != Component::ParentDir);
    let plain = !text.contains('/') && !text.starts_with('.');
    if named && (absolute || plain) {
        // Without what means nothing, such as `//`.
        return Ok(path.components().collect());
    }
    read::wrong(node, "an absolute path without `..`, or a name without a slash,")
}

/// Characters of names that all SDKs read without quotation marks: the identifiers of the SDK for Java.
fn profile_name(text: &str, place: &Place) -> Read<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-/.%@:+".contains(c);
    if !text.is_empty() && text.len() <= 128 && text.chars().all(legal) {
        return Ok(text.to_owned());
    }
    Err(Problem::new(place.clone(), "the name of a profile has letters, digits and _-/.%@:+ only"))
}

/// The mode in octal digits, as `chmod` takes it.
fn mode(node: &Node) -> Read<u32> {
    // YAML may take its digits for a number, in either base: 0400 for 256.
    let number = json!({"type": "integer", "minimum": 256, "maximum": 644});
    read::takes(node, || json!({"anyOf": [{"type": "string", "pattern": "^0?[0-7]{3}$"}, number]}))?;
    let text = read::text(node)?;
    let mode = u32::from_str_radix(&text, 8).ok().filter(|_| matches!(text.len(), 3 | 4));
    match mode {
        Some(mode) if legal_mode(mode) => Ok(mode),
        Some(_) => read::wrong(node, "a mode that lets others at most read, such as 0600 or 0640,"),
        None => read::wrong(node, "a mode in octal digits, such as 0600,"),
    }
}

fn account(node: &Node) -> Read<String> {
    let text = read::name_like(node, "^.+$")?;
    if text.is_empty() { read::wrong(node, "a name or a number") } else { Ok(text) }
}

/// The list as YAML; `None` if it is empty.
pub(super) fn render(files: &[ConfiguredFile]) -> Option<String> {
    let lines: Vec<String> = files.iter().map(|file| format!("\n- {}", render_one(file))).collect();
    (!lines.is_empty()).then(|| lines.concat())
}

fn render_one(ConfiguredFile { file, on_change, on_change_timeout }: &ConfiguredFile) -> String {
    let File { path, format, profiles, access } = file;
    let texts = |texts: &[String]| list(texts.iter().map(|text| quoted(text)));
    let mut entries = vec![("path", quoted(&path.to_string_lossy()))];
    match (format, &profiles[..]) {
        (Format::Credentials, profiles) => {
            let all = profiles.iter().map(|profile| (quoted(&profile.name), quoted(profile.role.as_str())));
            entries.push(("profiles", mapping(all.collect())));
        }
        (_, [only, ..]) => entries.push(("role", quoted(only.role.as_str()))),
        (_, []) => {}
    }
    let word = FORMATS.iter().find(|(_, one)| one == format).map_or("", |(word, _)| word);
    entries.extend([
        ("format", word.to_owned()),
        ("mode", quoted(&format!("{:04o}", access.mode))),
        ("users", texts(&access.users)),
        ("groups", texts(&access.groups)),
    ]);
    if let Some(command) = on_change {
        entries.push(("on_change", texts(command)));
    }
    entries.push(("on_change_timeout", render_duration(*on_change_timeout)));
    mapping(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Loaded, parse};

    fn loaded(files: &str) -> Result<Loaded, String> {
        let text = format!("ims_host: x\nfiles:\n{files}\n");
        parse(vec![("a.yaml".into(), text)]).map_err(|errors| errors.to_string())
    }

    fn config(files: &str) -> Config {
        loaded(files).expect(files).config
    }

    #[test]
    fn a_list_reads_back_as_it_is_written() {
        let config = config(
            "- {path: app, role: web}\n\
             - {path: /run/x//y, profiles: {default: web, other: db}, mode: 0640, users: [app, 1000], groups: www}\n\
             - {path: env, role: web, format: env, on_change: systemctl reload x, on_change_timeout: 5s}\n\
             - {path: p.json, role: web, format: process, mode: '440'}",
        );
        let again = parse(vec![("b.yaml".into(), config.render())]).expect("what we wrote").config;
        assert_eq!(again, config);
        assert_eq!(config.files.len(), 4);
        assert_eq!(config.files[0].file.profiles[0].name, "default");
        assert_eq!(config.files[0].file.access.mode, 0o600);
        assert_eq!(config.files[1].file.path, std::path::Path::new("/run/x/y"));
        assert_eq!(config.files[2].on_change.as_deref(), Some(&["systemctl", "reload", "x"].map(String::from)[..]));
        assert!(self::config("").render().lines().all(|line| !line.starts_with("files")));
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        for (item, part) in [
            ("{role: web}", "a.yaml:3:3: a file needs a `path`"),
            ("{path: x}", "3:3: a file needs a `role`, or `profiles`"),
            ("{path: a/b, role: web}", "3:10: an absolute path without `..`, or a name without a slash, is expected"),
            ("{path: /a/../b, role: web}", "an absolute path without `..`"),
            ("{path: .hidden, role: web}", "a name without a slash"),
            ("{path: /a/, role: web}", "an absolute path"),
            ("{path: x, role: web, profiles: {a: b}}", "`profiles` replaces `role`"),
            ("{path: x, profiles: {}}", "an empty mapping: nothing would be written"),
            ("{path: x, role: web, profile: 'a b'}", "the name of a profile has letters, digits"),
            ("{path: x, profiles: {'a]': web}}", "the name of a profile has letters, digits"),
            ("{path: x, role: web, mode: 0660}", "a mode that lets others at most read, such as 0600 or 0640"),
            ("{path: x, role: web, mode: 0700}", "a mode that lets others at most read"),
            ("{path: x, role: web, mode: rw}", "a mode in octal digits, such as 0600"),
            ("{path: x, role: web, mode: 0o600}", "a mode in octal digits"),
            ("{path: x, role: web, format: ini}", "one of credentials, env, process"),
            ("{path: x, role: web, format: env, profile: p}", "only `format: credentials` has profiles"),
            ("{path: x, role: web, on_change: []}", "a program is expected here"),
            ("{path: x, role: web, pth: y}", "did you mean `path`?"),
            ("{path: x, role: web}\n- {path: x, role: db}", "a.yaml:4:4: x is written by another item already"),
        ] {
            let said = loaded(&format!("- {item}")).expect_err(item);
            assert!(said.contains(part), "{item:?} should say {part:?}, not {said}");
        }
        let many: Vec<String> = (0..65).map(|index| format!("- {{path: f{index}, role: web}}")).collect();
        assert!(loaded(&many.join("\n")).expect_err("too many").contains("a.yaml:67:4: no more than 64 files"));
    }

    #[test]
    fn where_all_roles_are_known_another_one_is_a_mistake() {
        let text =
            "sources: {s: {kind: process, command: x}}\nroles: {web: {source: s}}\nfiles: [{path: x, role: wep}]\n";
        let said = parse(vec![("a.yaml".into(), text.into())]).expect_err("wrong").to_string();
        assert!(said.contains("a.yaml:3:25: there is no role \"wep\"; did you mean `web`?"), "{said}");
    }

    #[test]
    fn a_file_for_everybody_is_warned_of() {
        let warnings = loaded("- {path: x, role: web, mode: 0644}").expect("legal").warnings;
        assert!(
            warnings.iter().any(|warning| warning.to_string().contains("every account of this host")),
            "{warnings:?}"
        );
        assert!(loaded("- {path: x, role: web, mode: 0640}").expect("legal").warnings.is_empty());
    }
}
