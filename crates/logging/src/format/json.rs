//! A record as one line of JSON (`log_format: json`).

use std::fmt::Write;

use super::Record;

/// Appends a record to `line`, without a line end.
pub(super) fn render(record: &Record, line: &mut String) {
    // Writing to a String cannot fail.
    let _infallible = write!(line, "{{\"time\":\"{:.6}\",\"level\":\"{}\"", record.created, record.level.word());
    for (name, value) in [("logger", record.name), ("message", record.message)] {
        push_member(name, value, line);
    }
    for field in record.fields.iter() {
        if field.is_number {
            let _infallible = write!(line, ",\"{}\":{}", field.name, field.value);
        } else {
            push_member(field.name, field.value, line);
        }
    }
    line.push('}');
}

fn push_member(name: &str, value: &str, line: &mut String) {
    let _infallible = write!(line, ",\"{name}\":\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => line.extend(['\\', character]),
            // Messages have none, but a file name could.
            '\0'..' ' => {
                let _infallible = write!(line, "\\u{:04x}", u32::from(character));
            }
            _ => line.push(character),
        }
    }
    line.push('"');
}
