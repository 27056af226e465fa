//! From a node to a value of a type, with a message that says what would have been right.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use super::{
    Proxy,
    problem::{Place, Problem, Source},
    yaml::{Node, Value},
};
use crate::{
    credentials::{AccountId, AccountIdError, Secret},
    logging::{Argument, LogLevel},
};

type Read<T> = Result<T, Problem>;

/// A node for a text that stands in no file: a default.
pub(super) fn default_node(text: &str) -> Node {
    let source = Arc::new(Source { name: PathBuf::from("default"), text: text.to_owned() });
    let place = Place { source, line: 1, column: 1 };
    match text {
        "[]" => Node { value: Value::List(Vec::new()), place },
        _ => Node { value: Value::Scalar { text: text.to_owned(), plain: true }, place },
    }
}

fn wrong<T>(node: &Node, expected: &str) -> Read<T> {
    let found = match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => format!("{text:?}"),
        _ => node.kind().to_owned(),
    };
    Err(Problem::new(node.place.clone(), format!("{expected} is expected here, not {found}")))
}

/// A single value as text; numbers and booleans are taken as they are written.
pub(super) fn text(node: &Node) -> Read<String> {
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => Ok(text.clone()),
        _ => wrong(node, "a text"),
    }
}

fn scalar<T>(node: &Node, expected: &str, parse: impl FnOnce(&str) -> Option<T>) -> Read<T> {
    match &node.value {
        Value::Scalar { text, .. } => match parse(text.trim()) {
            Some(value) => Ok(value),
            None => wrong(node, expected),
        },
        _ => wrong(node, expected),
    }
}

/// As `PyYAML` (YAML 1.1) reads booleans, which is what the 2015 tool's users have.
pub(super) fn boolean(node: &Node) -> Read<bool> {
    scalar(node, "true or false", parse_boolean)
}

fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A port to connect to.
pub(super) fn port(node: &Node) -> Read<u16> {
    scalar(node, "a port number from 1 to 65535", |text| text.parse().ok().filter(|port| *port > 0))
}

/// A port to listen on; 0 takes a free one.
pub(super) fn listen_port(node: &Node) -> Read<u16> {
    scalar(node, "a port number from 0 to 65535", |text| text.parse().ok())
}

/// A count of something, at least 1.
pub(super) fn count(node: &Node) -> Read<usize> {
    let range = 1..=1_000_000_000;
    scalar(node, "a whole number, at least 1", |text| text.parse().ok().filter(|count| range.contains(count)))
}

/// `500ms`, `10s`, `5m`, `1h`, `2d`, or seconds; a fraction is allowed.
pub(super) fn duration(node: &Node) -> Read<Duration> {
    scalar(node, "a time such as 500ms, 10s, 5m or 1h", parse_duration)
}

/// The same, but at least one millisecond: a limit of nothing would refuse everything.
pub(super) fn limit(node: &Node) -> Read<Duration> {
    let not_zero = |duration: &Duration| *duration >= Duration::from_millis(1);
    scalar(node, "a time such as 500ms, 10s, 5m or 1h, and not zero,", |text| parse_duration(text).filter(not_zero))
}

/// The same, but at least a second: nothing is asked more often.
pub(super) fn interval(node: &Node) -> Read<Duration> {
    let long = |duration: &Duration| *duration >= Duration::from_secs(1);
    scalar(node, "a time of at least one second, such as 60s or 5m,", |text| parse_duration(text).filter(long))
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
pub(super) fn ip(node: &Node) -> Read<IpAddr> {
    scalar(node, "an IP address", |text| text.trim_start_matches('[').trim_end_matches(']').parse().ok())
}

/// A file or directory.
pub(super) fn path(node: &Node) -> Read<PathBuf> {
    text(node).map(PathBuf::from)
}

/// A list of what `item` reads; a single value is a list of one.
pub(super) fn list<T>(node: &Node, item: impl Fn(&Node) -> Read<T>) -> Read<Vec<T>> {
    match &node.value {
        Value::List(items) => items.iter().map(item).collect(),
        _ => Ok(vec![item(node)?]),
    }
}

/// `address:port`.
pub(super) fn socket_address(node: &Node) -> Read<SocketAddr> {
    scalar(node, "address:port, such as 127.0.0.1:25772 or [::1]:25772,", |text| text.parse().ok())
}

/// `address:port`, or `none`.
pub(super) fn none_or_socket_address(node: &Node) -> Read<Option<SocketAddr>> {
    scalar(node, "address:port, such as 127.0.0.1:25774, or none,", |text| match text {
        "none" => Some(None),
        address => address.parse().ok().map(Some),
    })
}

/// A host name for `allowed_hosts`.
pub(super) fn host_name(node: &Node) -> Read<String> {
    let legal = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    scalar(node, "a host name without a port", |text| legal(text).then(|| text.to_lowercase()))
}

/// One of a few words, in any case.
pub(super) fn choice<T: Copy>(node: &Node, choices: &[(&str, T)]) -> Read<T> {
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    scalar(node, &format!("one of {}", words.join(", ")), |text| {
        choices.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|(_, value)| *value)
    })
}

