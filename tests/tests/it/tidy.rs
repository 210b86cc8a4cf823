//! Goal: habits that no lint covers. Method: reading the sources as text.

use stowage_tests::{File, files, has_word};

/// No source file is longer.
const LINES_MAX: usize = 600;

/// Asserts that no line of code satisfies `bad`, and names those that do.
fn none(what: &str, files: &[File], bad: impl Fn(&str) -> bool) {
    let found: Vec<String> = files
        .iter()
        .flat_map(|file| file.code().map(move |(number, line)| (file, number, line)))
        .filter(|(_, _, line)| bad(line))
        .map(|(file, number, line)| format!("{}:{number}: {}", file.path, line.trim()))
        .collect();
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// Sources under any of these folders, this crate left out: its texts name what it forbids.
fn sources(folders: &[&str]) -> Vec<File> {
    let mut sources = files(".rs");
    sources
        .retain(|file| !file.path.starts_with("tests/") && folders.iter().any(|f| file.path.starts_with(f)));
    assert!(!sources.is_empty(), "no sources under {folders:?}");
    sources
}

#[test]
fn nothing_is_left_undone() {
    none("unfinished code", &sources(&[""]), |line| {
        ["todo!(", "unimplemented!(", "dbg!("].iter().any(|mark| line.contains(mark))
    });
}

#[test]
fn files_fit_in_a_head() {
    for file in files(".rs") {
        let lines = file.text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines, {LINES_MAX} are enough; split it", file.path);
    }
}

#[test]
fn models_and_checker_know_no_floats() {
    none("a float outside solver and rendering", &sources(&["models/src/", "planner/checker/"]), |line| {
        has_word(line, "f64") || has_word(line, "f32")
    });
}

#[test]
fn nothing_is_iterated_in_hash_order() {
    // Their order differs from run to run; sorted maps cost little at our sizes. None at all is the simplest rule.
    none("a hash map or set", &sources(&[""]), |line| has_word(line, "HashMap") || has_word(line, "HashSet"));
}

#[test]
fn only_programs_read_the_clock() {
    let mut pure = sources(&["models/", "planner/", "executor/"]);
    // What keeps up with a live cluster or talks to a cloud knows how old its view is; of the fake cloud the server alone.
    let program = [
        "planner/cli/",
        "executor/aws/",
        "executor/controller/",
        "executor/fake-cloud/src/server.rs",
        "executor/observe/",
    ];
    pure.retain(|file| !program.iter().any(|folder| file.path.starts_with(folder)) && !file.is_test());
    none("a clock outside programs and tests", &pure, |line| {
        has_word(line, "Instant") || has_word(line, "SystemTime")
    });
}

#[test]
fn pure_crates_read_no_environment_and_print_nothing() {
    let mut pure = sources(&["models/src/", "models/import/src/", "planner/src/", "planner/checker/src/"]);
    pure.retain(|file| !file.is_test());
    none("input or output in a pure crate", &pure, |line| {
        ["std::env::", "std::fs::", "std::net::", "println!(", "eprintln!(", "print!("]
            .iter()
            .any(|mark| line.contains(mark))
    });
}

#[test]
fn unsafe_code_is_in_the_solver_module_alone() {
    let mut others = sources(&[""]);
    others.retain(|file| file.path != "planner/src/lp.rs" && !file.path.starts_with("planner/src/lp/"));
    none("unsafe outside planner/src/lp.rs", &others, |line| {
        has_word(line, "unsafe") || line.contains("allow(unsafe_code") || line.contains("expect(unsafe_code")
    });
}

/// Crates whose documentation has no examples say so, because looking for some takes a compiler run each.
#[test]
fn examples_are_tested() {
    for manifest in files("Cargo.toml").iter().filter(|file| file.text.contains("doctest = false")) {
        let folder = manifest.path.trim_end_matches("Cargo.toml");
        for file in files(".rs").iter().filter(|file| file.path.starts_with(&format!("{folder}src/"))) {
            let fences = file.text.lines().map(str::trim).filter(|line| line.starts_with("//"));
            let fences =
                fences.filter_map(|line| line.trim_start_matches(['/', '!', ' ']).strip_prefix("```"));
            // Every other one ends what the one before begins.
            let opens: Vec<&str> = fences.step_by(2).collect();
            let is_code = |language: &&str| {
                language.is_empty() || language.contains("rust") || language.contains("run")
            };
            assert!(!opens.iter().any(is_code), "{}: an example, and doctest = false", file.path);
        }
    }
}
