//! Claims as texts, so that rules can match them.

use std::collections::BTreeMap;

use alppaca_jwt::Claims;
use serde_json::Value;

/// The deepest claim.
const MAX_DEPTH: usize = 8;

/// Each claim with its values. A claim inside of another is named with a dot: `kubernetes.io.namespace`. The error is a
/// text for the client.
pub(super) fn flatten(claims: &Claims) -> Result<BTreeMap<String, Vec<String>>, String> {
    let mut flat = BTreeMap::new();
    for (name, value) in claims {
        add(&mut flat, name.clone(), value, MAX_DEPTH)?;
    }
    Ok(flat)
}

fn add(flat: &mut BTreeMap<String, Vec<String>>, name: String, value: &Value, depth: usize) -> Result<(), String> {
    let Some(depth) = depth.checked_sub(1) else { return Err("the claims of the token are too deep".to_owned()) };
    if let Value::Object(inner) = value {
        return inner.iter().try_for_each(|(key, value)| add(flat, format!("{name}.{key}"), value, depth));
    }
    let values = match value {
        Value::Array(items) => items.iter().filter_map(text).collect(),
        single => text(single).into_iter().collect(),
    };
    // Which of two is meant by `a.b`, if there are also `b` in `a`, must not depend on their order.
    match flat.insert(name, values) {
        None => Ok(()),
        Some(_) => Err("two claims of the token have the same name with dots".to_owned()),
    }
}

/// What is in a list inside of a list is not matched by any rule.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
