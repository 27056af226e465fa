//! The section `metadata`: what IMDS says beside credentials, as a tree.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::credentials::{AccountId, region_of_zone};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::Problem,
    read,
    render::{mapping, quoted},
    yaml::{Node, Value},
};

/// The deepest path below `/latest` that can be asked for.
const MAX_DEPTH: usize = 7;

/// The settings of the section.
pub const METADATA: &[Setting] = &[
    Setting::nested(
        "region",
        "",
        "The region that programs see. By default the one in which the first role is assumed; without one there is \
         no `placement/`, and programs must be configured with a region.",
    ),
    Setting::nested(
        "account_id",
        "",
        "The account, twelve digits. By default the one from the upstream, the role's ARN or the access key id.",
    ),
    Setting::nested(
        "defaults",
        "minimal",
        "The default tree. `minimal`: what SDKs need. `ec2`: everything that an EC2 instance has, such as \
         `ami-id`; agents then take this host for an instance of EC2. With `passthrough` there are no defaults.",
    ),
    Setting::nested(
        "meta-data",
        "",
        "A tree that is laid over the defaults: a mapping is a directory, a single value a file, a list a file of lines, \
         `null` removes. `iam` is built from the roles; only `iam: {info: …}` can be set there. Keys are written as \
         `public-keys: {\"0=NAME\": {openssh-key: …}}`.",
    ),
    Setting::nested("dynamic", "", "The same for `/latest/dynamic/`."),
    Setting::nested(
        "user-data",
        "",
        "The content of `/latest/user-data`: a text, or bytes in base64 after `!!binary`, such as a gzip archive. \
         Without it: 404.",
    ),
    Setting::nested(
        "security_credentials_extended",
        "off",
        "`off`: `iam/security-credentials-extended/` is 404, as on most real instances. `on`: it has the same roles, \
         and their documents also have the `AccountId`, if known.",
    ),
    Setting::nested(
        "passthrough",
        "",
        "URL of a real IMDS, such as `http://169.254.169.254`, for everything that is not set here. Never used for \
         credentials.",
    ),
    Setting::nested("passthrough_timeout", "1s", "Longest time for one of its answers."),
];

/// What IMDS says beside credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The region (`region`).
    pub region: Option<String>,
    /// The account (`account_id`).
    pub account_id: Option<AccountId>,
    /// What is there without being set (`defaults`).
    pub defaults: Defaults,
    /// What is laid over the defaults: `meta-data`, `dynamic` and `user-data`, in the order of the file.
    pub tree: Vec<(String, Tree)>,
    /// Whether there is `security-credentials-extended`.
    pub extended: bool,
    /// The base URL of a real IMDS, without a final slash (`passthrough`).
    pub passthrough: Option<String>,
    /// For one answer of it (`passthrough_timeout`).
    pub passthrough_timeout: Duration,
}

/// What is there without being set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defaults {
    /// What SDKs need.
    Minimal,
    /// What every instance of EC2 has.
    Ec2,
}

/// A part of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// There is no such thing, even if there would be by default.
    Removed,
    /// A file and its content.
    File(String),
    /// A file that is no text.
    Binary(Vec<u8>),
    /// A directory.
    Directory(Vec<(String, Tree)>),
}

impl Metadata {
    /// The region that is set, by itself or with its zone.
    pub fn stated_region(&self) -> Option<&str> {
        let placement = |name| self.file(&["meta-data", "placement", name]);
        let of_zone = || placement("availability-zone").and_then(region_of_zone);
        placement("region").or(self.region.as_deref()).or_else(of_zone)
    }

    fn file(&self, path: &[&str]) -> Option<&str> {
        let mut tree = &self.tree;
        let (last, directories) = path.split_last()?;
        let find = |tree: &'_ [(String, Tree)], name: &str| tree.iter().position(|(known, _)| known == name);
        for name in directories {
            let Tree::Directory(below) = &tree.get(find(tree, name)?)?.1 else { return None };
            tree = below;
        }
        match &tree.get(find(tree, last)?)?.1 {
            Tree::File(text) => Some(text),
            Tree::Binary(_) | Tree::Directory(_) | Tree::Removed => None,
        }
    }
}

pub(super) fn metadata(fields: &mut Fields) -> Option<Metadata> {
    match fields.section("metadata", METADATA, read_section)? {
        Some(metadata) => Some(metadata),
        None => read_section(&mut Fields::new(Vec::new(), METADATA)),
    }
}

