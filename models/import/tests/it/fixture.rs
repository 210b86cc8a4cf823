//! A small cluster as kubectl prints it, in both of its formats.

use crate::{Imported, Source, import};
use stowage_import::{Encoding, write_snapshot};

const JSON: &[u8] = include_bytes!("../fixtures/eks-small.json");
const YAML: &[u8] = include_bytes!("../fixtures/eks-small.yaml");

fn import_one(name: &str, bytes: &[u8]) -> Imported {
    import(&[Source { name, bytes }]).expect("the fixture is valid")
}

/// Goal: JSON and YAML give the same snapshot, and exactly this one.
#[test]
fn kubectl_json_and_yaml_give_the_same_snapshot() {
    let json = import_one("eks-small.json", JSON);
    let yaml = import_one("eks-small.yaml", YAML);
    assert_eq!(json.snapshot, yaml.snapshot);
    assert_eq!(json.read, yaml.read);
    assert_eq!(json.skipped, yaml.skipped);
    let text = String::from_utf8(write_snapshot(&json.snapshot, Encoding::Json)).unwrap();
    insta::assert_snapshot!("eks-small", text);
    insta::assert_debug_snapshot!("eks-small-counts", (json.read, json.skipped));
}

/// Goal: environment, arguments, images and annotations outside the allow-list never enter a snapshot.
#[test]
fn nothing_secret_is_kept() {
    let text = String::from_utf8(write_snapshot(&import_one("f", JSON).snapshot, Encoding::Json)).unwrap();
    for secret in ["must not appear", "must-not-appear", "registry.example", "SECRET", "cni/bin"] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert!(text.contains(r#""karpenter.sh/do-not-disrupt":"true""#));
}

/// Goal: compressed input, and both files together, change nothing.
#[test]
fn compression_and_repetition_change_nothing() {
    let plain = import_one("f", JSON).snapshot;
    let packed = zstd::stream::encode_all(JSON, 3).unwrap();
    assert_eq!(import_one("f.zst", &packed).snapshot, plain);
    let twice = import(&[Source { name: "a", bytes: JSON }, Source { name: "b", bytes: YAML }]).unwrap();
    assert_eq!(twice.snapshot, plain);
}
