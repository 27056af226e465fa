//! What a configuration may be, for editors.

use alppaca_settings::schema;
use serde_json::Value as Json;

use super::build;

/// The JSON Schema of a configuration; otherwise the keys that nothing reads.
pub fn schema() -> Result<Json, Vec<String>> {
    schema::schema("The configuration of alppaca", |node| drop(build::config(Some(node))))
}
