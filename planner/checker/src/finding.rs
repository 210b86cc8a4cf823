//! What is wrong with a plan.

/// One thing wrong with a plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Machine-readable code, one of [`code`].
    pub code: &'static str,
    /// A sentence that names the object and the two figures that disagree.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// Findings so far.
#[derive(Debug, Default)]
pub(crate) struct Findings(pub(crate) Vec<Finding>);

impl Findings {
    pub(crate) fn add(&mut self, code: &'static str, message: String) {
        self.0.push(Finding { code, message });
    }

    /// Adds a finding unless two figures agree.
    pub(crate) fn expect_eq<T: PartialEq + std::fmt::Debug>(
        &mut self,
        code: &'static str,
        what: &str,
        (stated, actual): (&T, &T),
    ) {
        if stated != actual {
            self.add(code, format!("{what}: the plan says {stated:?}, it is {actual:?}"));
        }
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// The codes of findings.
        pub mod code {
            $($(#[$doc])* pub const $name: &str = $text;)*
            /// All of them.
            pub const ALL: &[&str] = &[$($text),*];
        }
    };
}

codes! {
    /// The id is not the digest of the plan.
    ID = "id";
    /// Not a plan document.
    KIND = "kind";
    /// A format this crate does not judge.
    VERSION = "version";
    /// The snapshot itself names an object twice; nothing can be judged against it.
    SNAPSHOT = "snapshot";
    /// Made from another snapshot.
    STALE_SNAPSHOT = "stale-snapshot";
    /// Facts copied from the snapshot differ from it.
    SNAPSHOT_REF = "snapshot-ref";
    /// Made with another catalogue.
    STALE_CATALOG = "stale-catalog";
    /// Facts copied from the catalogue differ from it.
    CATALOG_REF = "catalog-ref";
    /// The policy is out of range.
    POLICY = "policy";
    /// A list is not sorted, or names something twice.
    ORDER = "order";
    /// Slots are not numbered in sequence.
    SLOT = "slot";
    /// A pod that does not wait for a place.
    UNKNOWN_POD = "unknown-pod";
    /// A pod in two places.
    DUPLICATE_POD = "duplicate-pod";
    /// A pending pod the plan says nothing about.
    MISSING_POD = "missing-pod";
    /// A launch that is no offering.
    OFFERING = "offering";
    /// A wrong price.
    PRICE = "price";
    /// A wrong remark on whether the price is an estimate.
    ESTIMATED = "estimated";
    /// A wrong allocatable.
    ALLOCATABLE = "allocatable";
    /// A wrong sum of DaemonSet requests.
    DAEMON_SETS = "daemon-sets";
    /// A wrong sum of pod requests.
    REQUESTED = "requested";
    /// A pod that does not match its node.
    MATCH = "match";
    /// Pods that do not fit their node.
    CAPACITY = "capacity";
    /// A launch for no pod.
    EMPTY_LAUNCH = "empty-launch";
    /// More alternates than allowed.
    ALTERNATE_COUNT = "alternate-count";
    /// Alternates out of order or twice.
    ALTERNATE_ORDER = "alternate-order";
    /// An alternate that is no other offering of the same pool and labels.
    ALTERNATE_OFFERING = "alternate-offering";
    /// An alternate's wrong price.
    ALTERNATE_PRICE = "alternate-price";
    /// An alternate that cannot hold the pods.
    ALTERNATE_FIT = "alternate-fit";
    /// A launch and its alternates have fewer values of a key than the NodePool asks for.
    MIN_VALUES = "min-values";
    /// The list of existing nodes is not that of the snapshot.
    NODE_LIST = "node-list";
    /// Wrong facts about an existing node.
    NODE_FACTS = "node-facts";
    /// Pods on an existing node that takes none.
    NODE_CLOSED = "node-closed";
    /// NodePool limits are exceeded.
    LIMIT = "limit";
    /// A pod in a NodePool of too low a weight.
    WEIGHT = "weight";
    /// A row's minimal weight is not justified.
    MIN_WEIGHT = "min-weight";
    /// A constraint between pods, or on volumes or host ports, is not met where the plan puts a pod.
    CONSTRAINT = "constraint";
    /// A pod left out for constraints that has none, or whose volumes let no node take it and that is left out for something
    /// else.
    CONSTRAINT_REASON = "constraint-reason";
    /// A placed pod that plans must leave alone.
    UNSUPPORTED_PLACED = "unsupported-placed";
    /// A pod left out for another reason than the true one, as to unsupported constraints.
    UNSUPPORTED = "unsupported";
    /// A pod left out as too large or too particular that something holds.
    NO_FIT = "no-fit";
    /// A pod left out for limits that nothing holds anyway.
    LIMITS_REASON = "limits-reason";
    /// A pod left out for limits that would still fit.
    NOT_MAXIMAL = "not-maximal";
    /// An entry about no pod.
    UNPLACED_EMPTY = "unplaced-empty";
    /// A wrong figure of the summary.
    FIGURE = "figure";
    /// A wrong gap.
    GAP = "gap";
    /// A search that ended elsewhere, or went backwards.
    PROGRESS = "progress";
    /// Rows are not the groups of the plan.
    CERT_ROWS = "cert-rows";
    /// A negative multiplier, or a zero where it must be left out.
    CERT_MULTIPLIER = "cert-multiplier";
    /// A multiplier for a limit that does not exist, or out of order.
    CERT_LIMITS = "cert-limits";
    /// A vector of the wrong length, with a negative entry, twice or unused; a resource twice.
    CERT_VECTORS = "cert-vectors";
    /// The run-length list does not name one vector per offering.
    CERT_OFFERINGS = "cert-offerings";
    /// Vectors of existing nodes out of order, or for nodes that take no pod.
    CERT_NODES = "cert-nodes";
    /// A part with rows of another, or a tree that does not end where it should.
    CERT_PARTS = "cert-parts";
    /// An offering whose pods are worth more than it costs: the multipliers prove nothing.
    CERT_VALUE = "cert-value";
    /// Amounts beyond 128 bits.
    CERT_RANGE = "cert-range";
    /// A bound without weights and no certificate, or the reverse.
    CERT_WEIGHTS = "cert-weights";
    /// A plan with nodes to remove under a policy without consolidation, or the reverse.
    CONSOLIDATION = "consolidation";
    /// What is decided about a node is not what the rules say.
    DECISION = "decision";
    /// A node that must stay is removed.
    PROTECTED = "protected";
    /// A move that is none of the removals', or goes elsewhere than the pod is placed.
    MOVE = "move";
    /// Waves that exceed what is allowed at once, or do not do everything once.
    WAVE = "wave";
    /// Nodes are removed for less than the policy wants to save.
    THRESHOLD = "threshold";
    /// Too much of a NodePool's spot capacity is of one type in one zone, and need not be.
    DIVERSITY = "diversity";
    /// A spot node is replaced by another that too few types could be.
    FLEXIBILITY = "flexibility";
    /// The bound is not what the multipliers prove.
    BOUND = "bound";
}
