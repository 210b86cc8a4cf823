//! What is in the lab: the tables that kubectl would print, and what each plan does.

use crate::place::Place;
use kube::Client;
use serde_json::Value;
use std::fmt::Write as _;
use stowage_models::units::UsdMicros;

/// What is shown: title, path in the API, and whether it is in namespaces.
const TABLES: [(&str, &str, bool); 4] = [
    ("nodeclaims", "/apis/karpenter.sh/v1/nodeclaims", false),
    ("nodes", "/api/v1/nodes", false),
    ("pods", "/api/v1/pods", true),
    ("plans", "/apis/stowage.dev/v1alpha1/plans", false),
];
/// Pods left out that are named for each plan.
const LEFT_OUT_MAX: usize = 10;

/// Prints it.
pub(crate) fn status(place: &Place) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("cannot begin: {error}"))?;
    runtime.block_on(async {
        let client = place.client().await?;
        for (title, path, namespaced) in TABLES {
            // The API server draws the columns, as for kubectl.
            let table = get(&client, path, "application/json;as=Table;v=v1;g=meta.k8s.io").await?;
            println!("{}", draw(title, &rows(&table, namespaced)));
        }
        let plans = get(&client, "/apis/stowage.dev/v1alpha1/plans", "application/json").await?;
        print!("{}", explain(&plans));
        println!("export KUBECONFIG={}", place.kubeconfig().display());
        Ok(())
    })
}

async fn get(client: &Client, path: &str, accept: &str) -> Result<Value, String> {
    let request = http::Request::get(path).header("accept", accept).body(Vec::new());
    let request = request.map_err(|error| error.to_string())?;
    let hint = "does the lab still start, or has its control plane ended? `.ci/lab down`, then `.ci/lab up`";
    client.request(request).await.map_err(|error| format!("{path}: {}\n  hint: {hint}", crate::told(&error)))
}

/// Titles and cells of the columns that kubectl shows without `-o wide`.
fn rows(table: &Value, namespaced: bool) -> Vec<Vec<String>> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let columns = list(&table["columnDefinitions"]);
    let shown: Vec<usize> =
        (0..columns.len()).filter(|&n| columns[n]["priority"].as_i64().unwrap_or(0) == 0).collect();
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let mut rows = Vec::new();
    let mut titles: Vec<String> = if namespaced { vec!["NAMESPACE".to_owned()] } else { Vec::new() };
    titles.extend(shown.iter().map(|&n| text(&columns[n]["name"]).to_uppercase()));
    rows.push(titles);
    for row in list(&table["rows"]) {
        let mut cells = Vec::new();
        if namespaced {
            cells.push(text(&row["object"]["metadata"]["namespace"]));
        }
        cells.extend(shown.iter().map(|&n| text(&row["cells"][n])));
        rows.push(cells);
    }
    rows
}

/// Columns as wide as their widest cell.
fn draw(title: &str, rows: &[Vec<String>]) -> String {
    if rows.len() < 2 {
        return format!("no {title}\n");
    }
    let mut widths = vec![0; rows[0].len()];
    for (width, cell) in rows.iter().flat_map(|row| row.iter().enumerate()) {
        widths[width] = widths[width].max(cell.chars().count());
    }
    let mut text = format!("{title}: {}\n", rows.len() - 1);
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "  {cell:<width$}");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// What each plan launches, for how many pods and at which price, and which pods it leaves out and why; the oldest plan first.
fn explain(plans: &Value) -> String {
    let mut plans = plans["items"].as_array().cloned().unwrap_or_default();
    plans.sort_by_key(|plan| plan["metadata"]["creationTimestamp"].as_str().map(str::to_owned));
    let mut text = String::new();
    for plan in plans {
        let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        let spec = &plan["spec"];
        let name = word(&plan["metadata"]["name"]);
        let bound = dollars(&spec["launchBoundMicros"]);
        let cost = dollars(&spec["launchCostMicros"]);
        let gap = word(&spec["gap"]);
        let _ = writeln!(text, "{name}: {cost}/h; no launches cost less than {bound}/h, proven (gap {gap})");
        for action in spec["actions"].as_array().into_iter().flatten() {
            let _ = writeln!(
                text,
                "  launches {} in {}, {}, at {}/h for {} pods",
                word(&action["instanceType"]),
                word(&action["zone"]),
                word(&action["capacityType"]),
                dollars(&action["priceMicros"]),
                action["pods"].as_array().map_or(0, Vec::len)
            );
        }
        let left = plan["status"]["leftOut"].as_array().cloned().unwrap_or_default();
        for one in left.iter().take(LEFT_OUT_MAX) {
            let _ = writeln!(text, "  leaves out {}: {}", word(&one["pod"]), word(&one["reason"]));
        }
        if left.len() > LEFT_OUT_MAX {
            let _ = writeln!(text, "  and {} more", left.len() - LEFT_OUT_MAX);
        }
        text.push('\n');
    }
    text
}

/// Micro-dollars as dollars.
fn dollars(micros: &Value) -> String {
    UsdMicros(micros.as_i64().unwrap_or(0)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tables_show_what_kubectl_shows() {
        let table = json!({
            "columnDefinitions": [{ "name": "Name", "priority": 0 }, { "name": "IP", "priority": 1 }, { "name": "Age" }],
            "rows": [{ "cells": ["a-long-name", "1.2.3.4", "5s"], "object": { "metadata": { "namespace": "test" } } },
                { "cells": ["b", null, null], "object": { "metadata": { "namespace": "x" } } }],
        });
        assert_eq!(
            draw("pods", &rows(&table, true)),
            "pods: 2\n  NAMESPACE  NAME         AGE\n  test       a-long-name  5s\n  x          b\n"
        );
        assert_eq!(draw("pods", &rows(&json!({ "columnDefinitions": [], "rows": [] }), true)), "no pods\n");
    }

    #[test]
    fn plans_say_what_they_launch_and_why_not_more() {
        let plan = json!({
            "metadata": { "name": "plan-1", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "launchCostMicros": 1_234_567, "launchBoundMicros": 1_200_000, "gap": "2.88 %", "actions": [{
                "instanceType": "m7i.large", "zone": "us-east-1a", "capacityType": "spot", "priceMicros": 34_000,
                "pods": ["default/a", "default/b"],
            }] },
            "status": { "leftOut": [{ "pod": "default/c", "reason": "asks for 1000 cpu" }] },
        });
        assert_eq!(
            explain(&json!({ "items": [plan] })),
            "plan-1: $1.2346/h; no launches cost less than $1.2000/h, proven (gap 2.88 %)\n  launches m7i.large in us-east-1a, spot, \
             at $0.0340/h for 2 pods\n  leaves out default/c: asks for 1000 cpu\n\n"
        );
    }
}
