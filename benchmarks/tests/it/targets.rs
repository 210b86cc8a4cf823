//! The command that measures the targets.

use std::process::Command;

#[test]
fn a_folder_that_cannot_be_made_is_said_before_anything_is_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let ended = Command::new(env!("CARGO_BIN_EXE_stowage-bench"))
        .args(["targets", "second", "--seeds", "1", "--out"])
        .arg(file.join("results"))
        .output()
        .expect("the command runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && said.contains("cannot create"), "{said}");
    assert!(!said.contains("second batches") && ended.stdout.is_empty(), "it was measured first: {said}");
}
