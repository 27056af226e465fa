//! Reads a node as a value of a type, with a message that shows what would be right.

use std::{
    borrow::Cow,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use alppaca_core::credentials::{AccountId, AccountIdError, Pattern, RoleName, RoleNameError};
use serde_json::{Value as Json, json};

use crate::{
    problem::{Place, Problem, Source},
    schema::form,
    yaml::{Key, Node, Value},
};

/// A value, or what is wrong with it.
pub type Read<T> = Result<T, Problem>;

/// A node for a text that stands in no file: a default.
pub fn default_node(text: &str) -> Node {
    let source = Arc::new(Source { name: PathBuf::from("default"), text: text.to_owned() });
    let place = Place { source, line: 1, column: 1 };
    match text {
        "[]" => Node { value: Value::List(Vec::new()), place },
        _ => Node { value: Value::Scalar { text: text.to_owned(), plain: true }, place },
    }
}

/// Says what is expected in place of this node.
pub fn wrong<T>(node: &Node, expected: &str) -> Read<T> {
    let found = match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => format!("{text:?}"),
        _ => node.kind().to_owned(),
    };
    Err(Problem::new(node.place.clone(), format!("{expected} is expected here, not {found}")))
}

/// Notes what is taken, as a JSON Schema, at a node that stands for any value: then there is nothing to read.
pub fn takes(node: &Node, schema: impl FnOnce() -> Json) -> Read<()> {
    match &node.value {
        Value::Any(shape) => {
            shape.note(schema());
            Err(Problem::nowhere("this stands for any value"))
        }
        _ => Ok(()),
    }
}

/// A single value as text; numbers and booleans are taken as they are written.
pub fn text(node: &Node) -> Read<String> {
    takes(node, form::text)?;
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => Ok(text.clone()),
        _ => wrong(node, "a text"),
    }
}

/// The same, or nothing, which is an empty text.
pub fn text_or_nothing(node: &Node) -> Read<String> {
    takes(node, || json!({"type": ["string", "number", "boolean", "null"]}))?;
    if node.is_null() { Ok(String::new()) } else { text(node) }
}

/// The same as [`text`], where an editor can know that legal texts match `pattern`, a regular expression. The caller checks more.
pub fn text_like(node: &Node, pattern: &str) -> Read<String> {
    takes(node, || form::like(pattern))?;
    text(node)
}

/// The same for a name, which may be one that YAML takes for a number or a boolean.
pub fn name_like(node: &Node, pattern: &str) -> Read<String> {
    takes(node, || form::name(pattern))?;
    text(node)
}

fn scalar<T>(
    node: &Node,
    form: impl FnOnce() -> Json,
    expected: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Read<T> {
    takes(node, form)?;
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => match parse(text.trim()) {
            Some(value) => Ok(value),
            None => wrong(node, expected),
        },
        _ => wrong(node, expected),
    }
}

/// As `PyYAML` (YAML 1.1) reads booleans, which is what the 2015 tool's users have.
pub fn boolean(node: &Node) -> Read<bool> {
    scalar(node, form::boolean, "true or false", parse_boolean)
}

/// What YAML 1.1 takes for a boolean.
pub fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A port to connect to.
pub fn port(node: &Node) -> Read<u16> {
    scalar(
        node,
        || form::whole_number(1, 65535),
        "a port number from 1 to 65535",
        |text| text.parse().ok().filter(|port| *port > 0),
    )
}

/// A port to listen on; 0 takes a free one.
pub fn listen_port(node: &Node) -> Read<u16> {
    scalar(node, || form::whole_number(0, 65535), "a port number from 0 to 65535", |text| text.parse().ok())
}

/// A count of something, at least 1.
pub fn count(node: &Node) -> Read<usize> {
    const MOST: usize = 1_000_000_000;
    let range = 1..=MOST;
    scalar(
        node,
        || form::whole_number(1, MOST),
        "a whole number, at least 1",
        |text| text.parse().ok().filter(|count| range.contains(count)),
    )
}

