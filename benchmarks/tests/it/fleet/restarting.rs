//! Goal: a run that was killed, interrupted or overtaken by changes does what is missing, and only that.

use super::support::{edit, fleet, merged, part_of, said, snapshots, write_snapshot};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use stowage_bench::fleet::part::Lock;

/// Runs everything and expects these counts.
fn run(folder: &Path, out: &Path, more: &[&str], kept: u64, done: u64) {
    let (code, text) = said(fleet(folder, out, more));
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("{kept} kept, {done} done now, 0 of them failed")), "{text}");
}

#[test]
fn only_what_is_missing_or_changed_is_done_again() {
    let (folder, out) = (snapshots(6), tempfile::tempdir().expect("a folder"));
    let (folder, out) = (folder.path(), out.path());
    run(folder, out, &[], 0, 6);
    let whole = merged(out).1;
    run(folder, out, &[], 6, 0);

    // A kill in the middle of a line.
    let part = part_of(out, 0, 1);
    let text = std::fs::read_to_string(&part).expect("a part");
    std::fs::write(&part, &text[..text.len() - 30]).expect("a part");
    run(folder, out, &[], 5, 1);
    // A kill in the middle of the very first line.
    std::fs::write(&part, &text[..10]).expect("a part");
    run(folder, out, &[], 0, 6);
    // A machine that lost what a file system had only promised.
    edit(&part, |lines| lines[3] = "\0".repeat(50));
    run(folder, out, &[], 5, 1);
    assert_eq!(merged(out).1, whole);

    write_snapshot(&folder.join("2.json"), 77);
    run(folder, out, &[], 5, 1);
    write_snapshot(&folder.join("new.json"), 78);
    run(folder, out, &[], 6, 1);
    std::fs::remove_file(folder.join("new.json")).expect("it is there");
    run(folder, out, &[], 6, 0);
    run(folder, out, &["--gap", "0.3"], 0, 6);
    run(folder, out, &["--gap", "0.3", "--no-resume"], 0, 6);
}

#[test]
fn a_bad_file_is_a_result_and_stops_nothing() {
    let (folder, out) = (snapshots(3), tempfile::tempdir().expect("a folder"));
    let (folder, out) = (folder.path(), out.path());
    std::fs::write(folder.join("bad.json"), "{\"kind\": \"Pod\"").expect("a file");
    std::fs::write(folder.join("bad.yaml.zst"), "no zstd").expect("a file");
    std::fs::write(folder.join("notes.txt"), "not looked at").expect("a file");
    std::os::unix::fs::symlink("/nowhere.json", folder.join("broken-link.json")).expect("a link");
    let (code, text) = said(fleet(folder, out, &[]));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("0 kept, 6 done now, 3 of them failed"), "{text}");
    let (code, rows, text) = merged(out);
    assert_eq!((code, rows.len()), (1, 6), "{text}");
    for (name, why) in
        [("bad.json", "bad.json"), ("bad.yaml.zst", "plain text"), ("broken-link.json", "cannot be read")]
    {
        let told = |line: &&str| line.starts_with(&format!("| {name} |")) && line.contains(why);
        assert!(text.lines().any(|line| told(&line)), "{name}: {text}");
    }
    // Failures are tried again, the others are not.
    write_snapshot(&folder.join("bad.json"), 9);
    let (code, text) = said(fleet(folder, out, &[]));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("3 kept, 3 done now, 2 of them failed"), "{text}");
}

#[test]
fn a_signal_finishes_what_is_under_way() {
    const COUNT: usize = 24;
    let (folder, out) = (snapshots(COUNT as u64), tempfile::tempdir().expect("a folder"));
    let (folder, out) = (folder.path(), out.path());
    let mut child =
        fleet(folder, out, &["--threads", "1"]).stderr(Stdio::null()).spawn().expect("stowage-bench runs");
    let part = part_of(out, 0, 1);
    let lines = || std::fs::read_to_string(&part).map_or(0, |text| text.lines().count());
    let start = Instant::now();
    while lines() < 2 {
        assert!(start.elapsed() < Duration::from_secs(60), "no first result");
        std::thread::sleep(Duration::from_millis(1));
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    let code = child.wait().expect("it ends").code();
    assert_eq!(code, Some(130));
    let text = std::fs::read_to_string(&part).expect("a part");
    let done = text.lines().count() - 1;
    assert!(text.ends_with('\n') && done < COUNT, "{done} of {COUNT}");
    let (code, said) = said(fleet(folder, out, &[]));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("{done} kept, {} done now", COUNT - done)), "{done}: {said}");
}

#[test]
fn two_processes_do_not_write_one_part() {
    let (folder, out) = (snapshots(2), tempfile::tempdir().expect("a folder"));
    let lock = Lock::take(out.path(), 0, 1).expect("nobody has it");
    let (code, text) = said(fleet(folder.path(), out.path(), &[]));
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("another process is writing"), "{text}");
    drop(lock);
    run(folder.path(), out.path(), &[], 0, 2);
}

#[test]
fn what_cannot_be_done_says_why() {
    let out = tempfile::tempdir().expect("a folder");
    let empty = tempfile::tempdir().expect("a folder");
    let says = |command: Command, wanted: &str| {
        let (code, text) = said(command);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(wanted), "{text}");
    };
    says(fleet(empty.path(), out.path(), &[]), "no snapshots in");
    says(fleet(Path::new("/nowhere"), out.path(), &[]), "cannot list /nowhere");
    let folder = snapshots(1);
    says(fleet(folder.path(), Path::new("/proc/nowhere"), &[]), "cannot create /proc/nowhere");
    says(fleet(folder.path(), out.path(), &["--of", "3"]), "pass --index or set JOB_COMPLETION_INDEX");
    let mut pod = fleet(folder.path(), out.path(), &["--of", "3"]);
    pod.env("JOB_COMPLETION_INDEX", "3");
    says(pod, "there is no share 3 of 3");
}
