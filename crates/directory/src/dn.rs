//! Distinguished names: RFC 4514. Pure.

/// A name, from the entry itself up to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dn(Vec<Rdn>);

/// One step: attributes with their values, nearly always one.
#[derive(Debug, Clone)]
struct Rdn(Vec<(String, String)>);

/// As directories compare names: without regard to case, and a blank is as good as several.
fn folded(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

impl PartialEq for Rdn {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |rdn: &Self| {
            let mut all: Vec<_> = rdn.0.iter().map(|(kind, value)| (kind.to_lowercase(), folded(value))).collect();
            all.sort();
            all
        };
        sorted(self) == sorted(other)
    }
}

impl Eq for Rdn {}

impl Dn {
    /// Reads a name; `None` if it is none. The empty one is the root.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            return Some(Self(Vec::new()));
        }
        let (mut rdns, mut rdn, mut rest) = (Vec::new(), Vec::new(), text);
        loop {
            let (kind, after) = rest.split_once('=')?;
            let kind = kind.trim();
            let legal = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
            if kind.is_empty() || !kind.chars().all(legal) {
                return None;
            }
            let (value, end, after) = value(after)?;
            rdn.push((kind.to_owned(), value));
            if end != Some('+') {
                rdns.push(Rdn(std::mem::take(&mut rdn)));
            }
            if end.is_none() {
                return Some(Self(rdns));
            }
            rest = after;
        }
    }

    /// Whether it is the name of something below `base`.
    pub(crate) fn is_below(&self, base: &Self) -> bool {
        self.0.len() > base.0.len() && self.0.ends_with(&base.0)
    }

    /// The value that the entry itself is named by, if it is one.
    pub(crate) fn name(&self) -> Option<&str> {
        match self.0.first()?.0.as_slice() {
            [(_, value)] => Some(value),
            _ => None,
        }
    }
}

/// The value at the beginning of a text, what ended it, and what follows.
fn value(text: &str) -> Option<(String, Option<char>, &str)> {
    let text = text.trim_start();
    if text.starts_with('#') {
        // The bytes of a value in a syntax that nobody needs here.
        return None;
    }
    let (mut bytes, mut kept, mut rest) = (Vec::new(), 0, text.chars());
    let end = loop {
        let Some(character) = rest.next() else { break None };
        match character {
            ',' | ';' | '+' => break Some(character),
            '\\' => {
                bytes.push(escaped(&mut rest)?);
                kept = bytes.len();
            }
            '"' | '<' | '>' | '\0' => return None,
            _ => {
                bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
                if !character.is_whitespace() {
                    kept = bytes.len();
                }
            }
        }
    };
    // Blanks before the separator are not part of it.
    bytes.truncate(kept);
    let value = String::from_utf8(bytes).ok().filter(|value| !value.is_empty())?;
    Some((value, end, rest.as_str()))
}

/// The byte that an escape stands for.
fn escaped(rest: &mut std::str::Chars<'_>) -> Option<u8> {
    let first = rest.next()?;
    if let Some(high) = first.to_digit(16) {
        let low = rest.next()?.to_digit(16)?;
        return u8::try_from(high * 16 + low).ok();
    }
    u8::try_from(first).ok().filter(|byte| b" \"#+,;<=>\\".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dn(text: &str) -> Dn {
        Dn::parse(text).unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn a_name_is_its_value_without_escapes() {
        for (text, name) in [
            ("cn=admins,dc=example", "admins"),
            ("CN = Web  Admins , ou=x", "Web  Admins"),
            (r"cn=a\,b\+c\\d\=e\#f,dc=x", r"a,b+c\d=e#f"),
            (r"cn=\ a\ ,dc=x", " a "),
            (r"cn=M\c3\bcller,dc=x", "Müller"),
            (r"2.5.4.3=Ä;dc=x", "Ä"),
        ] {
            assert_eq!(dn(text).name(), Some(name), "{text}");
        }
        assert_eq!((dn("").name(), dn("cn=a+ou=b,dc=x").name()), (None, None));
        for wrong in
            ["x", "=a", "cn=", "cn=a,", "cn=a,,dc=x", r"cn=a\", r"cn=\0", r"cn=\zz", r"cn=\ff", "cn=\"a,b\"", "cn=#04"]
        {
            assert_eq!(Dn::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_what_is_below_the_base_is_below_it() {
        let base = dn("ou=Groups, dc=Example,dc=com");
        for inside in ["cn=a,ou=groups,dc=example,dc=com", r"cn=a,ou=x,OU=Groups ,DC=example,dc=\63om"] {
            assert!(dn(inside).is_below(&base), "{inside}");
        }
        for outside in [
            "ou=groups,dc=example,dc=com",
            "cn=a,ou=toys,dc=example,dc=com",
            r"cn=a\,ou=groups\,dc=example\,dc=com",
            r"cn=a,ou=groups\,dc=example\,dc=com",
            "cn=a,ou=groups,dc=example,dc=com,dc=evil",
            "cn=a,ou=groups+cn=b,dc=example,dc=com",
        ] {
            assert!(!dn(outside).is_below(&base), "{outside}");
        }
        assert!(base.is_below(&dn("")) && dn("a=b+c=d,e=f").is_below(&dn("e=F")) && dn("a=b+c=d") == dn("C=D+a=B"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text in "[a-c=,+;\\\\# \"0-9é]{0,30}") {
            let _read = Dn::parse(&text);
        }
    }
}
