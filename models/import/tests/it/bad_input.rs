//! Bad input: refused with file, object, field and a hint; never a panic.

use crate::{Source, import, import_text, import_texts, list, node_pool, pod, requesting};
use stowage_import::ImportError;

#[track_caller]
fn refused(text: &str) -> ImportError {
    refused_bytes(text.as_bytes())
}

#[track_caller]
fn refused_bytes(bytes: &[u8]) -> ImportError {
    let error = import(&[Source { name: "a", bytes }]).expect_err("must be refused");
    assert!(error.place.starts_with('a'), "names the file: {error}");
    assert!(!error.message.is_empty() && !error.hint.is_empty(), "{error}");
    assert!(error.to_string().ends_with(&error.hint));
    error
}

#[track_caller]
fn check(error: &ImportError, place: &str, message: &str) {
    assert_eq!(error.place, place, "{error}");
    assert!(error.message.contains(message), "{error}");
}

#[test]
fn truncated_json_says_where_it_ends() {
    let whole = list(&[&pod("web", &requesting("1"))]);
    for length in 1..whole.len() {
        let error = refused(&whole[..length]);
        check(&error, &format!("a: line 1, column {length}"), "ends too early");
    }
}

#[test]
fn bytes_that_are_no_text() {
    check(&refused_bytes(b"{\"kind\": \"\xff\"}"), "a: byte 10", "not UTF-8");
    check(&refused_bytes(b"\xff\xfe{\0}\0"), "a", "UTF-16");
    check(&refused_bytes(b"\x1f\x8b\x08"), "a", "gzip");
    check(&refused_bytes(b"\x28\xb5\x2f\xfdnonsense"), "a", "not valid zstd");
    let mut packed = zstd::stream::encode_all(list(&[]).as_bytes(), 3).unwrap();
    packed.truncate(packed.len() - 4);
    check(&refused_bytes(&packed), "a", "not valid zstd");
    let latin1 = zstd::stream::encode_all(&b"{\"k\":\"\xe9\"}"[..], 3).unwrap();
    check(&refused_bytes(&latin1), "a: byte 6", "not UTF-8");
}

