//! Lengths of time for a person.

/// A length of time in its two largest units: `5s`, `12m`, `3h 5m`, `2d 1h`.
pub fn time(seconds: u64) -> String {
    let (first, second) = match seconds {
        0..60 => return format!("{seconds}s"),
        60..3600 => return format!("{}m", seconds / 60),
        3600..86_400 => ((seconds / 3600, 'h'), (seconds % 3600 / 60, 'm')),
        _ => ((seconds / 86_400, 'd'), (seconds % 86_400 / 3600, 'h')),
    };
    match second.0 {
        0 => format!("{}{}", first.0, first.1),
        _ => format!("{}{} {}{}", first.0, first.1, second.0, second.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_at_most_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (3600, "1h"),
            (7500, "2h 5m"),
            (86_400, "1d"),
            (180_000, "2d 2h"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }
}
