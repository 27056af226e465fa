//! The published schemas of what is printed with `--json`.

use std::{fs, path::Path};

use schemars::{JsonSchema, generate::SchemaSettings};

use crate::admin::{RolesDocument, SignInsDocument, Status};

/// Compares the schema of that name with the one that `T` has.
#[allow(clippy::disallowed_methods, reason = "a developer asks for rewriting through the environment")]
pub(super) fn compare<T: JsonSchema>(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schemas").join(format!("{name}.schema.json"));
    let schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>();
    let schema = format!("{:#}\n", schema.as_value());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, schema).expect("writable");
        return;
    }
    let published = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(published, schema, "run UPDATE_DOCS=1 cargo test --lib schema");
}

#[test]
fn the_schemas_of_the_daemons_documents_are_published() {
    compare::<Status>("status");
    compare::<RolesDocument>("roles");
    compare::<SignInsDocument>("whoami");
}
