//! A cluster, recorded once.

use crate::kinds::{KINDS, Kind, OURS};
use crate::{Error, prune};
use kube::Client;
use kube::api::ListParams;
use stowage_import::{Imported, Source};

/// Objects asked for at once.
const PAGE: u32 = 500;

/// A recording.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The snapshot, and what was read.
    pub imported: Imported,
    /// Kinds the cluster does not have.
    pub absent: Vec<&'static str>,
}

/// Lists every kind once, and makes a snapshot of it. Reads only.
///
/// # Errors
/// If a list is refused, or an object cannot be read.
pub async fn record(client: &Client) -> Result<Recorded, Error> {
    let mut items = Vec::new();
    let mut absent = Vec::new();
    for kind in KINDS.iter().filter(|kind| kind.group != OURS) {
        match list(client, kind).await? {
            Some(texts) => items.extend(texts),
            None => absent.push(kind.plural),
        }
    }
    let imported = import("the cluster", &list_of(items.iter().map(String::as_str)))?;
    Ok(Recorded { imported, absent })
}

/// The texts of all objects of a kind; `None` if there is no such kind.
async fn list(client: &Client, kind: &Kind) -> Result<Option<Vec<String>>, Error> {
    let api = kind.api(client);
    let mut params = ListParams::default().limit(PAGE);
    let mut texts = Vec::new();
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 404 && kind.optional => return Ok(None),
            Err(cause) => return Err(refused(kind, cause)),
        };
        texts.extend(page.items.iter().map(|object| prune::text(kind, object)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(Some(texts)),
        }
    }
}

pub(crate) fn refused(kind: &Kind, cause: kube::Error) -> Error {
    let hint = match &cause {
        kube::Error::Api(status) if status.code == 403 => {
            "recording needs the rights get and list on this kind, in the whole cluster"
        }
        kube::Error::Api(status) if status.code == 401 => "log in, or name another context",
        _ => "does `kubectl get nodes` work with this kubeconfig?",
    };
    Error::Api { kind: kind.plural, cause: Box::new(cause), hint }
}

/// A snapshot of a [`list`][list_of].
pub(crate) fn import(name: &str, list: &str) -> Result<Imported, Error> {
    Ok(stowage_import::import(&[Source { name, bytes: list.as_bytes() }])?)
}

/// One list of objects in JSON. Ten thousand pods are thirty megabytes: they are copied once.
pub(crate) fn list_of<'a>(items: impl Iterator<Item = &'a str> + Clone) -> String {
    const HEAD: &str = "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[";
    let length: usize = items.clone().map(|item| item.len() + 1).sum();
    let mut list = String::with_capacity(HEAD.len() + length + 2);
    list.push_str(HEAD);
    for (n, item) in items.enumerate() {
        if n > 0 {
            list.push(',');
        }
        list.push_str(item);
    }
    list.push_str("]}");
    list
}
