//! Values as YAML, as `check` shows them.

/// A mapping in one line.
pub fn mapping(entries: Vec<(String, String)>) -> String {
    let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("{{{}}}", entries.join(", "))
}

/// A mapping below a key, one entry a line; `None` if there is none.
pub fn block<'a>(entries: impl Iterator<Item = (&'a str, String)>) -> Option<String> {
    let lines: Vec<String> = entries.map(|(name, value)| format!("\n  {}: {value}", quoted(name))).collect();
    (!lines.is_empty()).then(|| lines.concat())
}

/// A list in one line.
pub fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

/// A JSON string is a YAML string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
