//! Moments as AWS writes them, and as upstreams may write them.

use jiff::{Timestamp, tz::Offset};

/// Reads an ISO 8601 moment with a zone: `Z`, `+00:00`, `+0000`, with or without a fraction.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok()
}

/// Writes a moment in the only form that every SDK reads: `2026-11-23T10:00:00Z`. A fraction is cut
/// off, so the written moment is never later than the true one.
///
/// botocore's static stability reads `%Y-%m-%dT%H:%M:%SZ` and nothing else
/// (`botocore/utils.py`, `_evaluate_expiration`).
pub fn format_timestamp(moment: Timestamp) -> String {
    let utc = Offset::UTC.to_datetime(moment);
    utc.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_of_a_moment_is_read() {
        for text in [
            "2026-11-23T10:00:00Z",
            "2026-11-23T10:00:00.000Z",
            "2026-11-23T10:00:00.987654321Z",
            "2026-11-23T11:00:00+01:00",
            "2026-11-23T10:00:00+0000",
            " 2026-11-23T10:00:00Z\n",
        ] {
            let moment = parse_timestamp(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(format_timestamp(moment), "2026-11-23T10:00:00Z", "{text}");
        }
    }

    #[test]
    fn what_names_no_moment_is_refused() {
        for text in ["", "tomorrow", "2026-11-23", "2026-11-23T10:00:00", "1795428000", "2026-13-01T00:00:00Z"] {
            assert_eq!(parse_timestamp(text), None, "{text}");
        }
    }
}
