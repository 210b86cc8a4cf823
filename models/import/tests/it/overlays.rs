//! NodeOverlays: what is read, what is not, and documents that carry them.

use crate::{import_text, list};
use serde_json::json;
use stowage_import::{Encoding, Source, export, import, write_snapshot};
use stowage_models::overlay::{NodeOverlay, PriceChange};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

fn text(name: &str, spec: serde_json::Value) -> String {
    json!({
        "apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": { "name": name }, "spec": spec,
    })
    .to_string()
}

fn read(spec: serde_json::Value) -> NodeOverlay {
    let mut found = import_text(&text("one", spec)).expect("it imports").snapshot.node_overlays;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn several() -> Snapshot {
    let asks =
        json!([{ "key": "karpenter.k8s.aws/instance-family", "operator": "In", "values": ["m6a", "c6a"] }]);
    let all = [
        text("plan", json!({ "requirements": asks, "priceAdjustment": "-28.5%", "weight": 10 })),
        text("price", json!({ "requirements": asks, "price": "0.0416" })),
        text("licence", json!({ "requirements": [], "priceAdjustment": "+0.25" })),
        text("free", json!({ "requirements": [], "priceAdjustment": "-100%" })),
        text(
            "device",
            json!({ "requirements": asks, "capacity": { "example.com/device": 8, "hugepages-2Mi": "1Gi" } }),
        ),
    ];
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    import_text(&list(&all)).expect("they import").snapshot
}

#[test]
fn fields_mean_what_karpenter_means() {
    let snapshot = several();
    let of = |name: &str| snapshot.node_overlays.iter().find(|one| one.name == name).expect("it is there");
    assert_eq!((of("plan").price, of("plan").weight), (Some(PriceChange::Percent(-28_500_000)), 10));
    assert_eq!(of("plan").requirements[0].values, ["c6a", "m6a"]);
    assert_eq!(of("price").price, Some(PriceChange::To(UsdMicros(41_600))));
    assert_eq!(of("licence").price, Some(PriceChange::By(250_000)));
    assert_eq!((of("device").capacity.get("example.com/device"), of("device").price), (8, None));
    assert_eq!(of("device").capacity.get("hugepages-2Mi"), 1 << 30);
    assert!(snapshot.node_overlays.iter().all(|one| one.unreadable.is_none()));
}

#[test]
fn what_cannot_be_read_says_so_and_hurts_nobody_else() {
    for (spec, word) in [
        (json!({ "price": "cheap" }), "spec.price: `cheap`"),
        (json!({ "price": "1", "priceAdjustment": "+1%" }), "cannot set both"),
        (json!({ "priceAdjustment": "10%" }), "spec.priceAdjustment: `10%` has no sign"),
        (json!({ "priceAdjustment": "-101%" }), "more than all"),
        (json!({ "price": "9".repeat(400) }), "spec.price"),
        (json!({ "capacity": { "cpu": "4" } }), "restricted (cpu)"),
        (json!({ "capacity": { "example.com/device": "-1" } }), "must be zero or more"),
        (json!({ "capacity": { "example.com/device": "many" } }), "spec.capacity.example.com/device"),
        (
            json!({ "requirements": [{ "key": "a", "operator": "Gt", "values": ["x"] }] }),
            "spec.requirements[0]",
        ),
        (json!({ "requirements": [{ "key": "a", "operator": "Near\u{1b}" }] }), "spec.requirements[0]"),
    ] {
        let overlay = read(spec.clone());
        let why = overlay.unreadable.unwrap_or_default();
        assert!(why.contains(word) && !why.contains('\u{1b}'), "{spec}: {why:?}");
    }
    // What the API server would take of another kind, it would not take of this one.
    assert!(import_text(&text("one", json!({ "weight": "heavy" }))).is_err());
}

#[test]
fn documents_and_the_way_back_keep_them_and_the_format_says_so() {
    let snapshot = several();
    assert_eq!(snapshot.format_version, "1.1");
    for encoding in [Encoding::Json, Encoding::JsonZstd, Encoding::Yaml] {
        let bytes = write_snapshot(&snapshot, encoding);
        let got = import(&[Source { name: "s", bytes: &bytes }]).expect("it reads").snapshot;
        assert_eq!(got, snapshot, "{encoding:?}");
    }
    let back = import_text(&export::list(&snapshot).to_string()).expect("it reads").snapshot;
    assert_eq!(back.node_overlays, snapshot.node_overlays);
    // Without them nothing changes for older readers.
    let old = Snapshot { node_overlays: Vec::new(), ..snapshot };
    let bytes = write_snapshot(&old, Encoding::Json);
    let old = import(&[Source { name: "s", bytes: &bytes }]).expect("it reads").snapshot;
    assert_eq!(old.format_version, "1.0");
}

#[test]
fn a_document_with_an_impossible_price_is_refused() {
    let mut snapshot = several();
    snapshot.node_overlays[0].price = Some(PriceChange::To(UsdMicros(-1)));
    let bytes = write_snapshot(&snapshot, Encoding::Json);
    let error = import(&[Source { name: "s", bytes: &bytes }]).expect_err("a negative price");
    assert!(error.place.contains("NodeOverlay") && error.place.ends_with("price"), "{error}");
}
