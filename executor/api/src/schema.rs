//! What derived JSON schemas lack to be schemas of the Kubernetes API: CEL rules, and the structural form that the API server
//! asks for.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// A CEL rule and what a user reads whose object breaks it.
pub(crate) type Rule = (&'static str, &'static str);

/// Key of a label, taint or requirement: an optional DNS prefix and a name.
pub(crate) const QUALIFIED_NAME: &str = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*(\/))?([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$";
/// Value of a label.
pub(crate) const LABEL_VALUE: &str = "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$";
/// A duration in hours, minutes, seconds.
pub(crate) const DURATION: &str = "^([0-9]+(s|m|h))+$";
/// A duration, or `Never`.
pub(crate) const DURATION_OR_NEVER: &str = "^(([0-9]+(s|m|h))+|Never)$";
/// A Kubernetes quantity.
pub(crate) const QUANTITY: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// Adds CEL rules.
pub(crate) fn rules(schema: &mut Schema, rules: &[Rule]) {
    let object = schema.ensure_object();
    let list = object.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
    if let Value::Array(list) = list {
        list.extend(rules.iter().map(|(rule, message)| json!({ "message": message, "rule": rule })));
    }
}

/// Sets keywords.
pub(crate) fn set(schema: &mut Schema, keywords: Value) {
    if let Value::Object(keywords) = keywords {
        schema.ensure_object().extend(keywords);
    }
}

/// The schema below `path` (names of keywords), as something rules can be added to.
pub(crate) fn at(schema: &mut Schema, path: &[&str], change: impl FnOnce(&mut Schema)) {
    let mut place = Some(schema.ensure_object());
    for key in path {
        place = place.and_then(|object| object.get_mut(*key)).and_then(Value::as_object_mut);
    }
    if let Some(object) = place {
        let mut inner = Schema::from(std::mem::take(object));
        change(&mut inner);
        *object = std::mem::take(inner.ensure_object());
    }
}

/// The structural schema of a type.
pub(crate) fn structural<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
        // Null is no value of the API: absent is.
        settings.transforms.clear();
    });
    let mut value = settings.into_generator().into_root_schema_for::<T>().to_value();
    clean(&mut value);
    value
}

/// Removes what the API server refuses or ignores: titles, null as a type, references that are none.
fn clean(value: &mut Value) {
    let Value::Object(object) = value else {
        if let Value::Array(list) = value {
            list.iter_mut().for_each(clean);
        }
        return;
    };
    object.remove("title");
    object.remove("$schema");
    without_null(object);
    let description = object.get_mut("description");
    if let Some(Value::String(text)) = description {
        // Lines of a doc comment are wrapped for the source, paragraphs are for the reader.
        *text = text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n\n");
    }
    for (key, inner) in object.iter_mut() {
        match (key.as_str(), inner) {
            // Names of fields are no keywords.
            ("properties", Value::Object(fields)) => fields.values_mut().for_each(clean),
            ("default" | "enum" | "required" | "x-kubernetes-validations", _) => {}
            (_, inner) => clean(inner),
        }
    }
}

/// `Option<T>` is described as `T` or null; in the API it is `T` or nothing.
fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get("type") {
        let types: Vec<&Value> = types.iter().filter(|one| **one != json!("null")).collect();
        if let [only] = types[..] {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let Some(Value::Array(any)) = object.get_mut("anyOf") else { return };
    let null = |one: &Value| {
        one.get("type") == Some(&json!("null"))
            || one.get("enum").is_some_and(|values| *values == json!([null]))
    };
    let before = any.len();
    any.retain(|one| !null(one));
    if any.len() < before
        && let [Value::Object(only)] = &any[..]
    {
        let only = only.clone();
        object.remove("anyOf");
        for (key, inner) in only {
            object.entry(key).or_insert(inner);
        }
    }
}