fn read_section(fields: &mut Fields) -> Option<Metadata> {
    let region = fields.optional("region", read::region);
    let account_id = fields.optional("account_id", read::account_id);
    let mut tree = Vec::new();
    for key in ["meta-data", "dynamic", "user-data"] {
        let Some(node) = fields.raw(key).cloned() else { continue };
        let read = branch(&node, 1).and_then(|read| check_top(key, &node, read));
        if let Some(read) = fields.note(read) {
            tree.push((key.to_owned(), read));
        }
    }
    let defaults =
        fields.value("defaults", |node| read::choice(node, &[("minimal", Defaults::Minimal), ("ec2", Defaults::Ec2)]));
    let choices = [("off", false), ("on", true), ("false", false), ("true", true), ("no", false), ("yes", true)];
    let extended = fields.value("security_credentials_extended", |node| read::choice(node, &choices));
    let passthrough = fields.optional("passthrough", base_url);
    let passthrough_timeout = fields.value("passthrough_timeout", read::limit);
    let metadata = Metadata {
        region: region?,
        account_id: account_id?,
        defaults: defaults?,
        tree,
        extended: extended?,
        passthrough: passthrough?,
        passthrough_timeout: passthrough_timeout?,
    };
    let place = fields.place("meta-data").or_else(|| fields.place("region"));
    match (contradiction(&metadata), place) {
        (Some(message), Some(place)) => fields.note(Err(Problem::new(place, message))),
        _ => Some(metadata),
    }
}

/// Some SDKs take the region from `placement/region`, others from the zone: they have to agree.
fn contradiction(metadata: &Metadata) -> Option<String> {
    let placement = |name| metadata.file(&["meta-data", "placement", name]);
    let region = metadata.stated_region()?;
    let told = [
        ("`metadata.region`", metadata.region.as_deref(), metadata.region.as_deref()),
        ("the zone", placement("availability-zone"), placement("availability-zone").and_then(region_of_zone)),
    ];
    told.iter().find_map(|(what, text, other)| match (text, other) {
        (Some(text), Some(other)) if *other != region => Some(format!(
            "the region is {region} here, but {what} {text} is in {other}: set only one, or make them agree"
        )),
        _ => None,
    })
}

fn branch(node: &Node, depth: usize) -> Result<Tree, Problem> {
    if depth > MAX_DEPTH {
        return Err(Problem::new(
            node.place.clone(),
            format!("deeper than {MAX_DEPTH} levels: no request could reach it"),
        ));
    }
    match &node.value {
        _ if node.is_null() => Ok(Tree::Removed),
        Value::Scalar { text, .. } => Ok(Tree::File(text.clone())),
        Value::Binary(bytes) => Ok(Tree::Binary(bytes.clone())),
        Value::List(_) => Ok(Tree::File(read::list(node, read::text)?.join("\n"))),
        Value::Map(entries) => {
            let mut directory = Vec::with_capacity(entries.len());
            for (key, node) in entries {
                let legal = !matches!(&*key.text, "" | "." | "..") && !key.text.contains(['/', '%', '?', '#']);
                if !legal || key.text.chars().any(char::is_control) {
                    let message = format!("{:?} cannot be one segment of a path", key.text);
                    return Err(Problem::new(key.place.clone(), message));
                }
                directory.push((key.text.clone(), branch(node, depth + 1)?));
            }
            Ok(Tree::Directory(directory))
        }
    }
}

/// What may stand at the top of the tree, and of `iam` only `info`.
fn check_top(key: &str, node: &Node, tree: Tree) -> Result<Tree, Problem> {
    let wrong = |message: &str| Err(Problem::new(node.place.clone(), message));
    match (key, &tree) {
        ("user-data", Tree::Directory(_)) => wrong("user data is a text, not a mapping"),
        ("meta-data" | "dynamic", Tree::File(_) | Tree::Binary(_)) => wrong("a mapping is expected here"),
        ("meta-data", Tree::Removed) => wrong("the metadata cannot be removed: the credentials are part of them"),
        ("meta-data", Tree::Directory(entries))
            if entries.iter().any(|(name, below)| name == "public-keys" && !are_keys(below)) =>
        {
            wrong("`public-keys` lists keys as `0=NAME`: write `public-keys: {\"0=NAME\": {openssh-key: …}}`")
        }
        ("meta-data", Tree::Directory(entries)) => match entries.iter().find(|(name, _)| name == "iam") {
            None => Ok(tree),
            Some((_, Tree::Directory(inner))) if inner.iter().all(|(name, _)| name == "info") => Ok(tree),
            Some(_) => wrong("`iam` is built from the roles: only `iam: {info: …}` can be set"),
        },
        _ => Ok(tree),
    }
}

