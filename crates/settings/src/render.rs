//! Values as YAML, as `check` shows them.

use std::{path::PathBuf, time::Duration};

use alppaca_core::credentials::{AccountId, Pattern, RoleName, Secret};

use crate::{Rendered, read::render_duration};

/// A mapping in one line.
pub fn mapping(entries: Vec<(String, String)>) -> String {
    let entries: Vec<String> = entries.into_iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("{{{}}}", entries.join(", "))
}

/// Options as a mapping in one line.
pub fn entries(options: &impl Rendered) -> String {
    mapping(options.render().into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
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

/// A value as YAML, as its type has it.
pub trait AsYaml {
    /// The value; `None` if there is none, so that its key is left out.
    fn as_yaml(&self) -> Option<String>;
}

impl<T: AsYaml> AsYaml for Option<T> {
    fn as_yaml(&self) -> Option<String> {
        self.as_ref().and_then(T::as_yaml)
    }
}

impl<T: AsYaml> AsYaml for Vec<T> {
    fn as_yaml(&self) -> Option<String> {
        Some(list(self.iter().filter_map(T::as_yaml)))
    }
}

/// A secret is never shown.
impl AsYaml for Secret {
    fn as_yaml(&self) -> Option<String> {
        Some(quoted("***"))
    }
}

/// Implements [`AsYaml`] for types that always have a value.
macro_rules! as_yaml {
    ($($type:ty: $written:expr;)*) => { $(
        impl AsYaml for $type {
            fn as_yaml(&self) -> Option<String> {
                let written: fn(&Self) -> String = $written;
                Some(written(self))
            }
        }
    )* };
}

as_yaml! {
    bool: Self::to_string;
    u16: Self::to_string;
    usize: Self::to_string;
    Duration: |duration| render_duration(*duration);
    String: |text| quoted(text);
    PathBuf: |path| quoted(&path.to_string_lossy());
    AccountId: |account| quoted(account.as_str());
    Pattern: |pattern| quoted(pattern.as_str());
    RoleName: |name| quoted(name.as_str());
}
