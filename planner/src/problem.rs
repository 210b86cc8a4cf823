//! From a snapshot to a problem: groups, offerings, existing nodes, limits (`docs/formulation.md` section 1).

use crate::PlanError;
use crate::constraints::nodes::{Rules, own_cap};
use crate::constraints::split::Split;
use crate::constraints::{Constraints, Wants};
use crate::existing::{existing_bins, limits};
use crate::knapsack::RESOURCES_MAX;
use crate::matching::{effective_request, unsupported};
use crate::min_values::{self, Choices};
use crate::offerings::{self, Offering, Signature};
use crate::overlays::Overlays;
use crate::preferences::{Fines, have_prices};
use crate::warm::{Prepared, Warm};
use crate::wishes::{self, Wished, Wishes};
use rayon::ThreadPool;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{NodePool, PodRef, PodSpec};
use stowage_models::plan::{Blocking, Policy, STOCK};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

/// Pods planned at once at most: a hundred times the largest cluster Kubernetes supports, so that indices fit 32 bits.
pub(crate) const PODS_MAX: usize = 15_000_000;

/// Pods that are equal in everything the planner may look at.
///
/// A group that is planned domain by domain is several of these, one a domain, each with its share of the pods.
#[derive(Clone, Debug)]
pub(crate) struct Group<'a> {
    /// All pods of the whole group, as indices into the snapshot's pods: the first is the first in byte order of
    /// `namespace/name`, the others follow in the snapshot's order.
    pub(crate) whole: Arc<Vec<u32>>,
    /// How many of them are to be planned here.
    pub(crate) demand: i64,
    /// Request, one entry per resource of the problem.
    pub(crate) request: Vec<i64>,
    /// Priority.
    pub(crate) priority: i32,
    /// The group may use NodePools of this weight or more.
    pub(crate) min_weight: i32,
    /// Pods of the group on one new node at most, because of its own constraints.
    pub(crate) cap: i64,
    /// Its constraints on other pods, volumes and ports.
    pub(crate) wants: Arc<Wants<'a>>,
    /// Position among [`Wants`]' spread constraints of the one that the bound knows, and the group is split by.
    pub(crate) split: Option<u32>,
    /// Position among its wishes of the preferred spread over zones that the bound knows, and the group is split by.
    pub(crate) wish_split: Option<usize>,
    /// Index into [`Problem::families`] of the split this is one domain of.
    pub(crate) family: Option<u32>,
    /// What it costs where preferences of its pods are not met.
    pub(crate) fines: Arc<Fines>,
    /// What its pods prefer about others, where that has a price.
    pub(crate) wishes: Arc<Wishes>,
    /// Labels its bins must have: (index of the key in [`crate::constraints::selectors::Meanings::keys`], value).
    pub(crate) cell: Vec<(u32, Option<String>)>,
}

/// What an existing node has left for pending pods.
#[derive(Clone, Debug)]
pub(crate) struct ExistingBin {
    /// Index into the snapshot's nodes.
    pub(crate) node: usize,
    /// Nodes of one kind match the same groups, whatever room they have.
    pub(crate) kind: u32,
    /// Free amounts, one entry per resource.
    pub(crate) free: Vec<i64>,
    /// Groups that match and of which one pod fits, ascending.
    pub(crate) groups: Vec<u32>,
    /// Pods of each of these groups that constraints of its own allow here.
    pub(crate) caps: Vec<i64>,
    /// What counts here already, by rule of [`Problem::rules`].
    pub(crate) held: Vec<i64>,
}

impl ExistingBin {
    /// Pods of a group that constraints of its own allow here; zero if it does not match or does not fit.
    pub(crate) fn cap(&self, group: u32) -> i64 {
        self.groups.binary_search(&group).map_or(0, |at| self.caps[at])
    }
}

/// A limit row.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    /// Index into the snapshot's NodePools; `None` for the stock of a capacity reservation.
    pub(crate) pool: Option<usize>,
    /// Limited resource, or [`STOCK`] and the id of the reservation.
    pub(crate) resource: String,
    /// Limit less what nodes and NodeClaims of the pool use already; zero if they use more.
    pub(crate) remaining: i64,
}

/// A pending pod that is not part of the problem, and why.
#[derive(Clone, Debug)]
pub(crate) struct LeftOut {
    /// Index into the snapshot's pods.
    pub(crate) pod: u32,
    /// The constraint, in the words of the API.
    pub(crate) constraint: String,
    /// What to do about it.
    pub(crate) hint: String,
}

