//! A view that keeps up with the cluster.

use crate::buffers::{self, Reference, Resolved};
use crate::kinds::{KINDS, Kind, OURS};
use crate::record::{import, list_of};
use crate::{Error, facts, prune};
use futures::TryStreamExt as _;
use kube::Client;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::DynamicObject;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use stowage_executor::{Claim, Node, Observation, Pod};
use stowage_import::Buffer;
use stowage_models::digest;
use stowage_models::objects::{Budget, PodRef};
use stowage_models::snapshot::Snapshot;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A kind that was not heard of for this long is stale. The API server sends a bookmark about once a minute.
const STALE_AFTER: Duration = Duration::from_secs(180);
/// A watch is begun anew after this long, so that one that died without a word is noticed.
const WATCH_SECONDS: u32 = 120;
/// Pauses after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long a list, or the start of a watch, may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often a kind that is not needed is asked whether it is.
const IDLE: Duration = Duration::from_secs(1);
/// Objects asked for at once.
const PAGE: u32 = 500;

/// What is kept of an object.
struct Entry {
    text: String,
    fact: Fact,
}

/// What the executor wants to know of it.
enum Fact {
    Claim(Box<Claim>),
    Node(Box<Node>),
    Pod(Pod),
    /// Uid and generation of what is planned with: its status counts nodes, what decides is its spec.
    Input(String),
    /// The same of a NodePool, with its replicas and budgets, if it is static and does not go.
    Pool(String, Option<(i64, Vec<Budget>)>),
    /// A CapacityBuffer: its version, and what it refers to.
    Buffer(String, Option<Reference>),
    /// What a CapacityBuffer may refer to: its version.
    Shape(String),
    None,
}

/// The objects of a kind.
#[derive(Default)]
struct Store {
    /// By namespace and name.
    objects: BTreeMap<(String, String), Entry>,
    /// When it was last heard of, once it is complete.
    heard: Option<Instant>,
    /// Why it is not complete.
    trouble: Option<String>,
    /// Nobody looks: it is not needed.
    idle: bool,
}

/// How fresh a view is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// Kinds that are not complete or stale, with the reason.
    pub missing: Vec<String>,
}

impl Freshness {
    /// Complete and not stale.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.missing.is_empty()
    }
}

/// A view of a cluster. Its watches end with it.
pub struct View {
    stores: Arc<Mutex<BTreeMap<&'static str, Store>>>,
    changed: Arc<Notify>,
    buffers: Mutex<Resolved>,
    _tasks: JoinSet<()>,
}

impl View {
    /// Begins to watch.
    #[must_use]
    pub fn start(client: &Client) -> View {
        let stores: Arc<Mutex<BTreeMap<&'static str, Store>>> = Arc::default();
        let changed = Arc::new(Notify::new());
        let mut tasks = JoinSet::new();
        for kind in KINDS {
            lock(&stores).insert(kind.plural, Store::default());
            let watcher =
                Watcher { kind, client: client.clone(), stores: stores.clone(), changed: changed.clone() };
            tasks.spawn(watcher.run());
        }
        View { stores, changed, buffers: Mutex::default(), _tasks: tasks }
    }

