//! The reason that a request has to carry for a role that is not given just so: in an emergency, or on approval.

use http::{HeaderMap, HeaderName};

use crate::rules::Grant;

/// The header with the reason.
pub(super) const REASON: HeaderName = HeaderName::from_static("x-alppaca-reason");
/// How a reason is given, for the end of a sentence.
pub(super) const HOW: &str = "with the reason in the header X-Alppaca-Reason (8 to 256 printable ASCII characters)";
/// How many characters a reason has: less is none, more is a report.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=256;

/// The reason that a request carries, or why it carries none.
pub fn reason(headers: &HeaderMap) -> Result<String, &'static str> {
    let mut given = headers.get_all(REASON).iter();
    let reason = match (given.next(), given.next()) {
        (Some(reason), None) => reason.as_bytes().trim_ascii(),
        (Some(_), Some(_)) => return Err("there are several reasons"),
        (None, _) => return Err("there is no reason"),
    };
    // Others could make the alert look like something else.
    let printable = reason.iter().all(|byte| (b' '..=b'~').contains(byte));
    match str::from_utf8(reason) {
        Ok(reason) if printable && LENGTHS.contains(&reason.len()) => Ok(reason.to_owned()),
        _ => Err("the reason is not 8 to 256 printable characters"),
    }
}

/// What a person has to do for a role that is given in an emergency only.
pub fn how_to_get(grant: &Grant) -> String {
    format!("{} is given in an emergency only: call again {HOW}. It raises an alert", grant.label())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_that_can_be_read() {
        let read = |values: &[&str]| {
            let header = |value: &&str| (REASON, value.parse().expect("a value"));
            reason(&values.iter().map(header).collect::<HeaderMap>()).ok()
        };
        for good in ["database is down, ticket 4711", "12345678", &"x".repeat(256)] {
            assert_eq!(read(&[good]).as_deref(), Some(good));
        }
        assert_eq!(read(&["  12345678  "]).as_deref(), Some("12345678"));
        for bad in ["", "1234567", "  1234567  ", &"x".repeat(257), "12345678\t9", "die Datenbank ist überlastet"] {
            assert_eq!(read(&[bad]), None, "{bad}");
        }
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn several_reasons_are_none() {
        let mut headers = HeaderMap::new();
        for reason in ["12345678", "87654321"] {
            headers.append(REASON, reason.parse().expect("a value"));
        }
        assert!(reason(&headers).is_err());
    }
}
