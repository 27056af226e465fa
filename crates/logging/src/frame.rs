//! What is put around the text of a record for where it goes.

use super::{
    format::{Format, Record},
    journal,
    syslog::Priority,
};

/// What is put around a formatted line.
#[derive(Debug, Clone)]
pub(super) enum Frame {
    /// The line and its end.
    Line(Format),
    /// The fields of an entry of the journal.
    Entry { format: Format, identifier: String },
    /// `<N>` of the journal before it, and its end: for a journal that is reached by stderr only.
    Journal(Format),
    /// A syslog packet: the priority before it, `end` behind it.
    Syslog { format: Format, priority: Priority, end: &'static str },
    /// A line of JSON. Only what the log has to say of itself is rendered by it.
    Json { before: &'static str, end: &'static str },
}

impl Frame {
    pub(super) fn render(&self, record: &Record, line: &mut String) {
        match self {
            Self::Line(format) => {
                format.render(record, line);
                line.push('\n');
            }
            Self::Entry { format, identifier } => journal::render(format, identifier, record, line),
            Self::Journal(format) => {
                Priority::push_severity(record.level, line);
                format.render(record, line);
                line.push('\n');
            }
            Self::Syslog { format, priority, end } => {
                priority.push(record.level, line);
                format.render(record, line);
                line.push_str(end);
            }
            Self::Json { before, end } => {
                let notice = serde_json::json!({
                    "time": record.created.to_string(),
                    "event": "notice",
                    "message": record.message,
                });
                line.push_str(before);
                line.push_str(&notice.to_string());
                line.push_str(end);
            }
        }
    }
}
