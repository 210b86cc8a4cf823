//! Goal: a real API server takes the definitions, keeps every one of their CEL rules, and takes manifests as Karpenter's
//! documentation shows them.

use crate::cases::{all, base};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use stowage_cluster::{Cluster, eventually};

/// RFC 7386.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = serde_json::json!({});
    }
    let Some(object) = into.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key).or_insert(Value::Null), value);
        }
    }
}

fn merged(kind: &str, patch: &Value) -> Value {
    let mut value = base(kind);
    merge(&mut value, patch);
    value
}

fn api(client: &Client, object: &Value) -> Api<DynamicObject> {
    let version = object["apiVersion"].as_str().expect("apiVersion");
    let (group, version) = version.split_once('/').expect("a group");
    let kind = object["kind"].as_str().expect("kind");
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
    if kind == "CapacityBuffer" {
        return Api::namespaced_with(client.clone(), "default", &resource);
    }
    Api::all_with(client.clone(), &resource)
}

async fn create(client: &Client, object: Value, dry_run: bool) -> Result<DynamicObject, kube::Error> {
    let api = api(client, &object);
    let object = serde_json::from_value(object).expect("an object");
    api.create(&PostParams { dry_run, ..PostParams::default() }, &object).await
}

/// All rules of a definition as (kind, path, message).
fn rules(definition: &CustomResourceDefinition) -> Vec<(String, String, String)> {
    fn walk(schema: &Value, path: &str, kind: &str, found: &mut Vec<(String, String, String)>) {
        for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
            let message = rule["message"].as_str().expect("a message").to_owned();
            found.push((kind.to_owned(), path.to_owned(), message));
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            walk(inner, &format!("{path}.{name}"), kind, found);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                walk(&schema[inner], path, kind, found);
            }
        }
    }
    let schema =
        definition.spec.versions[0].schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
    let schema = serde_json::to_value(schema).expect("a schema");
    let mut found = Vec::new();
    walk(&schema["properties"]["spec"], "spec", &definition.spec.names.kind, &mut found);
    found
}

#[test]
fn every_rule_has_its_case() {
    let definitions = stowage_api::definitions().expect("the definitions");
    let rules: BTreeSet<_> = definitions.iter().flat_map(rules).collect();
    let cases: BTreeSet<_> = all()
        .iter()
        .map(|case| (case.kind.to_owned(), case.path.to_owned(), case.message.to_owned()))
        .collect();
    assert_eq!(rules.difference(&cases).collect::<Vec<_>>(), Vec::<&_>::new(), "rules without a case");
    assert_eq!(cases.difference(&rules).collect::<Vec<_>>(), Vec::<&_>::new(), "cases without a rule");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_server_keeps_every_rule() {
    let cluster = Cluster::builder().start().await.expect("the API server starts");
    let client = cluster.client();
    install(&client).await;
    for case in all() {
        let what = format!("{} {}: {}", case.kind, case.path, case.message);
        let (bad, good) = (merged(case.kind, &case.bad), merged(case.kind, &case.good));
        let (refused, accepted) = if case.update {
            let created = create(&client, base(case.kind), false).await.expect(&what);
            let update = async |mut value: Value| {
                let version = created.metadata.resource_version.clone();
                value["metadata"]["resourceVersion"] = version.into();
                let api = api(&client, &value);
                let object = serde_json::from_value(value).expect("an object");
                let params = PostParams { dry_run: true, ..PostParams::default() };
                api.replace("case", &params, &object).await
            };
            let answers = (update(bad).await, update(good).await);
            api(&client, &base(case.kind))
                .delete("case", &kube::api::DeleteParams::default())
                .await
                .expect(&what);
            answers
        } else {
            (create(&client, bad, true).await, create(&client, good, true).await)
        };
        let refused = refused.map(drop).expect_err(&what).to_string();
        assert!(refused.contains(case.message), "{what}\nwas refused with: {refused}");
        accepted.map(drop).unwrap_or_else(|error| panic!("{what}\na good object is refused: {error}"));
    }
    documentation(&client).await;
    defaults(&client).await;
}

async fn install(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    for definition in stowage_api::definitions().expect("the definitions") {
        let name = definition.metadata.name.clone().expect("a name");
        // What the chart installs is what is tested.
        let text = stowage_api::render(&definition).expect("it renders");
        let definition = serde_saphyr::from_str(&text).expect("the chart's file");
        api.create(&PostParams::default(), &definition).await.expect(&name);
        eventually(&name, Duration::from_secs(60), || async {
            let status = api.get(&name).await.map_err(|error| error.to_string())?.status;
            let conditions = status.and_then(|status| status.conditions).unwrap_or_default();
            let holds = conditions.iter().any(|one| one.type_ == "Established" && one.status == "True");
            let structural = !conditions.iter().any(|one| one.type_ == "NonStructuralSchema");
            (holds && structural).then_some(()).ok_or_else(|| format!("{conditions:?}"))
        })
        .await
        .expect("it is established");
    }
}

/// Manifests in the form of Karpenter's documentation, unchanged and with strict validation of fields.
async fn documentation(client: &Client) {
    let text = include_str!("documentation.yaml");
    for document in text.split("\n---\n") {
        let value: Value = serde_saphyr::from_str(document).expect("YAML");
        let name = format!("{} {}", value["kind"], value["metadata"]["name"]);
        let plural = if value["kind"] == "NodePool" { "nodepools" } else { "ec2nodeclasses" };
        let version = value["apiVersion"].as_str().expect("apiVersion");
        let url = format!("/apis/{version}/{plural}?fieldValidation=Strict");
        let body = serde_json::to_vec(&value).expect("JSON");
        let request = http_post(&url, body);
        client.request_text(request).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn http_post(url: &str, body: Vec<u8>) -> http::Request<Vec<u8>> {
    http::Request::post(url).header("Content-Type", "application/json").body(body).expect("a request")
}

/// What is left out is as Karpenter sets it.
async fn defaults(client: &Client) {
    let pool = create(client, base("NodePool"), true).await.expect("a pool").data;
    assert_eq!(pool["spec"]["disruption"]["consolidateAfter"], "0s");
    assert_eq!(pool["spec"]["disruption"]["consolidationPolicy"], "WhenEmptyOrUnderutilized");
    assert_eq!(pool["spec"]["disruption"]["budgets"][0]["nodes"], "10%");
    assert_eq!(pool["spec"]["template"]["spec"]["expireAfter"], "720h");
    let class = create(client, base("EC2NodeClass"), true).await.expect("a class").data;
    assert_eq!(class["spec"]["metadataOptions"]["httpPutResponseHopLimit"], 1);
    assert_eq!(class["spec"]["metadataOptions"]["httpTokens"], "required");
    let policy = create(client, base("PlanPolicy"), true).await.expect("a policy").data;
    assert_eq!((&policy["spec"]["batchMaxDuration"], &policy["spec"]["mode"]), (&"10s".into(), &Value::Null));
}