    /// Waits until something changes.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How fresh it is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        let now = Instant::now();
        let stores = lock(&self.stores);
        let wanted = shapes(&stores);
        let missing = stores.iter().filter_map(|(kind, store)| match (store.heard, &store.trouble) {
            (None, trouble) => Some(format!("{kind}: {}", trouble.as_deref().unwrap_or("not listed yet"))),
            (Some(heard), _) if now.duration_since(heard) > STALE_AFTER => Some(format!("{kind}: stale")),
            _ if store.idle && KINDS.iter().any(|one| one.plural == *kind && wanted.contains(one.kind)) => {
                Some(format!("{kind}: not listed yet"))
            }
            _ => None,
        });
        Freshness { missing: missing.collect() }
    }

    /// A snapshot.
    ///
    /// # Errors
    /// If the view is not complete or stale, or an object cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let freshness = self.freshness();
        if !freshness.is_good() {
            return Err(Error::NotSynced(freshness.missing.join("; ")));
        }
        let list = {
            let stores = lock(&self.stores);
            let planned_with = KINDS.iter().filter(|kind| kind.group != OURS && !kind.shape);
            let kinds: Vec<&Store> = planned_with.filter_map(|kind| stores.get(kind.plural)).collect();
            let texts =
                kinds.iter().flat_map(|store| store.objects.values()).map(|entry| entry.text.as_str());
            let shapes: Vec<&str> = referred(&stores).map(|(_, text)| text).collect();
            list_of(texts.chain(shapes.iter().copied()))
        };
        Ok(import("the cluster", &list)?.snapshot)
    }

    /// An observation with NodeClaims, nodes, pods, and a digest of NodePools and node classes; the rest is the caller's.
    #[must_use]
    pub fn facts(&self) -> Observation {
        let stores = lock(&self.stores);
        let mut seen = Observation::default();
        let mut inputs = String::new();
        for (kind, store) in &*stores {
            for ((namespace, name), entry) in &store.objects {
                match &entry.fact {
                    Fact::Claim(claim) => drop(seen.claims.insert(name.clone(), (**claim).clone())),
                    Fact::Node(node) => drop(seen.nodes.insert(name.clone(), (**node).clone())),
                    Fact::Pod(pod) => {
                        drop(seen.pods.insert(PodRef(format!("{namespace}/{name}")), pod.clone()))
                    }
                    Fact::Pool(version, fixed) => {
                        inputs.push_str(&format!("{kind}/{name}@{version}\n"));
                        if let Some((replicas, budgets)) = fixed {
                            seen.statics.insert(name.clone(), *replicas);
                            seen.budgets.insert(name.clone(), budgets.clone());
                        }
                    }
                    Fact::Input(version) => inputs.push_str(&format!("{kind}/{name}@{version}\n")),
                    Fact::Buffer(..) | Fact::Shape(_) | Fact::None => {}
                }
            }
        }
        let mut versions_of = String::new();
        let mut texts = Vec::new();
        for entry in stores.get(buffers::PLURAL).into_iter().flat_map(|store| store.objects.values()) {
            if let Fact::Buffer(version, _) = &entry.fact {
                versions_of.push_str(version);
                texts.push(entry.text.as_str());
            }
        }
        if !texts.is_empty() {
            for (version, text) in referred(&stores) {
                versions_of.push_str(version);
                texts.push(text);
            }
        }
        let resolved = lock(&self.buffers).of(versions_of, &texts);
        for (id, uid) in buffers::pods(&resolved) {
            let pod = Pod { uid: uid.to_owned(), pending: true, is_virtual: true, ..Pod::default() };
            seen.pods.entry(id.clone()).or_insert(pod);
        }
        seen.inputs = digest::of_bytes(inputs.as_bytes());
        seen.versions = versions(&stores);
        seen
    }

    /// CapacityBuffers and what became of them, as of the last [`View::facts`].
    #[must_use]
    pub fn buffers(&self) -> Arc<Vec<Buffer>> {
        lock(&self.buffers).last()
    }

    /// Versions of objects that plans rely on, as in [`Observation::versions`].
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, String> {
        versions(&lock(&self.stores))
    }

    /// Looks at all NodeClaims. Everything else waits meanwhile.
    pub fn each_claim(&self, mut look: impl FnMut(&Claim)) {
        let stores = lock(&self.stores);
        for entry in stores.get("nodeclaims").into_iter().flat_map(|store| store.objects.values()) {
            if let Fact::Claim(claim) = &entry.fact {
                look(claim);
            }
        }
    }

    /// Name and uid of the node of an instance.
    #[must_use]
    pub fn node_of(&self, instance: &str) -> Option<(String, String)> {
        let stores = lock(&self.stores);
        stores.get("nodes")?.objects.values().find_map(|entry| match &entry.fact {
            Fact::Node(node) if node.instance.as_deref() == Some(instance) => {
                Some((node.name.clone(), node.uid.clone()))
            }
            _ => None,
        })
    }

    /// Looks at the raw texts of all objects of a kind without namespaces, by name. Everything else waits meanwhile.
    pub fn each(&self, plural: &str, mut look: impl FnMut(&str, &str)) {
        let stores = lock(&self.stores);
        let objects = stores.get(plural).into_iter().flat_map(|store| &store.objects);
        objects.for_each(|((_, name), entry)| look(name, &entry.text));
    }

    /// The raw text of an object, as it is kept.
    #[must_use]
    pub fn object(&self, plural: &str, name: &str) -> Option<String> {
        let stores = lock(&self.stores);
        let key = (String::new(), name.to_owned());
        stores.get(plural)?.objects.get(&key).map(|entry| entry.text.clone())
    }

    /// The same of a kind with namespaces.
    #[must_use]
    pub fn object_in(&self, plural: &str, namespace: &str, name: &str) -> Option<String> {
        let stores = lock(&self.stores);
        let key = (namespace.to_owned(), name.to_owned());
        stores.get(plural)?.objects.get(&key).map(|entry| entry.text.clone())
    }

    /// Names of the objects of a kind without namespaces.
    #[must_use]
    pub fn names(&self, plural: &str) -> Vec<String> {
        let stores = lock(&self.stores);
        let keys = stores.get(plural).map(|store| store.objects.keys());
        keys.into_iter().flatten().map(|(_, name)| name.clone()).collect()
    }

    /// How many objects of a kind there are.
    #[must_use]
    pub fn count(&self, plural: &str) -> usize {
        lock(&self.stores).get(plural).map_or(0, |store| store.objects.len())
    }
}

