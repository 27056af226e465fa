//! The configuration, as it is being written.

/// YAML, with comments at what changes or cannot be kept.
pub(super) struct Text(String);

impl Text {
    /// With a head: whose settings they were, and by which command they were translated.
    pub(super) fn new(tool: &str, command: &str) -> Self {
        let mut text = Self(String::new());
        text.line(&format!("# Translated from the settings of {tool} by `alppaca migrate {command}`."));
        text.line("# Lines that begin with `# !` show what changes and what could not be kept.");
        text.line("# Try it: alppaca check -c FILE");
        text
    }

    pub(super) fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    /// A comment, in one line whatever stands in a value.
    pub(super) fn note(&mut self, note: &str) {
        self.line(&format!("# ! {}", note.replace(|c: char| c.is_control(), " ")));
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}
