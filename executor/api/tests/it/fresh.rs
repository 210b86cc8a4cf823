//! Goal: the chart holds what the types say.

use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn the_chart_is_fresh() {
    let directory = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/stowage-crd/templates"));
    let mut expected = BTreeSet::new();
    for definition in stowage_api::definitions().expect("the definitions") {
        let name = stowage_api::file_name(&definition);
        let text = std::fs::read_to_string(directory.join(&name)).unwrap_or_default();
        let rendered = stowage_api::render(&definition).expect("it renders");
        assert!(text == rendered, "{name} is stale: run `cargo run --release -p stowage-api`");
        expected.insert(name);
    }
    let found: BTreeSet<String> = std::fs::read_dir(directory)
        .expect("the templates")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(found, expected);
}
