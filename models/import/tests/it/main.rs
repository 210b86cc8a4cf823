//! Import, tested from outside: what people have goes in, a snapshot or a useful message comes out.

mod bad_input;
mod big;
mod buffers;
mod complete;
mod documents;
mod export;
mod fixture;
mod lists;
mod openb;
mod overlays;
mod properties;

use stowage_import::{ImportError, Imported, Source, import};

/// Imports texts named `a`, `b`, ...
fn import_texts(texts: &[&str]) -> Result<Imported, ImportError> {
    let names = ["a", "b", "c", "d"];
    let sources: Vec<Source<'_>> =
        texts.iter().zip(names).map(|(text, name)| Source { name, bytes: text.as_bytes() }).collect();
    import(&sources)
}

/// Imports one text.
fn import_text(text: &str) -> Result<Imported, ImportError> {
    import_texts(&[text])
}

/// A `List` of items.
fn list(items: &[&str]) -> String {
    format!(r#"{{"apiVersion":"v1","items":[{}],"kind":"List"}}"#, items.join(","))
}

/// A pod with this spec.
fn pod(name: &str, spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"default"}},"spec":{spec}}}"#
    )
}

/// The spec of a pod that requests this cpu.
fn requesting(cpu: &str) -> String {
    format!(r#"{{"containers":[{{"name":"a","resources":{{"requests":{{"cpu":{cpu}}}}}}}]}}"#)
}

/// A NodePool with these requirements.
fn node_pool(requirements: &str) -> String {
    format!(
        r#"{{"apiVersion":"karpenter.sh/v1","kind":"NodePool","metadata":{{"name":"general"}},"spec":{{"template":{{"spec":{{"requirements":{requirements}}}}}}}}}"#
    )
}