/// The problem. Everything is in input order (sorted), so equal snapshots give equal problems.
#[derive(Clone)]
pub(crate) struct Problem<'a> {
    /// Where parallel work runs.
    pub(crate) pool: Arc<ThreadPool>,
    /// The snapshot.
    pub(crate) snapshot: &'a Snapshot,
    /// The catalogue.
    pub(crate) catalog: &'a Catalog,
    /// Policy.
    pub(crate) policy: &'a Policy,
    /// Made before, or beside.
    pub(crate) prepared: Prepared,
    /// Preferences have a price (`docs/formulation.md` section 1.7).
    pub(crate) prices_preferences: bool,
    /// NodePools that cannot offer as many values as they ask for are not used (section 1.9).
    pub(crate) min_values_strict: bool,
    /// What pools that ask for several values have to choose from.
    pub(crate) choices: Arc<Choices>,
    /// Resources in a fixed order: cpu, memory, pods, then the others any problem pod asks for, sorted.
    pub(crate) resources: Vec<String>,
    /// Groups, sorted by their first pod.
    pub(crate) groups: Vec<Group<'a>>,
    /// Splits of groups over domains that the bound knows.
    pub(crate) families: Vec<Family>,
    /// Who may share a node.
    pub(crate) rules: Rules,
    /// Terms and what pods on nodes mean to them.
    pub(crate) constraints: Arc<Constraints<'a>>,
    /// What pods prefer about others, where that has a price.
    pub(crate) wished: Arc<Wished<'a>>,
    /// What NodeOverlays say.
    pub(crate) overlays: Overlays<'a>,
    /// All offerings in canonical order.
    pub(crate) offerings: Vec<Offering>,
    /// Label keys that somebody asks about, in the order of [`Signature::values`].
    pub(crate) label_keys: Vec<String>,
    /// NodePools and values of these keys that offerings have.
    pub(crate) signatures: Vec<Signature>,
    /// Sets of groups by label class of offerings.
    pub(crate) classes: Vec<Bits>,
    /// Existing nodes that can take at least one pod.
    pub(crate) existing: Vec<ExistingBin>,
    /// Limits.
    pub(crate) limits: Vec<Limit>,
    /// Groups no bin can hold.
    pub(crate) no_fit: Vec<Group<'a>>,
    /// Pods with unsupported constraints.
    pub(crate) unsupported: Vec<LeftOut>,
    /// Pods that constraints on other pods or volumes keep out.
    pub(crate) constrained: Vec<LeftOut>,
    /// Pods of groups that constraints between pods keep out.
    pub(crate) blocked: Vec<Blocked>,
    /// What a reader should know.
    pub(crate) notes: Vec<String>,
    /// The policy's; `None` as well where it could not be kept.
    pub(crate) spot_share_max: Option<Ppm>,
}

/// Pods of a group that constraints between pods keep out, and why.
#[derive(Clone, Debug)]
pub(crate) struct Blocked {
    /// All pods of the group; it is the last of them that are left out.
    pub(crate) whole: Arc<Vec<u32>>,
    /// How many.
    pub(crate) pods: i64,
    /// The tightest cause.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: String,
    /// The constraints in the way.
    pub(crate) blocking: Vec<Blocking>,
}

/// A group split over domains.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    /// Its groups, one a domain, in byte order of the domains.
    pub(crate) rows: Vec<u32>,
    /// The domains.
    pub(crate) domains: Vec<String>,
    /// Which splits are feasible.
    pub(crate) split: Split,
}

/// A set of small integers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Bits(pub(crate) Vec<u64>);

impl Bits {
    /// The empty set over `n` values.
    pub(crate) fn new(n: usize) -> Bits {
        Bits(vec![0; n.div_ceil(64)])
    }

    /// Adds `i`.
    pub(crate) fn insert(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    /// Whether `i` is in the set.
    pub(crate) fn contains(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 == 1
    }

    /// Whether `i` is in the set; false beyond its range.
    pub(crate) fn has(&self, i: usize) -> bool {
        self.0.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    /// Whether every member is in `other`.
    pub(crate) fn is_subset(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a & !b == 0)
    }

    /// Members, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(word, bits)| (0..64).filter(move |i| bits >> i & 1 == 1).map(move |i| word * 64 + i))
    }
}

