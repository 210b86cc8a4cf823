//! What the repository-wide tests share: where the workspace is and what is in it.

use std::path::{Path, PathBuf};

/// The root of the workspace.
///
/// # Panics
/// Never: this crate lies one level below it.
#[must_use]
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("tests/ is in the workspace").to_path_buf()
}

/// A text file of the workspace.
#[derive(Clone, Debug)]
pub struct File {
    /// Path from the root, with `/`.
    pub path: String,
    /// Content.
    pub text: String,
}

/// All files of the workspace whose name ends in `suffix`, sorted by path. Build output and hidden folders other than
/// `.ci` are left out.
///
/// # Panics
/// If a folder or file cannot be read.
#[must_use]
pub fn files(suffix: &str) -> Vec<File> {
    let mut found = Vec::new();
    collect(&root(), "", suffix, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn collect(folder: &Path, prefix: &str, suffix: &str, found: &mut Vec<File>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the workspace") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("file names are UTF-8");
        let path = format!("{prefix}{name}");
        let hidden = name.starts_with('.') && name != ".ci";
        if hidden || name == "target" || path == "benchmarks/out" {
            continue;
        }
        if entry.file_type().expect("a file type").is_dir() {
            collect(&entry.path(), &format!("{path}/"), suffix, found);
        } else if name.ends_with(suffix) {
            let text =
                std::fs::read_to_string(entry.path()).unwrap_or_else(|error| panic!("{path}: {error}"));
            found.push(File { path, text });
        }
    }
}

impl File {
    /// Lines of code with their numbers from 1: comments are cut off. A `//` inside a string ends the line early, which
    /// is harmless for what these tests look for.
    pub fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let cut = |line: &'_ str| line.find("//").unwrap_or(line.len());
        self.text.lines().enumerate().map(move |(index, line)| (index + 1, &line[..cut(line)]))
    }

    /// Whether it is test code: under a `tests` folder, or a module of that name.
    #[must_use]
    pub fn is_test(&self) -> bool {
        self.path.split('/').any(|part| part == "tests" || part == "tests.rs")
    }
}

/// Whether `word` occurs in `line` with no letter, digit or underscore on either side.
#[must_use]
pub fn has_word(line: &str, word: &str) -> bool {
    let part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    line.match_indices(word).any(|(start, _)| {
        let bytes = line.as_bytes();
        let before = start.checked_sub(1).and_then(|index| bytes.get(index));
        !part(before) && !part(bytes.get(start + word.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_whole() {
        assert!(has_word("let x: f64 = 0;", "f64") && !has_word("visit_f64(x)", "f64"));
    }

    #[test]
    fn comments_are_no_code() {
        let file = File { path: String::new(), text: "a // b\nc".to_owned() };
        assert_eq!(file.code().collect::<Vec<_>>(), [(1, "a "), (2, "c")]);
    }
}
