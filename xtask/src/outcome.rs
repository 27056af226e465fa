//! What each step of a test run came to, the table of it, and the closing line.

use crate::shell::{Tone, paint};

/// One row of the summary.
pub struct Row {
    pub step: String,
    pub counts: Counts,
    /// Why something failed or was skipped, or what was done.
    pub note: String,
    /// Skipped, although this machine could have it: a failure in CI.
    pub installable: bool,
}

/// How many checks ended how.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Counts {
    pub const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    pub const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };
    pub const NONE: Self = Self { passed: 0, failed: 0, skipped: 0 };

    /// Adds the numbers of one `test result:` line of cargo test; any other line adds nothing.
    pub fn add_line(&mut self, line: &str) {
        let Some((_, numbers)) = line.split_once("test result: ") else { return };
        for part in numbers.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

impl Row {
    pub fn new(step: impl Into<String>, counts: Counts, note: impl Into<String>) -> Self {
        Self { step: step.into(), counts, note: note.into(), installable: false }
    }

    /// Said at once and loudly, and again in the summary.
    pub fn skipped(step: impl Into<String>, why: impl Into<String>, installable: bool) -> Self {
        let row = Self { installable, ..Self::new(step, Counts::SKIPPED, why) };
        println!("{}", paint(Tone::Warn, &format!("skipped: {}: {}", row.step, row.note)));
        row
    }
}

/// Prints the table and the closing line. True if all is well.
pub fn summarize(rows: &mut [Row], ci: bool) -> bool {
    if ci {
        for row in rows.iter_mut().filter(|row| row.installable && row.counts.skipped > 0) {
            row.counts = Counts::FAILED;
            row.note.push_str(" (this machine could have it, and CI skips nothing that it could have)");
        }
    }
    let width = rows.iter().map(|row| row.step.len()).max().unwrap_or(0);
    println!("\n{}", paint(Tone::Heading, &format!("{:width$}  passed  failed  skipped", "step")));
    let mut total = Counts::default();
    for Row { step, counts, note, .. } in rows.iter() {
        let line = format!("{step:width$}  {:6}  {:6}  {:7}  {note}", counts.passed, counts.failed, counts.skipped);
        let tone = match counts {
            Counts { failed: 1.., .. } => Tone::Bad,
            Counts { skipped: 1.., .. } => Tone::Warn,
            _ => Tone::Good,
        };
        println!("{}", paint(tone, line.trim_end()));
        total.passed += counts.passed;
        total.failed += counts.failed;
        total.skipped += counts.skipped;
    }
    println!("\n{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    total.failed == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_lines_of_cargo_test_are_added_up() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.02s",
            "test result: \u{1b}[31mFAILED\u{1b}[m. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            counts.add_line(line);
        }
        assert_eq!(counts, Counts { passed: 5, failed: 1, skipped: 1 });
    }

    #[test]
    fn in_ci_what_could_have_been_installed_fails() {
        let skip = || Row { installable: true, ..Row::new("x", Counts::SKIPPED, "why") };
        assert!(summarize(&mut [skip()], false));
        assert!(!summarize(&mut [skip()], true));
    }
}
