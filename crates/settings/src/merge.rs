//! Several files as one: mappings merge, lists append, later single values win. What Python's
//! yamlreader did for the 2015 tool.

use crate::yaml::{Node, Value};

/// Lays `later` over `earlier`.
pub fn merge(earlier: Node, later: Node) -> Node {
    match (earlier.value, later.value) {
        (Value::Map(mut entries), Value::Map(newer)) => {
            for (key, value) in newer {
                match entries.iter().position(|(known, _)| known.text == key.text) {
                    None => entries.push((key, value)),
                    Some(index) => {
                        let (old_key, old) = entries.remove(index);
                        // A message should point to the file that has the last word.
                        let key = if matches!(value.value, Value::Map(_)) { old_key } else { key };
                        entries.insert(index, (key, merge(old, value)));
                    }
                }
            }
            Node { value: Value::Map(entries), place: earlier.place }
        }
        (Value::List(mut items), Value::List(more)) => {
            items.extend(more);
            Node { value: Value::List(items), place: earlier.place }
        }
        (Value::List(mut items), value @ Value::Scalar { .. }) => {
            items.push(Node { value, place: later.place });
            Node { value: Value::List(items), place: earlier.place }
        }
        (_, value) => Node { value, place: later.place },
    }
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, sync::Arc};

    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::{problem::Source, yaml};

    fn node(value: &Json) -> Node {
        // JSON is YAML.
        let source = Arc::new(Source { name: PathBuf::from("x"), text: value.to_string() });
        yaml::read(&source).expect("legal").expect("not empty")
    }

    fn json(node: &Node) -> Json {
        match &node.value {
            Value::Binary(_) | Value::Any(_) => panic!("not made of JSON"),
            Value::Scalar { text, .. } => json!(text),
            Value::List(items) => items.iter().map(json).collect(),
            Value::Map(entries) => entries.iter().map(|(key, value)| (key.text.clone(), json(value))).collect(),
        }
    }

    /// The same in the words of another library.
    fn model(earlier: Json, later: Json) -> Json {
        match (earlier, later) {
            (Json::Object(mut old), Json::Object(new)) => {
                for (key, value) in new {
                    let merged = match old.remove(&key) {
                        Some(before) => model(before, value),
                        None => value,
                    };
                    old.insert(key, merged);
                }
                Json::Object(old)
            }
            (Json::Array(old), Json::Array(new)) => Json::Array([old, new].concat()),
            (Json::Array(old), new @ Json::String(_)) => Json::Array([old, vec![new]].concat()),
            (_, new) => new,
        }
    }

    fn tree() -> impl Strategy<Value = Json> {
        let leaf = "[a-z]{1,3}".prop_map(Json::from);
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                proptest::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn files_merge_as_yamlreader_merges_them(earlier in tree(), later in tree()) {
            prop_assert_eq!(json(&merge(node(&earlier), node(&later))), model(earlier, later));
        }
    }
}
