//! The segments of a request target. It has the semantics of directories: `//` is one slash, a
//! final slash changes nothing, the query does not count.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The deepest path that anything is found under.
const MAX_SEGMENTS: usize = 8;

/// A target split into authority (absolute form only) and path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    pub(crate) authority: Option<&'a str>,
    path: &'a str,
}

impl<'a> Target<'a> {
    /// `None` if it is neither in origin form nor an `http://` URL.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let text = text.split(['?', '#']).next().unwrap_or_default();
        if text.starts_with('/') {
            return Some(Self { authority: None, path: text });
        }
        let scheme = text.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"))?;
        let rest = text.get(scheme.len()..)?;
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        Some(Self { authority: Some(authority), path })
    }

    /// Whether the path, which has more than that, ends in a slash.
    pub(crate) fn ends_in_slash(&self) -> bool {
        self.path.ends_with('/')
    }

    /// Hands the decoded segments to `found`; `None` if there are too many or one is not UTF-8.
    pub(crate) fn with_segments<T>(&self, found: impl FnOnce(&[&str]) -> T) -> Option<T> {
        let mut decoded: [Cow<'_, str>; MAX_SEGMENTS] = Default::default();
        let mut count = 0;
        // Hardly any has an escape, and decoding checks each byte again.
        let escaped = self.path.contains('%');
        for segment in self.path.split('/').filter(|segment| !segment.is_empty()) {
            let place = decoded.get_mut(count)?;
            *place = if escaped { percent_decode_str(segment).decode_utf8().ok()? } else { Cow::Borrowed(segment) };
            count += 1;
        }
        let segments: [&str; MAX_SEGMENTS] = std::array::from_fn(|index| &*decoded[index]);
        segments.get(..count).map(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(target: &str) -> Option<Vec<String>> {
        Target::parse(target)?.with_segments(|segments| segments.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn slashes_queries_and_escapes_are_normalised() {
        for (target, expected) in [
            ("/", ""),
            ("/latest", "latest"),
            ("//latest///meta-data/", "latest|meta-data"),
            ("/latest/?x=/y", "latest"),
            ("/a%2Bb/c%2Fd", "a+b|c/d"),
            ("http://169.254.169.254/latest", "latest"),
            ("HTTP://h:80", ""),
            ("/a/../b", "a|..|b"),
        ] {
            assert_eq!(segments(target).map(|s| s.join("|")).as_deref(), Some(expected), "{target}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for target in ["*", "latest", "ftp://h/", "https://h/", "http:/h", "/%ff", "/1/2/3/4/5/6/7/8/9", ""] {
            assert_eq!(segments(target), None, "{target}");
        }
    }
}
