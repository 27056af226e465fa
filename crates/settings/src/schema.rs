//! A JSON Schema (2020-12) of a configuration, made by its readers and the tables of its settings.

use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use crate::{
    Setting, read,
    reference::plain,
    shape::{Mapping, Shape, inquire},
    yaml::Node,
};

/// The schema of what `read` reads; otherwise the keys that it does not read. `read` is called again and again.
pub fn schema(title: &str, read: impl Fn(Node)) -> Result<Json, Vec<String>> {
    let shape = inquire(read)?;
    let mut schema = of_shape(&shape, None, false);
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("title".to_owned(), json!(title));
    }
    Ok(schema)
}

/// The forms of single values, as YAML 1.1 and 1.2 have them.
pub(crate) mod form {
    use serde_json::{Value as Json, json};

    /// Any single value: it is taken as it is written.
    pub(crate) fn text() -> Json {
        json!({"type": ["string", "number", "boolean"]})
    }

    /// A text with this form.
    pub(crate) fn like(pattern: &str) -> Json {
        json!({"type": "string", "pattern": pattern})
    }

    pub(crate) fn boolean() -> Json {
        json!({"anyOf": [{"type": "boolean"}, like(&any_case(&["true", "false", "yes", "no", "on", "off"]))]})
    }

    /// YAML may take its digits for a number.
    pub(crate) fn account() -> Json {
        json!({"anyOf": [{"type": "integer", "minimum": 0}, like("^[0-9]{12}$")]})
    }

    /// A text with this form, which YAML may take for a number or a boolean.
    pub(crate) fn name(pattern: &str) -> Json {
        json!({"anyOf": [like(pattern), {"type": ["number", "boolean"]}]})
    }

    pub(crate) fn role_name() -> Json {
        name("^[A-Za-z0-9_+=,.@-]+$")
    }

    pub(crate) fn whole_number(least: usize, most: usize) -> Json {
        json!({"anyOf": [{"type": "integer", "minimum": least, "maximum": most}, like("^\\s*\\+?[0-9]+\\s*$")]})
    }

    pub(crate) fn duration(least: f64) -> Json {
        durations(&json!({"type": "number", "minimum": least}))
    }

    pub(crate) fn duration_within(least: f64, most: f64) -> Json {
        durations(&json!({"type": "number", "minimum": least, "maximum": most}))
    }

    /// The unit of a text may be any.
    fn durations(seconds: &Json) -> Json {
        let digits = "^\\s*([0-9]+\\.?[0-9]*|\\.[0-9]+)\\s*(ms|s|m|h|d)?\\s*$";
        json!({"anyOf": [seconds, like(digits)]})
    }

    /// One of these words, in any case; what YAML 1.1 takes for a boolean, too.
    pub(crate) fn words(words: &[&str]) -> Json {
        let mut forms = vec![json!({"enum": words})];
        let truths = [(true, ["true", "yes", "on"]), (false, ["false", "no", "off"])];
        let truths: Vec<bool> = truths
            .iter()
            .filter(|(_, all)| words.iter().any(|word| all.contains(word)))
            .map(|(truth, _)| *truth)
            .collect();
        if !truths.is_empty() {
            forms.push(json!({"enum": truths}));
        }
        forms.push(like(&any_case(words)));
        json!({"anyOf": forms})
    }

    fn any_case(words: &[&str]) -> String {
        let letter = |letter: char| match letter {
            'a'..='z' | 'A'..='Z' => format!("[{}{}]", letter.to_ascii_uppercase(), letter.to_ascii_lowercase()),
            other if other.is_ascii_alphanumeric() || "_-".contains(other) => other.to_string(),
            other => format!("\\{other}"),
        };
        let words: Vec<String> = words.iter().map(|word| word.chars().map(letter).collect()).collect();
        format!("^\\s*({})\\s*$", words.join("|"))
    }
}

/// What may stand at one place. `empty`: also nothing, which is as if the key were not there.
fn of_shape(shape: &Shape, setting: Option<&Setting>, empty: bool) -> Json {
    let mut forms = forms(shape);
    let typed = setting.map(|setting| default(setting.default, &forms));
    if empty {
        forms.push(json!({"type": "null"}));
    }
    let mut schema = match forms.len() {
        1 => forms.pop().unwrap_or_default(),
        _ => json!({"anyOf": forms}),
    };
    if let (Some(setting), Some(object)) = (setting, schema.as_object_mut()) {
        describe(setting, object);
        if let Some(default) = typed.flatten() {
            object.insert("default".to_owned(), default);
        }
    }
    schema
}

