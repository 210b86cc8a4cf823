//! Goal: documents that stay true. Method: every path they mention exists, every command of the README can be run.

use std::os::unix::fs::PermissionsExt as _;
use stowage_tests::{File, files, root};

/// Folders at the top; a word in a document that begins with one of them is taken for a path.
const FOLDERS: [&str; 8] =
    ["models/", "planner/", "executor/", "benchmarks/", "charts/", "docs/", "tests/", ".ci/"];

/// Documents for people.
fn documents() -> Vec<File> {
    let documents = files(".md");
    assert!(documents.iter().any(|file| file.path == "README.md"));
    assert!(documents.iter().any(|file| file.path == "ARCHITECTURE.md"));
    documents
}

/// Words between spaces, quotes and brackets; a full stop or comma at the end is no part of them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let ends = |c: char| c.is_whitespace() || "`'\"()[]{}<>|,;".contains(c);
    text.split(ends).map(|word| word.trim_end_matches(['.', ':']).trim_start_matches("./"))
}

#[test]
fn documents_mention_existing_paths_only() {
    for document in documents() {
        for word in words(&document.text) {
            let is_path = FOLDERS.iter().any(|folder| word.starts_with(folder));
            // A glob stands for many files, `...` for whatever comes; `benchmarks/out` is where runs write.
            let stands_for_others = word.contains(['*', '$']) || word.contains("...");
            if is_path && !stands_for_others && !word.starts_with("benchmarks/out") {
                // `path#anchor` and `path:line` point into a file.
                let path = word.split(['#', ':']).next().unwrap_or(word);
                assert!(
                    root().join(path).exists(),
                    "{} mentions {path}, which does not exist",
                    document.path
                );
            }
        }
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in documents() {
        let folder = root().join(&document.path).parent().expect("a folder").to_path_buf();
        for link in document.text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or(link);
            if !path.is_empty() && !path.contains("://") {
                assert!(folder.join(path).exists(), "{} links to {path}", document.path);
            }
        }
    }
}

#[test]
fn the_readme_commands_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let commands: Vec<&str> = readme.lines().filter(|line| line.starts_with(".ci/")).collect();
    let programs: Vec<&str> =
        commands.iter().filter_map(|command| command.split_whitespace().next()).collect();
    // Two to begin with, and the lab's three.
    assert_eq!(programs, [".ci/demo", ".ci/test", ".ci/lab", ".ci/lab", ".ci/lab"], "{commands:?}");
    for command in commands {
        let program = command.split_whitespace().next().expect("a word");
        let mode = std::fs::metadata(root().join(program)).expect(program).permissions().mode();
        assert!(mode & 0o111 != 0, "{program} is not executable");
    }
}

#[test]
fn setup_does_not_take_the_arguments_of_scripts_for_its_own() {
    // Bash hands them to a sourced script that is given none.
    for script in [".ci/demo", ".ci/lab"] {
        let text = std::fs::read_to_string(root().join(script)).expect(script);
        assert!(text.contains(". .ci/setup"), "{script} prepares the machine");
        let bare = text.lines().any(|line| line.trim() == ". .ci/setup");
        assert!(!bare, "{script} takes arguments, so it sources .ci/setup in a function");
    }
}

#[test]
fn continuous_integration_runs_the_readme_command() {
    let run = std::fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    let commands: Vec<&str> =
        run.lines().filter(|line| !line.starts_with('#') && !line.starts_with("set ")).collect();
    assert_eq!(commands, ["cd \"$(dirname \"$0\")/..\"", ".ci/test"], "nothing but the test command");
}