fn versions(stores: &BTreeMap<&'static str, Store>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for kind in KINDS {
        for ((_, name), entry) in stores.get(kind.plural).into_iter().flat_map(|store| &store.objects) {
            let version = match &entry.fact {
                Fact::Input(version) | Fact::Pool(version, _) => version.clone(),
                Fact::Node(node) => node.uid.clone(),
                _ => continue,
            };
            found.insert(format!("{}/{name}", kind.kind), version);
        }
    }
    found
}

/// Kinds that buffers refer to.
fn shapes<'a>(stores: &'a BTreeMap<&'static str, Store>) -> BTreeSet<&'a str> {
    let buffers = stores.get(buffers::PLURAL).into_iter().flat_map(|store| store.objects.values());
    let reference = |entry: &'a Entry| match &entry.fact {
        Fact::Buffer(_, Some((kind, _))) => Some(kind.as_str()),
        _ => None,
    };
    buffers.filter_map(reference).collect()
}

/// Version and text of the objects that buffers refer to.
fn referred<'a>(stores: &'a BTreeMap<&'static str, Store>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let buffers = stores.get(buffers::PLURAL).into_iter().flat_map(|store| &store.objects);
    let wanted: BTreeSet<(&str, (String, String))> = buffers
        .filter_map(|((namespace, _), entry)| match &entry.fact {
            Fact::Buffer(_, Some((kind, name))) => {
                let kind = KINDS.iter().find(|one| one.shape && one.kind == kind)?;
                Some((kind.plural, (namespace.clone(), name.clone())))
            }
            _ => None,
        })
        .collect();
    wanted.into_iter().filter_map(|(plural, key)| {
        let entry = stores.get(plural)?.objects.get(&key)?;
        match &entry.fact {
            Fact::Shape(version) => Some((version.as_str(), entry.text.as_str())),
            _ => None,
        }
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A holder that panicked leaves whole entries behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps up with one kind.
struct Watcher {
    kind: Kind,
    client: Client,
    stores: Arc<Mutex<BTreeMap<&'static str, Store>>>,
    changed: Arc<Notify>,
}

impl Watcher {
    async fn run(self) {
        let mut pause = PAUSE_MIN;
        let mut version: Option<String> = None;
        loop {
            if self.kind.shape && !shapes(&lock(&self.stores)).contains(self.kind.kind) {
                version = None;
                let idle = Store { heard: Some(Instant::now()), idle: true, ..Store::default() };
                self.quietly(|store| *store = idle);
                tokio::time::sleep(IDLE).await;
                continue;
            }
            let attempt = async {
                if version.is_none() {
                    version = Some(self.list().await?);
                }
                self.watch(&mut version).await
            };
            match attempt.await {
                Ok(()) => pause = PAUSE_MIN,
                Err(trouble) => {
                    self.with(|store| store.trouble = Some(trouble.clone()));
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(PAUSE_MAX);
                }
            }
        }
    }

    fn with(&self, change: impl FnOnce(&mut Store)) {
        self.quietly(change);
        self.changed.notify_one();
    }

    fn quietly(&self, change: impl FnOnce(&mut Store)) {
        if let Some(store) = lock(&self.stores).get_mut(self.kind.plural) {
            change(store);
        }
    }

    fn entry(&self, object: &DynamicObject) -> ((String, String), Entry) {
        let fact = match self.kind.kind {
            "NodeClaim" => Fact::Claim(Box::new(facts::claim(object))),
            "Node" => Fact::Node(Box::new(facts::node(object))),
            "Pod" => Fact::Pod(facts::pod(object)),
            "NodePool" => {
                let stays = object.metadata.deletion_timestamp.is_none();
                let replicas = object.data["spec"]["replicas"].as_i64().filter(|_| stays);
                let budgets = &object.data["spec"]["disruption"]["budgets"];
                // What cannot be read allows nothing.
                let budgets = || match budgets {
                    Value::Null => Vec::new(),
                    some => serde_json::from_value(some.clone())
                        .unwrap_or_else(|_| vec![Budget { nodes: "0".to_owned(), ..Budget::default() }]),
                };
                Fact::Pool(version(object), replicas.map(|replicas| (replicas, budgets())))
            }
            "EC2NodeClass" | "NodeOverlay" => Fact::Input(version(object)),
            "CapacityBuffer" => Fact::Buffer(version(object), buffers::reference(object)),
            _ if self.kind.shape => Fact::Shape(version(object)),
            _ => Fact::None,
        };
        (key(object), Entry { text: prune::text(&self.kind, object), fact })
    }

    /// Lists all pages; the version to watch from.
    async fn list(&self) -> Result<String, String> {
        let api = self.kind.api(&self.client);
        let mut params = ListParams::default().limit(PAGE);
        let mut objects = BTreeMap::new();
        loop {
            let page = tokio::time::timeout(DEADLINE, api.list(&params))
                .await
                .map_err(|_| "the list takes too long".to_owned())?;
            if let Err(kube::Error::Api(status)) = &page
                && status.code == 404
                && self.kind.spare
            {
                // There are none, as far as anybody can tell; it is asked again after a pause.
                self.with(|store| *store = Store { heard: Some(Instant::now()), ..Store::default() });
            }
            let page = page.map_err(|error| error.to_string())?;
            objects.extend(page.items.iter().map(|object| self.entry(object)));
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params.continue_token = Some(token),
                None => {
                    self.with(|store| {
                        *store = Store { objects, heard: Some(Instant::now()), ..Store::default() };
                    });
                    return Ok(page.metadata.resource_version.unwrap_or_default());
                }
            }
        }
    }

    /// Follows changes until the watch ends. On a gap the version is forgotten, and everything is listed again.
    async fn watch(&self, version: &mut Option<String>) -> Result<(), String> {
        let api = self.kind.api(&self.client);
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let from = version.clone().unwrap_or_default();
        let events = tokio::time::timeout(DEADLINE, api.watch(&params, &from))
            .await
            .map_err(|_| "the watch does not start".to_owned())?
            .map_err(|error| error.to_string())?;
        self.with(|store| store.heard = Some(Instant::now()));
        let mut events = pin!(events);
        // The server ends the watch in time; one that is longer is dead.
        let end = Instant::now() + Duration::from_secs(u64::from(WATCH_SECONDS)) + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let event = tokio::time::timeout(left, events.try_next())
                .await
                .map_err(|_| "the watch is dead".to_owned())?
                .map_err(|error| error.to_string())?;
            let Some(event) = event else { return Ok(()) };
            match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    version.clone_from(&object.metadata.resource_version);
                    let (key, entry) = self.entry(&object);
                    self.with(|store| {
                        store.objects.insert(key, entry);
                        store.heard = Some(Instant::now());
                    });
                }
                WatchEvent::Deleted(object) => {
                    version.clone_from(&object.metadata.resource_version);
                    self.with(|store| {
                        store.objects.remove(&key(&object));
                        store.heard = Some(Instant::now());
                    });
                }
                WatchEvent::Bookmark(bookmark) => {
                    *version = Some(bookmark.metadata.resource_version);
                    self.with(|store| store.heard = Some(Instant::now()));
                }
                WatchEvent::Error(status) => {
                    *version = None;
                    return if status.code == 410 { Ok(()) } else { Err(status.message.clone()) };
                }
            }
        }
    }
}

/// Uid, generation and, as it changes when an object begins to go, that.
fn version(object: &DynamicObject) -> String {
    let metadata = &object.metadata;
    let going = if metadata.deletion_timestamp.is_some() { "!" } else { "" };
    let uid = metadata.uid.as_deref().unwrap_or_default();
    format!("{uid}@{}{going}", metadata.generation.unwrap_or_default())
}

fn key(object: &DynamicObject) -> (String, String) {
    let metadata = &object.metadata;
    (metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}