fn describe(setting: &Setting, object: &mut Map<String, Json>) {
    let effect = if setting.needs_restart() { " Takes effect on restart." } else { "" };
    object.insert("description".to_owned(), json!(format!("{}{effect}", plain(setting.meaning))));
}

/// The alternatives.
fn forms(shape: &Shape) -> Vec<Json> {
    let seen = shape.seen();
    let mut all = Vec::new();
    for value in seen.values {
        match value.get("anyOf").and_then(Json::as_array) {
            Some(parts) => all.extend(parts.iter().cloned()),
            None => all.push(value),
        }
    }
    if let Some(items) = &seen.items {
        if seen.item_alone {
            for form in forms(items) {
                if !all.contains(&form) {
                    all.push(form);
                }
            }
        }
        let mut list = json!({"type": "array", "items": of_shape(items, None, may_be_nothing(items))});
        if seen.least_items > 0 {
            list["minItems"] = json!(seen.least_items);
        }
        all.push(list);
    }
    if let Some(named) = &seen.named {
        all.push(json!({"type": "object", "additionalProperties": of_shape(named, None, may_be_nothing(named))}));
    }
    if let Some(mapping) = &seen.mapping {
        all.push(Json::Object(of_mapping(mapping, &[], true)));
    }
    if !seen.kinds.is_empty() {
        let beside: Vec<(String, Json)> =
            seen.beside.iter().map(|(name, shape)| (name.clone(), of_shape(shape, None, true))).collect();
        let of_word = |word: &&'static str| seen.kinds.iter().find(|(known, _)| known == word);
        let kinds = seen.words.iter().filter_map(of_word).map(|(word, mapping)| {
            let kind = json!({"required": ["kind"], "properties": {"kind": {"const": word}}});
            json!({"if": kind, "then": of_mapping(mapping, &beside, false)})
        });
        all.push(json!({
            "type": "object", "required": ["kind"], "properties": {"kind": {"enum": seen.words}}, "allOf": kinds.collect::<Vec<_>>(),
        }));
    }
    all
}

/// Whether nothing can stand for a mapping without keys.
fn may_be_nothing(shape: &Shape) -> bool {
    shape.seen().mapping.is_some_and(|mapping| mapping.rules().need_nothing())
}

fn of_mapping(mapping: &Mapping, beside: &[(String, Json)], whole: bool) -> Map<String, Json> {
    let rules = mapping.rules();
    let needed: Vec<&str> = rules.needed().collect();
    let property = |(setting, shape): &(&'static Setting, Arc<Shape>)| {
        (setting.key.to_owned(), of_shape(shape, Some(setting), !needed.contains(&setting.key)))
    };
    let mut properties: Map<String, Json> = mapping.keys.iter().map(property).collect();
    properties.extend(beside.iter().cloned());
    if !whole {
        properties.insert("kind".to_owned(), json!(true));
    }
    let mut object = Map::new();
    if whole {
        object.insert("type".to_owned(), json!("object"));
    }
    object.insert("properties".to_owned(), Json::Object(properties));
    object.insert("additionalProperties".to_owned(), json!(false));
    if !needed.is_empty() {
        object.insert("required".to_owned(), json!(needed));
    }
    let excluded = rules.exclusions.iter().map(|[one, other]| {
        let message = format!("`{one}` replaces `{other}`; remove one");
        json!({"not": {"allOf": [given(one), given(other)]}, "errorMessage": message})
    });
    let paired = rules.pairs.iter().map(|[key, other]| {
        let message = format!("`{key}` has no effect without `{other}`");
        json!({"if": given(key), "then": given(other), "errorMessage": message})
    });
    let one_of = rules.one_of.iter().map(|keys| {
        let message = format!("one of {} is missing", keys.join(", "));
        json!({"anyOf": keys.iter().map(|key| given(key)).collect::<Vec<_>>(), "errorMessage": message})
    });
    let all: Vec<Json> = excluded.chain(paired).chain(one_of).collect();
    if !all.is_empty() {
        object.insert("allOf".to_owned(), json!(all));
    }
    object
}

/// That a key is there and not empty.
fn given(key: &str) -> Json {
    json!({"required": [key], "properties": {key: {"not": {"type": "null"}}}})
}

/// A default of the table as one of these forms.
fn default(text: &str, forms: &[Json]) -> Option<Json> {
    let is = |kind: &str| forms.iter().any(|form| form.get("type").is_some_and(|known| *known == json!(kind)));
    match text {
        "" => None,
        "[]" => Some(json!([])),
        _ if is("boolean") => read::parse_boolean(text).map(Json::from),
        _ if is("integer") => text.parse::<u64>().ok().map(Json::from),
        _ => Some(json!(text)),
    }
}
