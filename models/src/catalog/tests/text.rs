//! The text format: reading, versions, and every error.

use crate::catalog::{Catalog, CatalogError, Price};
use crate::units::UsdMicros;

/// A small catalogue with every kind of value.
pub(super) const SMALL: &str = concat!(
    "stowage-catalog 1.0\nregion us-east-1\ntypes-as-of 2026-08-02\nsource made up for tests\n",
    "zone us-east-1a use1-az2\nzone us-east-1b use1-az4\n",
    "columns\tname\tarch\tcpu-maker\tmhz\tvcpus\tmemory-mib\thypervisor\tenis\tips-per-eni\tnetwork-mbps\t",
    "ebs-mbps\tefa\tpod-eni\tlocal-gb\tgpu\tneuron\ton-demand\tus-east-1a\tus-east-1b\n",
    "m5.large\tamd64\tintel\t3100\t2\t8192\tnitro\t3\t10\t750\t",
    "4750\t0\t9\t-\t-\t-\t96000\t44000\t41500~\n",
    "old.metal\tarm64\taws\t-\t1\t1024\t-\t2\t4\t-\t",
    "-\t1\t0\tdisk:350\ta10g:nvidia:4:22888\tinferentia2:1:2\t-\t-\t.\n",
);

/// The error of [`SMALL`] with `from` replaced by `to`.
fn error_after(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from:?} is in the sample");
    match Catalog::parse(&SMALL.replacen(from, to, 1)) {
        Ok(_) => format!("accepted {to:?} for {from:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_small_catalogue_reads_as_written() {
    let catalog = Catalog::parse(SMALL).expect("the sample parses");
    let kind = catalog.get("m5.large").expect("the type is there");
    let recorded = Price { usd: UsdMicros(44_000), estimated: false };
    assert_eq!(kind.price("us-east-1a", "spot"), Some(recorded));
    assert_eq!(kind.price("us-east-1b", "spot"), Some(Price { usd: UsdMicros(41_500), estimated: true }));
    assert_eq!(kind.price("us-east-1b", "on-demand").map(|price| price.usd), Some(UsdMicros(96_000)));
    assert_eq!(kind.price("us-east-1b", "reserved"), None);
    assert_eq!(kind.price("us-east-1c", "on-demand"), None);
    assert_eq!(kind.labels()["karpenter.k8s.aws/instance-ebs-bandwidth"], "4750");
    let metal = catalog.get("old.metal").expect("a type that is not sold is kept");
    assert_eq!((metal.zones.len(), metal.price("us-east-1a", "on-demand")), (1, None));
    assert_eq!(metal.labels()["karpenter.k8s.aws/instance-hypervisor"], "");
    assert_eq!(metal.labels().get("karpenter.k8s.aws/instance-local-nvme"), None);
    assert_eq!(Catalog::parse(&catalog.to_text()).expect("what is written can be read"), catalog);
}

#[test]
fn an_editors_habits_are_accepted() {
    let want = Catalog::parse(SMALL).expect("the sample parses");
    let shuffled = SMALL.replace('\n', "\r\n").replace("region", "\n# a comment\nregion");
    assert_eq!(Catalog::parse(&shuffled).expect("CRLF, comments and blank lines"), want);
    assert_eq!(Catalog::parse(&["\u{feff}", SMALL].concat()).expect("a byte order mark"), want);
    let mut lines: Vec<&str> = SMALL.lines().collect();
    lines.swap(7, 8);
    assert_eq!(Catalog::parse(&lines.join("\n")).expect("any order of types"), want);
}

#[test]
fn newer_minor_versions_are_read_and_other_majors_refused() {
    let newer = SMALL
        .replace("stowage-catalog 1.0", "stowage-catalog 1.7")
        .replace("region us-east-1\n", "region us-east-1\npartition aws\n")
        .replace("\tpod-eni", "\tnitro-tpm\tpod-eni")
        .replace("\t0\t9\t", "\t0\tyes\t9\t")
        .replace("\t1\t0\tdisk", "\t1\tno\t0\tdisk");
    assert_eq!(Catalog::parse(&newer).expect("1.7"), Catalog::parse(SMALL).expect("1.0"));
    for version in ["2.0", "0.9", "1", "one.two", ""] {
        let text = error_after("1.0", version);
        assert!(text.contains("is not supported; hint: this build reads every 1.x"), "{text}");
    }
}

#[test]
fn errors_name_line_type_and_field_and_say_what_to_do() {
    let field = |name: &str, rest: &str| format!("catalogue line 8, type `m5.large`, field `{name}`: {rest}");
    let header =
        |line: usize, key: &str, rest: &str| format!("catalogue line {line}, header `{key}`: {rest}");
    let unit = "prices are whole micro-dollars per hour";
    let (od, az) = ("on-demand", "us-east-1a");
    for (from, to, want) in [
        ("\t96000\t", "\t\t", field(od, &format!("has no price; hint: {unit}: write 96000"))),
        (
            "\t96000\t",
            "\t0.096\t",
            field(od, &format!("`0.096` is not a price; hint: {unit}: if 0.096 is meant")),
        ),
        ("\t96000\t", "\t96000~\t", field(od, "`96000~` is not a price")),
        ("\t96000\t", "\t-5\t", field(od, "`-5` is not a price")),
        ("\t96000\t", "\t9999999999999\t", field(od, "`9999999999999` is more than a million dollars")),
        ("\t96000\t", "\t99999999999999999999999999\t", field(od, "`99999999999999999999999999` is not")),
        ("\t44000\t", "\t\t", field(az, "is empty; hint: write the spot price")),
        ("\t44000\t", "\tcheap\t", field(az, "`cheap` is not a price")),
        ("\t8192\t", "\t8,192\t", field("memory-mib", "`8,192` is not a number; hint: write digits only")),
        ("\t8192\t", "\t+8192\t", field("memory-mib", "`+8192` is not a number")),
        ("\t8192\t", "\t4294967296\t", field("memory-mib", "`4294967296` is not a number")),
        ("\t8192\t", "\t\t", field("memory-mib", "is empty")),
        ("\t2\t8192", "\t0\t8192", field("vcpus", "is zero")),
        ("\tamd64\t", "\tx86_64\t", field("arch", "`x86_64` is not an architecture; hint: write amd64")),
        ("\tnitro\t", "\tnitro!\t", field("hypervisor", "`nitro!` is not a label value")),
        ("\t9\t-\t", "\t9\t900\t", field("local-gb", "`900` is not local storage; hint: write `nvme:900`")),
        ("\t-\t-\t96000", "\ta10g\t-\t96000", field("gpu", "`a10g` does not describe GPUs")),
        ("\t-\t96000", "\tinferentia2:1\t96000", field("neuron", "`inferentia2:1` does not describe Neuron")),
        (
            "m5.large\t",
            "m5.large ",
            "catalogue line 8, type `m5.large amd64`: 18 fields where the `columns` line names 19; hint: "
                .to_owned(),
        ),
        (
            "old.metal\t",
            "m5.large\t",
            "catalogue line 9: type `m5.large` was already given on line 8; hint: remove one".to_owned(),
        ),
        ("region us-east-1\n", "", header(8, "region", "is missing; hint: add a line such as")),
        ("region", "regoin", header(2, "regoin", "is not known; hint: headers are region")),
        (
            "2026-08-02",
            "2 Aug",
            header(3, "types-as-of", "`2 Aug` is not a date; hint: write it as 2026-08-02"),
        ),
        ("source made up for tests", "types-as-of 2026-01-01", header(4, "types-as-of", "was given before")),
        (
            "zone us-east-1b use1-az4",
            "zone us-east-1b",
            header(6, "zone", "`us-east-1b` is not a zone name and"),
        ),
        ("zone us-east-1b", "zone us-east-1a", header(6, "zone", "this zone was given before")),
        ("\tvcpus", "\tvcpu", header(7, "columns", "column `vcpu` is neither known nor a zone")),
        ("\tvcpus", "", header(7, "columns", "column `vcpus` is missing")),
        ("\tvcpus", "\tname", header(7, "columns", "column `name` is named twice")),
        ("columns\t", "# ", header(8, "m5.large", "is not known")),
        (
            "stowage-catalog",
            "{",
            "catalogue line 1: found `{ 1.0`, which starts no Stowage catalogue".to_owned(),
        ),
    ] {
        let text = error_after(from, to);
        assert!(text.starts_with(&want), "{from:?} -> {to:?}\n got: {text}\nwant: {want}");
        assert!(text.contains("; hint: "), "{text}");
    }
    let no_types = SMALL.lines().take(7).collect::<Vec<_>>().join("\n");
    assert!(matches!(Catalog::parse(&no_types), Err(CatalogError::NoTypes)));
    let no_columns = SMALL.lines().take(6).collect::<Vec<_>>().join("\n");
    assert!(matches!(Catalog::parse(&no_columns), Err(CatalogError::Header { line: 6, .. })));
    assert!(matches!(Catalog::parse(""), Err(CatalogError::NotACatalog { .. })));
}
