//! The plan itself, as JSON or YAML, laid out so that people can read it and `git diff` shows what changed.

use serde::Serialize;

/// Widest line an object or list may share. Rows of the certificate and alternates fit; lists of pods do not and get a
/// line per pod, which is what a diff wants.
const LINE_MAX: usize = 110;

/// Indentation per level.
const INDENT: usize = 2;

/// JSON in which whatever fits on a line is on one line. The same value gives the same bytes.
///
/// # Panics
/// Never for the types of the models: all their map keys are strings.
#[must_use]
pub fn json<T: Serialize>(value: &T) -> String {
    let compact = serde_json::to_string(value).expect("models serialise to JSON");
    let mut layout =
        Layout { source: compact.as_bytes(), at: 0, text: String::with_capacity(compact.len() * 2) };
    layout.value(0, 0);
    layout.text.push('\n');
    layout.text
}

/// YAML; the same value gives the same bytes.
///
/// # Panics
/// Never for the types of the models, which hold nothing that YAML lacks.
#[must_use]
pub fn yaml<T: Serialize>(value: &T) -> String {
    let mut text = serde_saphyr::to_string(value).expect("models serialise to YAML");
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Lays out compact JSON again, reading it once from the front (and each value's length ahead).
struct Layout<'a> {
    source: &'a [u8],
    at: usize,
    text: String,
}

impl Layout<'_> {
    /// Writes the value at `at`; `column` characters of the line are already used.
    fn value(&mut self, depth: usize, column: usize) {
        let end = self.end_of_value();
        let is_list = matches!(self.source[self.at], b'{' | b'[');
        // The blanks after commas and colons and the comma that follows are a few characters at most.
        if !is_list || column + spaced_length(&self.source[self.at..end]) < LINE_MAX {
            self.copy_spaced(end);
            return;
        }
        let (open, close) = (self.source[self.at], self.source[end - 1]);
        self.text.push(char::from(open));
        self.at += 1;
        while self.at < end - 1 {
            self.line_break(depth + 1);
            let mut column = (depth + 1) * INDENT;
            if open == b'{' {
                let key_end = self.end_of_value();
                column += key_end - self.at + 2;
                self.copy_spaced(key_end);
                self.text.push_str(": ");
                self.at += 1;
            }
            self.value(depth + 1, column);
            if self.source[self.at] == b',' {
                self.text.push(',');
                self.at += 1;
            }
        }
        self.line_break(depth);
        self.text.push(char::from(close));
        self.at = end;
    }

    fn line_break(&mut self, depth: usize) {
        self.text.push('\n');
        self.text.push_str(&" ".repeat(depth * INDENT));
    }

    /// Copies up to `end` with a blank after each comma and colon outside strings.
    fn copy_spaced(&mut self, end: usize) {
        let slice = &self.source[self.at..end];
        let (mut start, mut in_string, mut escaped) = (0, false, false);
        for (at, byte) in slice.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = !in_string,
                b',' | b':' if !in_string => {
                    self.text.push_str(&String::from_utf8_lossy(&slice[start..=at]));
                    self.text.push(' ');
                    start = at + 1;
                }
                _ => {}
            }
        }
        self.text.push_str(&String::from_utf8_lossy(&slice[start..]));
        self.at = end;
    }

    /// Where the value at `at` ends.
    fn end_of_value(&self) -> usize {
        let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
        for (offset, byte) in self.source[self.at..].iter().enumerate() {
            let at = self.at + offset;
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' if in_string && depth == 0 => return at + 1,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 0 => return at,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        return at + 1;
                    }
                }
                b',' | b':' if depth == 0 => return at,
                _ => {}
            }
        }
        self.source.len()
    }
}

fn spaced_length(compact: &[u8]) -> usize {
    compact.len() + compact.iter().filter(|byte| matches!(byte, b',' | b':')).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json as value};

    #[test]
    fn layout_keeps_the_value() {
        let long = "x".repeat(LINE_MAX);
        for case in [
            value!({}),
            value!([]),
            value!({"a": [], "b": {}, "c": "x, y: \"z\" \\ [{"}),
            value!({"list": [long, "é,", {"deep": [long, [1, 2, -3]]}], "after": null}),
            value!([[[long]], true, 1.5]),
        ] {
            let text = json(&case);
            let again: Value = serde_json::from_str(&text).expect("valid JSON");
            assert_eq!(again, case, "{text}");
        }
    }

    #[test]
    fn short_things_share_a_line_and_long_lists_do_not() {
        let pods: Vec<String> = (0..20).map(|at| format!("default/web-{at}")).collect();
        let text = json(&value!({"row": {"pod": "default/web-1", "pods": 3}, "pods": pods}));
        assert!(text.contains("  \"row\": {\"pod\": \"default/web-1\", \"pods\": 3}"), "{text}");
        assert!(text.contains("    \"default/web-7\",\n"), "{text}");
    }
}
