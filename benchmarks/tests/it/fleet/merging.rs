//! Goal: shares add up to the whole, and a merge of anything less is refused with what is wrong.

use super::support::{counts, edit, fleet, merged, part_of, said, snapshots, write_snapshot};
use std::path::Path;
use stowage_bench::fleet::row::Outcome;

/// Plans all of a split.
fn plan_shares(folder: &Path, out: &Path, of: u32) {
    for index in 0..of {
        let (index, of) = (index.to_string(), of.to_string());
        let (code, text) = said(fleet(folder, out, &["--index", &index, "--of", &of]));
        assert_eq!(code, 0, "{text}");
    }
}

#[test]
fn shares_add_up_to_the_whole() {
    let (folder, out) = (snapshots(12), tempfile::tempdir().expect("a folder"));
    let (alone, split) = (out.path().join("alone"), out.path().join("split"));
    plan_shares(folder.path(), &alone, 1);
    plan_shares(folder.path(), &split, 3);
    let (code, whole, text) = merged(&alone);
    assert_eq!((code, whole.len()), (0, 12), "{text}");
    assert!(counts(&whole).values().all(|count| *count == 1));
    assert!(whole.is_sorted_by(|a, b| a.path < b.path));
    let plans: Vec<&str> = whole
        .iter()
        .filter_map(|row| match &row.outcome {
            Outcome::Planned(figures) => Some(figures.plan.as_str()),
            Outcome::Failed(_) => None,
        })
        .collect();
    assert_eq!(plans.len(), 12);
    assert!(plans.iter().all(|plan| plans.iter().filter(|other| other == &plan).count() == 1), "{plans:?}");
    assert_eq!(merged(&split).1, whole, "three shares give what one process gives");
    assert!(text.contains("| snapshots | 12 |") && text.contains("| failed | 0 |"), "{text}");
    assert!(!text.contains("TimeLimit"), "no clock may end a search of this test: {text}");
}

#[test]
fn an_incomplete_or_inconsistent_split_is_refused() {
    let (folder, out) = (snapshots(8), tempfile::tempdir().expect("a folder"));
    let out = out.path();
    plan_shares(folder.path(), out, 2);
    let (first, second) = (part_of(out, 0, 2), part_of(out, 1, 2));
    let (good_first, good_second) = (read(&first), read(&second));
    assert!(
        good_first.lines().count() > 2 && good_second.lines().count() > 2,
        "a test of two shares with work"
    );
    let path_of_line = |text: &str, line: usize| -> String {
        let row: serde_json::Value =
            serde_json::from_str(text.lines().nth(line).expect("a row")).expect("JSON");
        row["path"].as_str().expect("a path").to_owned()
    };
    let refused = |what: &str, wanted: &[&str]| {
        let _ = std::fs::remove_file(out.join("merged.jsonl"));
        let (code, rows, text) = merged(out);
        assert_eq!((code, rows.len()), (2, 0), "{what}: {text}");
        assert!(wanted.iter().all(|wanted| text.contains(wanted)), "{what}: {text}");
        std::fs::write(&first, &good_first).expect("a part");
        std::fs::write(&second, &good_second).expect("a part");
    };

    std::fs::remove_file(&second).expect("a part");
    refused("a share without a part", &["missing shares, of 2: 1"]);

    let lost = path_of_line(&good_first, 1);
    edit(&first, |lines| drop(lines.remove(1)));
    refused("a lost result", &["part-00000-of-00002.jsonl", "missing", &lost, "run share 0 again"]);

    edit(&first, |lines| lines.push(lines[1].clone()));
    refused("a result twice", &["more than one result", &lost]);

    edit(&first, |lines| lines.push(good_second.lines().nth(1).expect("a row").to_owned()));
    refused("a result of the other share", &["not of its share", &path_of_line(&good_second, 1)]);

    std::fs::write(&first, &good_first[..good_first.len() - 40]).expect("a part");
    refused("a torn line", &["is torn", "run share 0 again"]);

    std::fs::write(&first, &good_first[..20]).expect("a part");
    refused("a torn header", &["part-00000-of-00002.jsonl does not begin with a listing"]);

    edit(&first, |lines| lines[1] = lines[1].replace("\"timeLimitMs\":60000", "\"timeLimitMs\":1"));
    refused("other settings", &["different settings"]);

    edit(&first, |lines| lines[1] = lines[1].replace("\"catalog\":\"sha256:", "\"catalog\":\"sha256:0"));
    refused("other prices", &["different catalogues"]);

    std::fs::copy(&first, out.join("part-00000-of-00002-copy-of-it.jsonl")).expect("a copy");
    refused("a share twice", &["are both share 0"]);
    std::fs::remove_file(out.join("part-00000-of-00002-copy-of-it.jsonl")).expect("the copy");

    // A snapshot more between the shares: they no longer know the same whole.
    write_snapshot(&folder.path().join("late.json"), 99);
    let (code, text) = said(fleet(folder.path(), out, &["--index", "0", "--of", "2"]));
    assert_eq!(code, 0, "{text}");
    refused("a folder that changed", &["lists 9 in all", "lists 8", "run all shares again"]);

    plan_shares(folder.path(), out, 3);
    refused("two splits", &["is one of 2 shares", "one of 3", "keep the parts of one split"]);
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).expect("a part")
}
