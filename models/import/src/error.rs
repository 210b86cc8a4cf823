//! Building [`ImportError`]s: where, what, and what to do about it.

use crate::ImportError;
use serde::Deserialize;

/// What helps with most broken exports.
pub(crate) const EXPORT_HINT: &str = "export again, for example: kubectl get pods,nodes,nodepools,nodeclaims,ec2nodeclasses,daemonsets -A -o json";

impl ImportError {
    pub(crate) fn new(place: &str, message: impl Into<String>, hint: impl Into<String>) -> ImportError {
        ImportError { place: place.to_owned(), message: message.into(), hint: hint.into() }
    }
}

/// Reads `json` as a `T`, naming the field at fault behind `place`; `kind` is for the hint.
pub(crate) fn typed<'de, T: Deserialize<'de>>(
    json: &'de str,
    place: &str,
    kind: &str,
) -> Result<T, ImportError> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { place.to_owned() } else { format!("{place}: {path}") };
        ImportError::new(&place, without_position(error.inner()), field_hint(kind, &path))
    })
}

/// The message without `at line 1 column 7`: items are read as slices, so the position would mislead; the object and
/// the path say where.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// Points at the API documentation of the field's neighbourhood: its first two path segments exist in every kind.
fn field_hint(kind: &str, path: &str) -> String {
    let mut field = kind.to_lowercase();
    for segment in path.split('.').filter(|segment| !segment.is_empty()).take(2) {
        field.push('.');
        field.push_str(segment.split('[').next().unwrap_or(segment));
    }
    format!("correct this field or leave the object out; `kubectl explain {field}` says what the API accepts")
}