/// What remains of an allocatable amount after the policy's slack.
pub(crate) fn usable(name: &str, amount: i64, policy: &Policy) -> i64 {
    if name != CPU && name != MEMORY {
        return amount;
    }
    let kept = i128::from(amount) * i128::from(Ppm::ONE - policy.slack.0) / i128::from(Ppm::ONE);
    i64::try_from(kept).unwrap_or(0)
}

/// The amounts of `resources` in the problem's order.
pub(crate) fn vector(names: &[String], resources: &Resources) -> Vec<i64> {
    names.iter().map(|name| resources.get(name)).collect()
}

impl<'a> Problem<'a> {
    /// Reads a snapshot.
    ///
    /// # Errors
    /// [`PlanError::TooLarge`] beyond [`PODS_MAX`] pods, or [`RESOURCES_MAX`] resources that they ask for.
    pub(crate) fn new(
        snapshot: &'a Snapshot,
        catalog: &'a Catalog,
        policy: &'a Policy,
        pool: Arc<ThreadPool>,
    ) -> Result<Problem<'a>, PlanError> {
        Problem::prepared(snapshot, catalog, policy, pool, Warm::default().prepare(catalog))
    }

    /// The same, with what was made before.
    pub(crate) fn prepared(
        snapshot: &'a Snapshot,
        catalog: &'a Catalog,
        policy: &'a Policy,
        pool: Arc<ThreadPool>,
        prepared: Prepared,
    ) -> Result<Problem<'a>, PlanError> {
        if snapshot.pods.len() > PODS_MAX {
            return Err(PlanError::TooLarge(format!("{} pods; at most {PODS_MAX}", snapshot.pods.len())));
        }
        let mut problem = Problem {
            pool,
            snapshot,
            catalog,
            policy,
            prepared,
            spot_share_max: policy.spot_share_max,
            prices_preferences: have_prices(snapshot, policy),
            min_values_strict: min_values::are_strict(snapshot, policy),
            choices: Arc::default(),
            resources: Vec::new(),
            groups: Vec::new(),
            families: Vec::new(),
            rules: Rules::default(),
            constraints: Arc::new(Constraints::default()),
            wished: Arc::default(),
            overlays: Overlays::new(snapshot, catalog),
            offerings: Vec::new(),
            label_keys: Vec::new(),
            signatures: Vec::new(),
            classes: Vec::new(),
            existing: Vec::new(),
            limits: Vec::new(),
            no_fit: Vec::new(),
            unsupported: Vec::new(),
            constrained: Vec::new(),
            blocked: Vec::new(),
            notes: snapshot.notes.clone(),
        };
        problem.note_overlays();
        problem.group_pods();
        if problem.resources.len() > RESOURCES_MAX {
            let (count, names) = (problem.resources.len(), problem.resources.join(", "));
            let message =
                format!("pods ask for {count} resources together ({names}); at most {RESOURCES_MAX}");
            return Err(PlanError::TooLarge(message));
        }
        problem.note_preferences();
        problem.note_surroundings();
        offerings::enumerate(&mut problem);
        problem.settle_preferences();
        problem.settle_min_values();
        problem.limits = limits(snapshot);
        problem.existing = existing_bins(&problem);
        problem.set_aside();
        problem.split_groups();
        problem.settle_rules();
        Ok(problem)
    }

    /// The spec of a group's pods (they are equal where it matters).
    pub(crate) fn spec(&self, group: &Group<'_>) -> &'a PodSpec {
        &self.snapshot.pods[group.whole[0] as usize].spec
    }

    /// `namespace/name` of a pod.
    pub(crate) fn pod_ref(&self, pod: u32) -> PodRef {
        self.snapshot.pods[pod as usize].id()
    }

    /// The NodePool of an offering.
    pub(crate) fn pool(&self, offering: &Offering) -> &'a NodePool {
        &self.snapshot.node_pools[offering.pool as usize]
    }

    /// Name of the NodePool of a limit; empty for a stock.
    pub(crate) fn limit_owner(&self, limit: &Limit) -> String {
        limit.pool.map_or_else(String::new, |pool| self.snapshot.node_pools[pool].name.clone())
    }

    /// Whether a launch of an offering counts towards a limit.
    pub(crate) fn is_limited_by(&self, offering: &Offering, limit: &Limit) -> bool {
        match limit.pool {
            Some(pool) => pool == offering.pool as usize,
            None => {
                let id = offering.variant.get(labels::CAPACITY_RESERVATION_ID);
                offering.reserved && id.map(String::as_str) == limit.resource.strip_prefix(STOCK)
            }
        }
    }

    /// Whether group `g` may use offering `o`: it matches, one pod fits, and the weight allows it.
    pub(crate) fn may_use(&self, g: usize, o: &Offering) -> bool {
        self.pool(o).weight >= self.groups[g].min_weight && self.can_hold(g, o)
    }

    /// Whether group `g` may use offering `o`, weights aside.
    pub(crate) fn can_hold(&self, g: usize, o: &Offering) -> bool {
        self.classes[o.class as usize].contains(g)
            && self.groups[g].request.iter().zip(&o.capacity).all(|(w, c)| w <= c)
    }

    fn group_pods(&mut self) {
        let mut constraints = Constraints::new(self.snapshot);
        let mut wished = if self.prices_preferences { Wished::new(self.snapshot) } else { Wished::default() };
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut by_key: BTreeMap<GroupKey<'a>, Vec<u32>> = BTreeMap::new();
        for (i, pod) in self.snapshot.pods.iter().enumerate() {
            let index = u32::try_from(i).expect("PODS_MAX fits 32 bits");
            if !pod.is_pending() {
                continue;
            }
            if let Some(constraint) = unsupported(&pod.spec) {
                let hint = match pod.spec.unreadable {
                    Some(_) => "correct the pod; until then nobody knows where it may run",
                    None => {
                        "this version does not plan for it yet, and never places such a pod as if it had no constraint"
                    }
                };
                self.unsupported.push(LeftOut { pod: index, constraint, hint: hint.to_owned() });
                continue;
            }
            let mut request = effective_request(&pod.spec);
            let wants = match constraints.wants(pod, &mut request) {
                Ok(wants) => wants,
                Err(fault) => {
                    self.constrained.push(LeftOut {
                        pod: index,
                        constraint: fault.message,
                        hint: fault.hint,
                    });
                    continue;
                }
            };
            for name in request.0.keys() {
                if !names.contains(name) {
                    names.insert(name.clone());
                }
            }
            let wishes = if wished.is_empty() { Wishes::default() } else { wished.of(pod) };
            let key = GroupKey::new(request, &pod.spec, (wants, wishes), self.prices_preferences);
            by_key.entry(key).or_default().push(index);
        }
        // A DaemonSet may ask for what no pending pod asks for, and make an offering useless by it.
        for daemon in &self.snapshot.daemon_sets {
            names.extend(effective_request(&daemon.spec).0.into_keys());
        }
        self.resources = [CPU, MEMORY, PODS].map(str::to_owned).to_vec();
        names.retain(|name| !self.resources.contains(name));
        self.resources.extend(names);
        self.groups = by_key
            .into_iter()
            .map(|(key, mut pods)| Group {
                request: vector(&self.resources, &key.request),
                priority: key.priority,
                min_weight: i32::MIN,
                cap: own_cap(&constraints.meanings, &key.wants),
                wants: Arc::new(key.wants),
                wishes: Arc::new(key.wishes),
                split: None,
                wish_split: None,
                family: None,
                fines: Arc::default(),
                cell: Vec::new(),
                demand: pods.len() as i64,
                whole: {
                    // `a-b/x` comes before `a/x`, though `a` comes before `a-b`.
                    let first = (0..pods.len()).min_by_key(|i| self.snapshot.pods[pods[*i] as usize].id());
                    pods[..=first.unwrap_or(0)].rotate_right(1);
                    Arc::new(pods)
                },
            })
            .collect();
        self.groups.sort_by_key(|group| group.whole[0]);
        crate::constraints::domains::find_private(&constraints.meanings, &mut self.groups);
        wishes::find_splits(self.snapshot, &wished, &mut constraints, &mut self.groups);
        self.constraints = Arc::new(constraints);
        self.wished = Arc::new(wished);
    }

    /// Moves groups that no bin can hold aside.
    fn set_aside(&mut self) {
        let mut on_existing = Bits::new(self.groups.len());
        self.existing.iter().flat_map(|bin| &bin.groups).for_each(|g| on_existing.insert(*g as usize));
        let launched = self.settle_weights();
        let keep: Vec<bool> =
            (0..self.groups.len()).map(|g| launched[g] || on_existing.contains(g)).collect();
        self.drop_groups(&keep);
    }

    /// Sets each group's `min_weight` to the highest weight that can hold it; says for each group whether any can.
    pub(crate) fn settle_weights(&mut self) -> Vec<bool> {
        let pods = self.groups.len();
        let mut best: Vec<Option<i32>> = vec![None; pods];
        for offering in &self.offerings {
            let weight = self.pool(offering).weight;
            for g in self.classes[offering.class as usize].iter() {
                if best[g].is_none_or(|have| have < weight)
                    && self.groups[g].request.iter().zip(&offering.capacity).all(|(w, c)| w <= c)
                {
                    best[g] = Some(weight);
                }
            }
        }
        for (group, best) in self.groups.iter_mut().zip(&best) {
            group.min_weight = best.unwrap_or(i32::MIN);
        }
        best.iter().map(Option::is_some).collect()
    }

    /// Opens the next lower NodePool weight to groups that have pods left; false if there is none for any of them.
    pub(crate) fn lower_weights(&mut self, left: &[i64]) -> bool {
        let mut lowered = false;
        for g in (0..self.groups.len()).filter(|g| left[*g] > 0) {
            let next = self
                .offerings
                .iter()
                .filter(|offering| self.pool(offering).weight < self.groups[g].min_weight)
                .filter(|offering| self.classes[offering.class as usize].contains(g))
                .filter(|offering| self.groups[g].request.iter().zip(&offering.capacity).all(|(w, c)| w <= c))
                .map(|offering| self.pool(offering).weight)
                .max();
            if let Some(weight) = next {
                self.groups[g].min_weight = weight;
                lowered = true;
            }
        }
        lowered
    }

    /// Opens to every group the NodePools a placement uses for it, whatever their weight.
    pub(crate) fn open_weights(&mut self, placement: &crate::placement::Placement) {
        for (offering, pattern) in &placement.launches {
            let weight = self.pool(&self.offerings[*offering]).weight;
            for (g, _) in pattern {
                let group = &mut self.groups[*g as usize];
                group.min_weight = group.min_weight.min(weight);
            }
        }
    }

    /// Whether NodePool weights keep some group from a pool it could use.
    pub(crate) fn weights_matter(&self) -> bool {
        self.offerings.iter().any(|offering| {
            let weight = self.pool(offering).weight;
            self.classes[offering.class as usize].iter().any(|g| {
                weight < self.groups[g].min_weight
                    && self.groups[g].request.iter().zip(&offering.capacity).all(|(w, c)| w <= c)
            })
        })
    }

    /// Moves groups with `keep[g] == false` to `no_fit` and renumbers the rest.
    pub(crate) fn drop_groups(&mut self, keep: &[bool]) {
        if keep.iter().all(|keep| *keep) {
            return;
        }
        let mut renumber = vec![u32::MAX; keep.len()];
        let mut next = 0;
        for (g, kept) in keep.iter().enumerate() {
            if *kept {
                renumber[g] = next;
                next += 1;
            }
        }
        let groups = std::mem::take(&mut self.groups);
        for (group, kept) in groups.into_iter().zip(keep) {
            if *kept { &mut self.groups } else { &mut self.no_fit }.push(group);
        }
        for class in &mut self.classes {
            let mut renumbered = Bits::new(next as usize);
            class.iter().filter(|g| keep[*g]).for_each(|g| renumbered.insert(renumber[g] as usize));
            *class = renumbered;
        }
        for bin in &mut self.existing {
            let kept = bin.groups.iter().zip(&bin.caps).filter(|(g, _)| keep[**g as usize]);
            let kept = kept.map(|(g, cap)| (renumber[*g as usize], *cap));
            (bin.groups, bin.caps) = kept.unzip();
        }
    }
}

/// What makes two pods the same to the planner.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey<'a> {
    request: Resources,
    priority: i32,
    node_selector: &'a stowage_models::selector::Labels,
    node_required: &'a Option<Vec<stowage_models::objects::NodeSelectorTerm>>,
    node_preferred: &'a [stowage_models::objects::PreferredNodeTerm],
    tolerations: &'a [stowage_models::objects::Toleration],
    wants: Wants<'a>,
    wishes: Wishes,
}

impl<'a> GroupKey<'a> {
    fn new(
        request: Resources,
        spec: &'a PodSpec,
        (wants, wishes): (Wants<'a>, Wishes),
        preferences: bool,
    ) -> GroupKey<'a> {
        GroupKey {
            wants,
            wishes,
            request,
            priority: spec.priority,
            node_selector: &spec.node_selector,
            node_required: &spec.affinity.node_required,
            node_preferred: if preferences { &spec.affinity.node_preferred } else { &[] },
            tolerations: &spec.tolerations,
        }
    }
}
