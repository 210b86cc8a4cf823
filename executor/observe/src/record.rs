//! A cluster, recorded once.

use crate::kinds::{KINDS, Kind};
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
    for kind in &KINDS {
        match list(client, kind).await? {
            Some(texts) => items.extend(texts),
            None => absent.push(kind.plural),
        }
    }
    let imported = import("the cluster", &items)?;
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

/// A snapshot of objects in JSON.
pub(crate) fn import(name: &str, items: &[String]) -> Result<Imported, Error> {
    let list = format!("{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[{}]}}", items.join(","));
    Ok(stowage_import::import(&[Source { name, bytes: list.as_bytes() }])?)
}
