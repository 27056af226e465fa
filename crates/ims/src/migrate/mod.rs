//! Other servers' configuration as ours. Pure: trees in, text out. What cannot be kept is said in comments that begin with
//! `# !`.

mod afp;
mod hologram;

use std::fmt::Write;

pub use afp::translate as from_afp;
pub use hologram::translate as from_hologram;

/// The text of a configuration that is being written.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "{line}");
    }

    /// Something that an administrator has to look at, in one line, whatever stands in a value.
    fn note(&mut self, note: &str) {
        self.line(&format!("# ! {}", note.replace(|c: char| c.is_control(), " ")));
    }
}
