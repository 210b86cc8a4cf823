//! Charts without Helm: templates that use nothing of it but values, and ask only whether the API server has a kind.

use crate::cluster::Cluster;
use crate::error::Error;
use std::collections::BTreeMap;
use std::path::Path;

/// Begins what is for API servers with a kind; the one that tests run has them all.
const IF_THERE: &str = "{{- if .Capabilities.APIVersions.Has ";
/// Ends it.
const END: &str = "{{- end }}";

/// The documents of a chart's templates, with its default values.
fn rendered(chart: &Path, namespace: &str) -> std::io::Result<Vec<String>> {
    let mut values = BTreeMap::from([("Release.Namespace".to_owned(), namespace.to_owned())]);
    let mut above = String::new();
    let text = std::fs::read_to_string(chart.join("values.yaml"))?;
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let Some((key, value)) = line.split_once(':') else { continue };
        if !line.starts_with(' ') {
            above = key.to_owned();
        }
        let key = if line.starts_with(' ') { format!("{above}.{}", key.trim()) } else { key.to_owned() };
        values.insert(format!("Values.{key}"), value.trim().trim_matches('"').to_owned());
    }
    let mut files = Vec::new();
    for file in std::fs::read_dir(chart.join("templates"))? {
        files.push(file?.path());
    }
    files.sort();
    let mut documents = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)?;
        let lines = text.lines().filter(|line| !line.starts_with(IF_THERE) && *line != END);
        let mut text: String = lines.flat_map(|line| [line, "\n"]).collect();
        for (key, value) in &values {
            text = text.replace(&format!("{{{{ .{key} }}}}"), value);
            text = text.replace(&format!("{{{{ .{key} | quote }}}}"), &format!("\"{value}\""));
        }
        if text.contains("{{") {
            let message = format!("{}: more of Helm than values: {text}", file.display());
            return Err(std::io::Error::other(message));
        }
        documents.extend(text.split("\n---\n").map(str::to_owned));
    }
    Ok(documents)
}

/// Where objects of a manifest's kind are created.
fn collection(manifest: &str) -> String {
    let field =
        |name: &str| manifest.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let group = match field("apiVersion:") {
        "v1" => "/api/v1".to_owned(),
        other => format!("/apis/{other}"),
    };
    let plural = match field("kind:") {
        kind if kind.ends_with('y') => format!("{}ies", kind.to_lowercase().trim_end_matches('y')),
        kind => format!("{}s", kind.to_lowercase()),
    };
    let namespace = manifest.lines().find_map(|line| line.strip_prefix("  namespace: "));
    let space = namespace.map(|name| format!("/namespaces/{}", name.trim())).unwrap_or_default();
    format!("{group}{space}/{plural}")
}

impl Cluster {
    /// Creates everything a chart's templates say with its default values; they may use nothing of Helm but values, and ask which
    /// kinds there are. The namespace must be there.
    ///
    /// # Errors
    /// If the chart cannot be read, or the API server refuses a manifest.
    pub async fn install(&self, chart: &Path, namespace: &str) -> Result<(), Error> {
        let action = format!("read the chart {}", chart.display());
        let client = self.client();
        for manifest in rendered(chart, namespace).map_err(Error::system(action))? {
            let path = collection(&manifest);
            let request = http::Request::post(&path).header("content-type", "application/yaml");
            let request = request.body(manifest.into_bytes()).expect("the request is well formed");
            client.request_text(request).await.map_err(Error::api(format!("create one of {path}")))?;
        }
        Ok(())
    }
}