/// `500ms`, `10s`, `5m`, `1h`, `2d`, or seconds; a fraction is allowed.
pub fn duration(node: &Node) -> Read<Duration> {
    scalar(node, || form::duration(0.0), "a time such as 500ms, 10s, 5m or 1h", parse_duration)
}

/// The same, but at least one millisecond: a limit of nothing would refuse everything.
pub fn limit(node: &Node) -> Read<Duration> {
    let not_zero = |duration: &Duration| *duration >= Duration::from_millis(1);
    scalar(
        node,
        || form::duration(0.001),
        "a time such as 500ms, 10s, 5m or 1h, and not zero,",
        |text| parse_duration(text).filter(not_zero),
    )
}

/// The same, but at least a second: nothing is asked more often.
pub fn interval(node: &Node) -> Read<Duration> {
    let long = |duration: &Duration| *duration >= Duration::from_secs(1);
    scalar(
        node,
        || form::duration(1.0),
        "a time of at least one second, such as 60s or 5m,",
        |text| parse_duration(text).filter(long),
    )
}

/// The same, within a range; `expected` says which.
pub fn duration_within(node: &Node, range: &RangeInclusive<Duration>, expected: &str) -> Read<Duration> {
    scalar(
        node,
        || form::duration_within(range.start().as_secs_f64(), range.end().as_secs_f64()),
        expected,
        |text| parse_duration(text).filter(|duration| range.contains(duration)),
    )
}

/// Reads `500ms`, `10s`, `5m`, `1h`, `2d` or a number of seconds; `None` if it is none of these.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * seconds;
    // Longer than ten years is a typing error, and would overflow sums of times.
    Duration::try_from_secs_f64(seconds).ok().filter(|duration| *duration <= Duration::from_hours(87_600))
}

/// Writes a duration so that it reads back as the same.
pub fn render_duration(duration: Duration) -> String {
    match (duration.as_millis() % 1000, duration.as_secs()) {
        (0, seconds) => format!("{seconds}s"),
        _ => format!("{}ms", duration.as_millis()),
    }
}

/// An IP address.
pub fn ip(node: &Node) -> Read<IpAddr> {
    scalar(
        node,
        || form::like("^[0-9A-Fa-f.:\\[\\]\\s]+$"),
        "an IP address",
        |text| text.trim_start_matches('[').trim_end_matches(']').parse().ok(),
    )
}

/// A file or directory.
pub fn path(node: &Node) -> Read<PathBuf> {
    text(node).map(PathBuf::from)
}

/// A list of what `item` reads; a single value is a list of one.
pub fn list<T>(node: &Node, item: impl Fn(&Node) -> Read<T>) -> Read<Vec<T>> {
    match &node.value {
        Value::Any(shape) => Ok(vec![item(&shape.item(true, 0))?]),
        Value::List(items) => items.iter().map(item).collect(),
        _ => Ok(vec![item(node)?]),
    }
}

/// The same, but of one or more; `without` says what an empty one would mean.
pub fn filled_list<T>(node: &Node, without: &str, item: impl Fn(&Node) -> Read<T>) -> Read<Vec<T>> {
    match &node.value {
        Value::Any(shape) => Ok(vec![item(&shape.item(true, 1))?]),
        Value::List(items) if items.is_empty() => empty_list(node, without),
        _ => list(node, item),
    }
}

/// What `item` reads of each item, if it is a list of one or more; otherwise the caller reads another form.
pub fn proper_list<T>(node: &Node, without: &str, item: impl Fn(&Node) -> Read<T>) -> Option<Read<Vec<T>>> {
    match &node.value {
        Value::Any(shape) => {
            // Only to note it: there is the other form, too.
            let _noted = item(&shape.item(false, 1));
            None
        }
        Value::List(items) if items.is_empty() => Some(empty_list(node, without)),
        Value::List(items) => Some(items.iter().map(item).collect()),
        _ => None,
    }
}