#[test]
fn input_that_is_about_something_else() {
    check(&refused(r#"{"kind":"Foo"}"#), "a", "only of kind Foo");
    check(
        &refused(&list(&[
            r#"{"kind":"ConfigMap","apiVersion":"v1"}"#,
            r#"{"kind":"NodePool","apiVersion":"example.com/v1"}"#,
        ])),
        "a",
        "only of kind ConfigMap, NodePool.example.com",
    );
    // A cluster may well have nothing yet.
    assert!(import_text(&list(&[])).is_ok());
}

#[test]
fn names_that_steer_a_terminal() {
    let error = refused(&list(&[&pod("web\\u001b[2J", &requesting("1"))]));
    check(&error, "a (Pod web\\u{1b}[2J): metadata.name", "control character");
    let labelled = r#"{"kind":"Node","apiVersion":"v1","metadata":{"name":"n","labels":{"a":"\u0007"}}}"#;
    check(&refused(&list(&[labelled])), "a (Node n): metadata.labels", "control character");
}

#[test]
fn input_without_content() {
    check(&refused(""), "a", "empty");
    check(&refused(" \n\t"), "a", "empty");
    check(&refused("name,cpu_milli,memory_mib\n"), "a", "CSV");
    check(&refused("No resources found"), "a", "found plain text");
    check(&refused("NAME   READY   STATUS\nweb-1   1/1     Running\n"), "a", "");
    check(&refused("{}"), "a", "no `kind`");
    check(&refused("[7]"), "a: items[0]", "found a number");
    check(&refused(r#"{"kind":7}"#), "a: kind", "invalid type: integer `7`");
    check(&refused(r#"{"kind":"List","items":{}}"#), "a: items", "invalid type: map");
    check(&refused(r#"{"kind":"StowagePlan"}"#), "a", "this is a plan");
    check(&refused(r#"{"kind":"Pod","metadata":{}}"#), "a (Pod): metadata.name", "no name");
}

#[test]
fn quantities_name_object_and_field() {
    for (quantity, message) in [
        ("\"1e400\"", "too large"),
        ("\"-1\"", "negative"),
        ("-1", "negative"),
        ("\"abc\"", "not a Kubernetes quantity"),
        ("1e400", "number out of range"),
        ("true", "expected a quantity"),
    ] {
        let error = refused(&list(&[&pod("ok", "{}"), &pod("web", &requesting(quantity))]));
        check(&error, "a: Pod default/web: spec.containers[0].resources.requests.cpu", message);
        assert!(error.hint.contains("kubectl explain pod.spec.containers"), "{error}");
        assert!(!error.message.contains(" at line "), "{error}");
    }
    let yaml = "kind: Pod\nmetadata: {name: web}\nspec:\n  overhead: {memory: 1.5Qi}\n";
    check(&refused(yaml), "a: Pod default/web: spec.overhead.memory", "1.5Qi");
    for fine in ["\"1Ei\"", "\"0.1m\""] {
        let text = pod("web", &requesting(fine)).replace("cpu", "memory");
        import_text(&text).unwrap_or_else(|error| panic!("{fine}: {error}"));
    }
}

#[test]
fn malformed_requirements_say_which() {
    let third = |requirement: &str| {
        refused(&node_pool(&format!(
            r#"[{{"key":"a","operator":"Exists"}},{{"key":"b","operator":"Exists"}},{requirement}]"#
        )))
    };
    let place = "a: NodePool general: spec.template.spec.requirements[2]";
    check(
        &third(r#"{"key":"k","operator":"Foo"}"#),
        place,
        "unknown operator `Foo` on k; expected one of In,",
    );
    check(
        &third(r#"{"key":"k","operator":"Gt"}"#),
        place,
        "operator Gt on k takes exactly one integer value, found none",
    );
    check(&third(r#"{"key":"k","operator":"Gt","values":["1","2"]}"#), place, "found 2 (1, 2)");
    check(&third(r#"{"key":"k","operator":"Lte","values":["x"]}"#), place, "exactly one integer");
    check(&third(r#"{"key":"k","operator":"In","values":[]}"#), place, "at least one value");
    check(&third(r#"{"key":"k","operator":"Exists","values":["v"]}"#), place, "takes no values");
    // Gte is a word of NodePools only.
    let affinity = r#"{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"k","operator":"Gte","values":["1"]}]}]}}}}"#;
    let unreadable =
        |text: &str| import_text(text).expect("it is read").snapshot.pods[0].spec.unreadable.clone();
    let why = unreadable(&list(&[&pod("web", affinity)])).expect("a reason");
    assert!(why.contains("nodeSelectorTerms[0].matchExpressions[0]: unknown operator `Gte`"), "{why}");
    // Others depend on what a pod says that runs; and what it requests must be known of any.
    let error = refused(&pod("web", &affinity.replacen('{', r#"{"nodeName":"n","#, 1)));
    assert!(error.place.ends_with("nodeSelectorTerms[0].matchExpressions[0]"), "{error}");
    let error = refused(&pod("web", &affinity.replacen('{', r#"{"overhead":{"cpu":"x"},"#, 1)));
    assert!(error.place.contains("overhead"), "{error}");
}

#[test]
fn pods_whose_constraints_cannot_be_read_do_not_keep_others_from_being_read() {
    let fields = [
        r#"{"tolerations":[{"effect":"Sometimes"}]}"#,
        r#"{"nodeSelector":{"a":1}}"#,
        r#"{"topologySpreadConstraints":[{"topologyKey":"zone","maxSkew":"many","whenUnsatisfiable":"DoNotSchedule"}]}"#,
        r#"{"affinity":{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":[{"topologyKey":"zone","labelSelector":{"matchExpressions":[{"key":"a","operator":"Is","values":["b"]}]}}]}}}"#,
    ];
    for field in fields {
        let read = import_text(&list(&[&pod("odd", field), &pod("web", &requesting("1"))])).expect(field);
        let odd: Vec<bool> = read.snapshot.pods.iter().map(|pod| pod.spec.unreadable.is_some()).collect();
        assert_eq!(odd, [true, false], "{field}");
    }
}

#[test]
fn weights_and_effects() {
    let pool = |weight: &str| {
        refused(
            &node_pool("[]")
                .replace(r#""spec":{"template""#, &format!(r#""spec":{{"weight":{weight},"template""#)),
        )
    };
    check(&pool("-3"), "a: NodePool general: spec.weight", "weight is -3");
    check(&pool("1.5"), "a: NodePool general: spec.weight", "floating point");
    check(&pool("\"7\""), "a: NodePool general: spec.weight", "invalid type: string");
    let error = refused(&pod("web", r#"{"nodeName":"n","tolerations":[{"key":"k","effect":"NoShedule"}]}"#));
    check(&error, "a: Pod default/web: spec.tolerations[0].effect", "unknown variant `NoShedule`");
}

/// Goal: one object in two versions is refused, and both sources and the first difference are named.
#[test]
fn contradicting_duplicates() {
    let (one, two) = (pod("web", &requesting("1")), pod("web", &requesting("2")));
    let error = import_texts(&[&one, &list(&[&two])]).unwrap_err();
    check(
        &error,
        "a and b: Pod default/web: spec.containers[0].requests.cpu",
        "twice with different content",
    );
    let error = import_text(&list(&[&one, &two])).unwrap_err();
    check(&error, "a: Pod default/web: spec.containers[0].requests.cpu", "twice");
    let same = import_texts(&[&one, &list(&[&one, &one])]).unwrap();
    assert_eq!((same.snapshot.pods.len(), same.read["Pod"]), (1, 3));
}

/// Goal: nesting and aliases can exhaust neither stack nor memory.
#[test]
fn bombs_are_harmless() {
    let n = 200_000;
    let brackets = format!("{}{}", "[".repeat(n), "]".repeat(n));
    refused(&brackets);
    refused(&"{\"a\":".repeat(n));
    // Unknown fields are skipped without recursion, however deep.
    import_text(&list(&[&pod("web", &format!(r#"{{"x":{brackets}}}"#))])).expect("ignored field");
    refused(&format!("a: {brackets}"));
    refused(&"- ".repeat(n));
    refused(&(0..5_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>());
    let mut nested = pod("web", "{}");
    for _ in 0..5_000 {
        nested = list(&[&nested]);
    }
    let error = refused(&nested);
    assert!(error.message.contains("nested"), "{error}");
    let mut laughs = "a0: &a0 [lol, lol, lol]\n".to_owned();
    for level in 1..30 {
        let below = format!("*a{}", level - 1);
        laughs.push_str(&format!("a{level}: &a{level} [{below}, {below}, {below}, {below}, {below}]\n"));
    }
    refused(&laughs);
}

#[test]
fn yaml_errors_say_where() {
    let error = refused("kind: Pod\nmetadata: {name: web\n");
    assert!(error.place.starts_with("a: line "), "{error}");
    let error = refused("kind: Pod\nkind: Pod\n");
    assert!(error.message.contains("duplicate"), "{error}");
}