/// Whether all entries are a number, `=` and a name, each with a mapping.
fn are_keys(keys: &Tree) -> bool {
    let is_key = |(name, key): &(String, Tree)| {
        let number = name.split_once('=').map_or("", |(number, _)| number);
        let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        numbered && matches!(key, Tree::Directory(_))
    };
    match keys {
        Tree::Removed => true,
        Tree::File(_) | Tree::Binary(_) => false,
        Tree::Directory(keys) => keys.iter().all(is_key),
    }
}

fn base_url(node: &Node) -> Result<String, Problem> {
    let text = read::text(node)?;
    let base = text.trim_end_matches('/');
    let fine = base.parse::<http::Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.query().is_none()
            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
    });
    if fine {
        Ok(base.to_owned())
    } else {
        Err(Problem::new(node.place.clone(), "a URL such as http://169.254.169.254 is expected here"))
    }
}

/// The section as YAML.
pub(super) fn render(metadata: &Metadata) -> String {
    let mut entries = Vec::new();
    entries.extend(metadata.region.as_ref().map(|region| ("region".to_owned(), quoted(region))));
    entries.extend(metadata.account_id.map(|id| ("account_id".to_owned(), quoted(id.as_str()))));
    let defaults = if metadata.defaults == Defaults::Ec2 { "ec2" } else { "minimal" };
    entries.push(("defaults".to_owned(), defaults.to_owned()));
    entries.extend(metadata.tree.iter().map(|(name, tree)| (name.clone(), render_tree(tree))));
    let extended = if metadata.extended { "on" } else { "off" };
    entries.push(("security_credentials_extended".to_owned(), extended.to_owned()));
    entries.extend(metadata.passthrough.as_ref().map(|url| ("passthrough".to_owned(), quoted(url))));
    entries.push(("passthrough_timeout".to_owned(), read::render_duration(metadata.passthrough_timeout)));
    mapping(entries)
}

