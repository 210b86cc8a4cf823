//! YAML to JSON text, so that there is one reader for both and both give the same snapshot and the same messages.

use crate::ImportError;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Budget, Options};
use std::fmt;

/// Deepest nesting accepted. Kubernetes objects stay below 40; serde_json refuses 128.
const DEPTH_MAX: usize = 100;

/// Transcribes every document of a YAML stream; empty documents are left out.
pub(crate) fn documents(name: &str, text: &str) -> Result<Vec<String>, ImportError> {
    let documents: Vec<JsonText> = serde_saphyr::from_str_multiple_with_options(text, options(text.len()))
        .map_err(|error| {
            let place = match error.location() {
                Some(location) => format!("{name}: line {}, column {}", location.line(), location.column()),
                None => name.to_owned(),
            };
            let message = error.to_string();
            let message =
                message.lines().next().unwrap_or("unreadable").trim_start_matches("error: ").to_owned();
            let hint = "give kubectl's output with -o json or -o yaml; its plain table cannot be read";
            ImportError::new(&place, format!("not valid YAML: {message}"), hint)
        })?;
    Ok(documents.into_iter().map(|document| document.0).collect())
}

/// Counters may grow with the text itself (each event takes at least a byte of it) but never through aliases, whose
/// limits stay at the parser's defaults; a bomb of aliases is refused before it expands.
fn options(len: usize) -> Options {
    let room = len.saturating_add(1024);
    let budget: Option<Budget> = serde_saphyr::budget! {
        max_depth: DEPTH_MAX,
        flow_nesting_limit: DEPTH_MAX,
        max_events: room.saturating_mul(2),
        max_nodes: room.saturating_mul(2),
        max_total_scalar_bytes: room.saturating_mul(2),
        max_documents: room,
    };
    serde_saphyr::options! {
        budget: budget,
        with_snippet: false,
        // Kubernetes reads YAML 1.2 booleans as kubectl prints them; `yes` in a label is a string.
        strict_booleans: true,
    }
}

/// One document as JSON.
struct JsonText(String);

impl<'de> serde::Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<JsonText, D::Error> {
        let mut json = Vec::new();
        Transcribe(&mut json).deserialize(deserializer)?;
        String::from_utf8(json).map(JsonText).map_err(D::Error::custom)
    }
}

/// Writes whatever comes as JSON to the buffer.
struct Transcribe<'b>(&'b mut Vec<u8>);

impl Transcribe<'_> {
    fn scalar<E: serde::de::Error>(self, value: impl serde::Serialize) -> Result<(), E> {
        serde_json::to_writer(self.0, &value).map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Transcribe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Transcribe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value that JSON can express")
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        if value.is_finite() { self.scalar(value) } else { Err(E::custom("the number is out of range")) }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.scalar(value)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar(())
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        self.0.push(b'[');
        let start = self.0.len();
        loop {
            let before = self.0.len();
            if before > start {
                self.0.push(b',');
            }
            if items.next_element_seed(Transcribe(self.0))?.is_none() {
                self.0.truncate(before);
                break;
            }
        }
        self.0.push(b']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        self.0.push(b'{');
        let mut first = true;
        while let Some(Key(key)) = entries.next_key()? {
            if !first {
                self.0.push(b',');
            }
            first = false;
            serde_json::to_writer(&mut *self.0, &key).map_err(A::Error::custom)?;
            self.0.push(b':');
            entries.next_value_seed(Transcribe(self.0))?;
        }
        self.0.push(b'}');
        Ok(())
    }
}

/// A key; JSON has only text here, so scalars are taken as they read (`1:`, `true:`).
struct Key(String);

impl<'de> serde::Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        String::deserialize(deserializer).map(Key)
    }
}