/// The name of a region.
pub(super) fn region(node: &Node) -> Read<String> {
    let text = text(node)?;
    let legal =
        text.split('-').count() >= 3 && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if legal {
        Ok(text)
    } else {
        Err(Problem::new(node.place.clone(), "a region such as eu-central-1 is expected here"))
    }
}

/// The levels of Python's `logging`.
pub(super) fn log_level(node: &Node) -> Read<LogLevel> {
    let levels = [
        ("debug", LogLevel::Debug),
        ("info", LogLevel::Info),
        ("warning", LogLevel::Warning),
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warning),
        ("critical", LogLevel::Error),
    ];
    choice(node, &levels)
}

/// The twelve digits of an account.
pub(super) fn account_id(node: &Node) -> Read<AccountId> {
    text(node)?.parse().map_err(|error: AccountIdError| Problem::new(node.place.clone(), error.to_string()))
}

/// `http://[user:password@]host:port`. The line is never shown: it may hold the password.
pub(super) fn proxy(node: &Node) -> Read<Proxy> {
    parse_proxy(&text(node)?).ok_or_else(|| {
        let message =
            "a proxy such as http://proxy.example.com:3128 or http://user:password@host:port is expected here";
        Problem::new(node.place.clone(), message).without_line()
    })
}

pub(super) fn parse_proxy(text: &str) -> Option<Proxy> {
    let rest = text.strip_prefix("http://")?.trim_end_matches('/');
    let (credentials, authority) = match rest.rsplit_once('@') {
        None => (None, rest),
        Some((pair, authority)) => {
            let (user, password) = pair.split_once(':')?;
            let decode = |part| percent_encoding::percent_decode_str(part).decode_utf8().ok();
            (Some((decode(user)?.into_owned(), Secret::new(&*decode(password)?))), authority)
        }
    };
    let url: http::Uri = format!("http://{authority}").parse().ok()?;
    url.host().filter(|host| !host.is_empty())?;
    url.port_u16()?;
    (url.path() == "/").then(|| Proxy { url: format!("http://{authority}"), credentials })
}

/// An argument of a log handler.
pub(super) fn argument(node: &Node) -> Read<Argument> {
    Ok(match &node.value {
        _ if node.is_null() => Argument::Null,
        Value::Scalar { text, plain: true } => match (parse_boolean(text), text.parse()) {
            (Some(truth), _) => Argument::Bool(truth),
            (None, Ok(number)) => Argument::Integer(number),
            (None, Err(_)) => Argument::Text(text.clone()),
        },
        Value::Scalar { text, .. } => Argument::Text(text.clone()),
        Value::List(items) => Argument::List(items.iter().map(argument).collect::<Read<_>>()?),
        Value::Binary(_) | Value::Map(_) => return wrong(node, "a text, a number, true, false or a list"),
    })
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

    #[test]
    fn a_proxy_may_have_a_user_and_password() {
        let proxy = parse_proxy("http://me:p%40ss@proxy.example.com:3128/").expect("legal");
        assert_eq!(proxy.url, "http://proxy.example.com:3128");
        assert_eq!(
            proxy.credentials.map(|(user, secret)| (user, secret.expose().to_owned())),
            Some(("me".into(), "p@ss".into()))
        );
        for text in [
            "proxy:3128",
            "https://proxy:1",
            "http://proxy",
            "http://:1",
            "http://user@proxy:1",
            "http://p:1/x",
            "http://p:x",
        ] {
            assert_eq!(parse_proxy(text), None, "{text}");
        }
    }
}