fn render_tree(tree: &Tree) -> String {
    match tree {
        Tree::Removed => "null".to_owned(),
        Tree::File(text) => quoted(text),
        Tree::Binary(bytes) => format!("!!binary {}", quoted(&BASE64_STANDARD.encode(bytes))),
        Tree::Directory(entries) => {
            mapping(entries.iter().map(|(name, tree)| (quoted(name), render_tree(tree))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Tree, parse};

    #[test]
    fn the_region_is_also_that_of_the_zone() {
        for (text, region) in [
            ("  region: eu-west-1\n", Some("eu-west-1")),
            ("  meta-data: {placement: {availability-zone: us-west-2-lax-1a}}\n", Some("us-west-2")),
            ("  meta-data: {placement: {region: cn-north-1, availability-zone: rack-7}}\n", Some("cn-north-1")),
            ("  region: eu-west-1\n  meta-data: {placement: {availability-zone: eu-west-1c}}\n", Some("eu-west-1")),
            ("  meta-data: {placement: {availability-zone: rack-7}}\n", None),
            ("  meta-data: {placement: null}\n", None),
        ] {
            assert_eq!(parsed(text).expect(text).metadata.stated_region(), region, "{text}");
        }
    }

    fn parsed(text: &str) -> Result<Config, String> {
        let files = vec![("a.yaml".into(), format!("ims_host: x\nmetadata:\n{text}"))];
        parse(files).map(|loaded| loaded.config).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_tree_is_read_as_it_is_written() {
        let config = parsed(
            "  region: eu-west-1\n  meta-data:\n    hostname: null\n    tags: {instance: {Name: yes, n: 010}}\n    \
             security-groups: [a, b]\n    empty: ''\n  user-data: |\n    #!/bin/sh\n    true\n  passthrough: http://h/\n",
        )
        .expect("legal");
        let file = |text: &str| Tree::File(text.to_owned());
        let [(meta_data, Tree::Directory(tree)), (user_data, script)] = &*config.metadata.tree else { panic!() };
        assert_eq!((&**meta_data, &**user_data, script), ("meta-data", "user-data", &file("#!/bin/sh\ntrue\n")));
        let instance = Tree::Directory(vec![("Name".into(), file("yes")), ("n".into(), file("010"))]);
        assert_eq!(
            tree,
            &[
                ("hostname".to_owned(), Tree::Removed),
                ("tags".to_owned(), Tree::Directory(vec![("instance".into(), instance)])),
                ("security-groups".to_owned(), file("a\nb")),
                ("empty".to_owned(), file("")),
            ]
        );
        assert_eq!(config.metadata.passthrough.as_deref(), Some("http://h"));
        let again = parse(vec![("b.yaml".into(), config.render())]).expect("what we wrote").config;
        assert_eq!(again, config);
    }

    #[test]
    fn binary_data_are_decoded_and_other_tags_refused() {
        let gzip = vec![0x1f, 0x8b, 8, 0, 0xff];
        for text in ["!!binary H4sIAP8=", "!!binary |\n    H4sI\n    AP8=\n", "!<tag:yaml.org,2002:binary> 'H4sIAP8='"]
        {
            let config = parsed(&format!("  user-data: {text}\n")).expect(text);
            assert_eq!(config.metadata.tree, [("user-data".to_owned(), Tree::Binary(gzip.clone()))], "{text}");
            assert_eq!(parse(vec![("b.yaml".into(), config.render())]).expect("what we wrote").config, config);
        }
        assert!(parsed("  user-data: !!str 12\n  region: !!str eu-west-1\n").is_ok());
        for (text, part) in [
            ("  user-data: !!binary H4sI*", "3:23: `!!binary` is followed by base64"),
            ("  user-data: !gzip H4sI", "the tag !gzip is not allowed here"),
            ("  user-data: !binary H4sI", "the tag !binary is not allowed here"),
            ("  region: !!binary H4sI", "binary data"),
            ("  meta-data: !!set {a: b}", "set is not allowed here"),
            ("  meta-data: {a: !!python/tuple [b]}", "is not allowed here"),
        ] {
            let said = parsed(text).expect_err(text);
            assert!(said.contains(part), "{text:?} should say {part:?}, not {said}");
        }
    }

    #[test]
    fn what_cannot_be_in_a_tree_is_told_with_its_place() {
        for (text, part) in [
            ("  meta-data: {iam: {security-credentials: {x: y}}}", "3:14: `iam` is built from the roles"),
            ("  meta-data: {a/b: c}", "3:15: \"a/b\" cannot be one segment of a path"),
            ("  meta-data: {'..': c}", "cannot be one segment of a path"),
            ("  meta-data: x", "3:14: a mapping is expected here"),
            ("  meta-data:\n", "cannot be removed"),
            ("  user-data: {a: b}", "user data is a text"),
            ("  meta-data: {a: {b: {c: {d: {e: {f: {g: h}}}}}}}", "deeper than 7 levels"),
            ("  passthrough: ftp://x", "a URL such as http://169.254.169.254"),
            ("  account_id: 12", "an account has twelve digits"),
            ("  regoin: x", "did you mean `region`?"),
            ("  region: x", "3:11: a region such as eu-central-1"),
            ("  defaults: all", "one of minimal, ec2"),
            ("  meta-data: {public-keys: {'0': {openssh-key: k}}}", "lists keys as `0=NAME`"),
            ("  meta-data: {public-keys: {'0=n': k}}", "lists keys as `0=NAME`"),
            ("  meta-data: {public-keys: 0=n}", "lists keys as `0=NAME`"),
            (
                "  region: eu-central-1\n  meta-data: {placement: {availability-zone: us-west-2-lax-1a}}",
                "4:3: the region is eu-central-1 here, but the zone us-west-2-lax-1a is in us-west-2",
            ),
            (
                "  region: eu-central-1\n  meta-data: {placement: {region: eu-west-1}}",
                "the region is eu-west-1 here, but `metadata.region` eu-central-1 is in eu-central-1",
            ),
        ] {
            let said = parsed(text).expect_err(text);
            assert!(said.contains(part), "{text:?} should say {part:?}, not {said}");
        }
    }
}