fn empty_list<T>(node: &Node, without: &str) -> Read<Vec<T>> {
    Err(Problem::new(node.place.clone(), format!("an empty list: {without}")))
}

/// The entries of a mapping of any names.
pub fn entries<'a>(node: &'a Node, expected: &str) -> Read<Cow<'a, [(Key, Node)]>> {
    match &node.value {
        Value::Any(shape) => Ok(Cow::Owned(vec![shape.named_entry()])),
        Value::Map(entries) => Ok(Cow::Borrowed(entries)),
        _ => Err(Problem::new(node.place.clone(), format!("{expected} is expected here, not {}", node.kind()))),
    }
}

/// The form of an address with a port.
const ADDRESS: &str = "^\\s*(\\[[0-9A-Fa-f:.]+(%[0-9]+)?\\]|[0-9.]+):[0-9]+\\s*$";
const NONE_OR_ADDRESS: &str = "^\\s*(none|(\\[[0-9A-Fa-f:.]+(%[0-9]+)?\\]|[0-9.]+):[0-9]+)\\s*$";

/// `address:port`.
pub fn socket_address(node: &Node) -> Read<SocketAddr> {
    scalar(
        node,
        || form::like(ADDRESS),
        "address:port, such as 127.0.0.1:25772 or [::1]:25772,",
        |text| text.parse().ok(),
    )
}

/// `address:port`, or `none`.
pub fn none_or_socket_address(node: &Node) -> Read<Option<SocketAddr>> {
    scalar(
        node,
        || form::like(NONE_OR_ADDRESS),
        "address:port, such as 127.0.0.1:25774, or none,",
        |text| match text {
            "none" => Some(None),
            address => address.parse().ok().map(Some),
        },
    )
}

/// A host name for `allowed_hosts`.
pub fn host_name(node: &Node) -> Read<String> {
    let legal = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    scalar(
        node,
        || form::name("^\\s*[A-Za-z0-9._-]+\\s*$"),
        "a host name without a port",
        |text| legal(text).then(|| text.to_lowercase()),
    )
}

/// One of a few words, in any case.
pub fn choice<T: Copy>(node: &Node, choices: &[(&str, T)]) -> Read<T> {
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    if let Value::Any(shape) = &node.value {
        let chosen = shape.choose(form::words(&words), words.len());
        return choices.get(chosen).map(|(_, value)| *value).ok_or_else(|| Problem::nowhere("there is no choice"));
    }
    scalar(node, form::text, &format!("one of {}", words.join(", ")), |text| {
        choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
    })
}

/// The name of a region.
pub fn region(node: &Node) -> Read<String> {
    let text = text_like(node, "^[a-z0-9]*-[a-z0-9]*-[a-z0-9-]*$")?;
    if is_region(&text) {
        Ok(text)
    } else {
        Err(Problem::new(node.place.clone(), "a region such as eu-central-1 is expected here"))
    }
}

/// Whether a text has the form of a region's name. It becomes a part of names of hosts.
pub fn is_region(text: &str) -> bool {
    text.split('-').count() >= 3 && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// The twelve digits of an account.
pub fn account_id(node: &Node) -> Read<AccountId> {
    takes(node, form::account)?;
    text(node)?.parse().map_err(|error: AccountIdError| Problem::new(node.place.clone(), error.to_string()))
}

/// The name of a role.
pub fn role_name(node: &Node) -> Read<RoleName> {
    takes(node, form::role_name)?;
    text(node)?.parse().map_err(|error: RoleNameError| Problem::new(node.place.clone(), error.to_string()))
}

/// A pattern in which `*` stands for any characters.
pub fn pattern(node: &Node) -> Read<Pattern> {
    text(node).map(|text| Pattern::new(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_a_unit_or_in_seconds() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("1.5", 1500),
            ("0", 0),
            ("2 s", 2000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "-1", "1y", "1e9", "1.2.3", "nan", "99999999999999999999h"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
