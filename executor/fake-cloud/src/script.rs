//! What a cloud is like, and what goes wrong in it: data.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A cloud from the beginning to the end of a test. Times are milliseconds since its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Script {
    /// Where chances come from.
    pub seed: u64,
    /// Region.
    pub region: String,
    /// Account.
    pub account: String,
    /// Zones.
    pub zones: Vec<Zone>,
    /// Subnets.
    pub subnets: Vec<Subnet>,
    /// Security groups.
    pub security_groups: Vec<SecurityGroup>,
    /// Images.
    pub images: Vec<Image>,
    /// Parameters of SSM.
    pub parameters: BTreeMap<String, String>,
    /// Names of queues.
    pub queues: Vec<String>,
    /// Capacity and price of offerings; the first rule that matches and says something counts. Offerings without a rule have
    /// all the capacity in the world at the catalogue's price.
    pub pools: Vec<PoolRule>,
    /// Capacity reservations.
    pub reservations: Vec<Reservation>,
    /// How many reads do not show a new instance yet.
    pub invisible_reads: u32,
    /// How many calls deny that a new launch template exists.
    pub invisible_templates: u32,
    /// From the launch until the instance is `running`.
    pub pending: u64,
    /// From the launch until the machine's kubelet would register.
    pub boot: u64,
    /// Largest page, whatever is asked for.
    pub page: usize,
    /// Token buckets.
    pub limits: Limits,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Notices to some of the instances that run at a time.
    pub notices: Vec<Notice>,
    /// ARNs of what ARC manages: what may be shifted away from a zone.
    pub managed: Vec<String>,
    /// Shifts of all of these away from zones.
    pub shifts: Vec<ZonalShift>,
}

impl Default for Script {
    /// `us-east-1` with three zones, a subnet of each with 4,091 free addresses, a security group and the images of EKS 1.36,
    /// all tagged `karpenter.sh/discovery=test`, a queue `stowage`, a cluster `demo` that ARC manages, and no faults. Instances run after 100 ms
    /// and boot in a second.
    fn default() -> Script {
        let discovery = || BTreeMap::from([("karpenter.sh/discovery".to_owned(), "test".to_owned())]);
        let zones = [("us-east-1a", "use1-az1"), ("us-east-1b", "use1-az2"), ("us-east-1c", "use1-az4")];
        let letters = ["a", "b", "c"];
        let mut parameters = BTreeMap::new();
        let mut images = Vec::new();
        for (n, (family, arch, path, owner)) in [
            (
                "al2023",
                "x86_64",
                "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/image_id",
                "amazon",
            ),
            (
                "al2023",
                "arm64",
                "/aws/service/eks/optimized-ami/1.36/amazon-linux-2023/arm64/standard/recommended/image_id",
                "amazon",
            ),
            (
                "al2",
                "x86_64",
                "/aws/service/eks/optimized-ami/1.36/amazon-linux-2/recommended/image_id",
                "amazon",
            ),
            (
                "al2",
                "arm64",
                "/aws/service/eks/optimized-ami/1.36/amazon-linux-2-arm64/recommended/image_id",
                "amazon",
            ),
            (
                "bottlerocket",
                "x86_64",
                "/aws/service/bottlerocket/aws-k8s-1.36/x86_64/latest/image_id",
                "amazon",
            ),
            (
                "bottlerocket",
                "arm64",
                "/aws/service/bottlerocket/aws-k8s-1.36/arm64/latest/image_id",
                "amazon",
            ),
        ]
        .into_iter()
        .enumerate()
        {
            let id = format!("ami-{:017x}", n + 1);
            parameters.insert(path.to_owned(), id.clone());
            images.push(Image {
                id,
                name: format!("{family}-{arch}-1.36-v20261101"),
                owner: owner.to_owned(),
                arch: arch.to_owned(),
                created: "2026-11-01T00:00:00.000Z".to_owned(),
                tags: discovery(),
            });
        }
        Script {
            seed: 0,
            region: "us-east-1".to_owned(),
            account: "111122223333".to_owned(),
            zones: zones
                .iter()
                .map(|(name, id)| Zone { name: (*name).to_owned(), id: (*id).to_owned() })
                .collect(),
            subnets: letters
                .iter()
                .map(|letter| Subnet {
                    id: format!("subnet-0{letter}"),
                    zone: format!("us-east-1{letter}"),
                    free: 4091,
                    tags: discovery(),
                })
                .collect(),
            security_groups: vec![SecurityGroup {
                id: "sg-01".to_owned(),
                name: "nodes".to_owned(),
                tags: discovery(),
            }],
            images,
            parameters,
            queues: vec!["stowage".to_owned()],
            pools: Vec::new(),
            reservations: Vec::new(),
            invisible_reads: 0,
            invisible_templates: 0,
            pending: 100,
            boot: 1000,
            page: 1000,
            limits: Limits::Ec2,
            faults: Vec::new(),
            notices: Vec::new(),
            managed: vec!["arn:aws:eks:us-east-1:111122223333:cluster/demo".to_owned()],
            shifts: Vec::new(),
        }
    }
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    /// Name in this account.
    pub name: String,
    /// Id, the same in all accounts.
    pub id: String,
}

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Id.
    pub id: String,
    /// Zone.
    pub zone: String,
    /// Free addresses at the start; each instance takes one.
    pub free: u32,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A capacity reservation, for instances that name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// Id.
    pub id: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Instances.
    pub total: u32,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// A security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Owner: an account, `self` or `amazon`.
    pub owner: String,
    /// Architecture as EC2 spells it: `x86_64` or `arm64`.
    pub arch: String,
    /// When it was made.
    pub created: String,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// From when on something has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// From then on.
    pub at: u64,
    /// Instances, or micro-dollars an hour.
    pub value: u64,
}

/// Capacity and price of offerings. `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PoolRule {
    /// Instance type.
    #[serde(default = "any")]
    pub instance_type: String,
    /// Zone.
    #[serde(default = "any")]
    pub zone: String,
    /// `spot` or `on-demand`.
    #[serde(default = "any")]
    pub capacity_type: String,
    /// Instances that can run at once; before the first step, and without steps, all that are asked for. When it falls below what runs, spot
    /// instances are taken back.
    #[serde(default)]
    pub capacity: Vec<Step>,
    /// Price; without steps the catalogue's.
    #[serde(default)]
    pub price: Vec<Step>,
}

fn any() -> String {
    "*".to_owned()
}

impl PoolRule {
    /// A capacity that is the same at all times.
    #[must_use]
    pub fn capacity(instance_type: &str, zone: &str, capacity_type: &str, value: u64) -> PoolRule {
        PoolRule {
            instance_type: instance_type.to_owned(),
            zone: zone.to_owned(),
            capacity_type: capacity_type.to_owned(),
            capacity: vec![Step { at: 0, value }],
            price: Vec::new(),
        }
    }

    /// Capacity as it was recorded: how many instances could be had, at equal intervals.
    #[must_use]
    pub fn recorded(mut self, gap: u64, available: &[u64]) -> PoolRule {
        self.capacity.clear();
        for (at, value) in (0..).step_by(usize::try_from(gap.max(1)).unwrap_or(usize::MAX)).zip(available) {
            if self.capacity.last().is_none_or(|last| last.value != *value) {
                self.capacity.push(Step { at, value: *value });
            }
        }
        self
    }
}

/// The value that holds at a time.
pub(crate) fn at(steps: &[Step], now: u64) -> Option<u64> {
    steps.iter().rev().find(|step| step.at <= now).map(|step| step.value)
}

/// Token buckets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limits {
    /// EC2's for an account and region, as Karpenter's own fake has them: reads 20 a second after a burst of 100, writes 5 after 50,
    /// TerminateInstances 5 after 100, CreateTags 10 after 100.
    #[default]
    Ec2,
    /// None.
    Off,
}

/// Something that goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Action; `*` stands for any text.
    pub action: String,
    /// What happens.
    pub effect: Effect,
    /// This many calls of the action are left alone first.
    #[serde(default)]
    pub skip: u32,
    /// How often it happens.
    #[serde(default = "always")]
    pub times: u32,
    /// How often of a thousand chances.
    #[serde(default = "certain")]
    pub permille: u32,
    /// Not before.
    #[serde(default)]
    pub from: u64,
    /// Not after.
    #[serde(default = "forever")]
    pub until: u64,
}

fn always() -> u32 {
    u32::MAX
}

fn certain() -> u32 {
    1000
}

fn forever() -> u64 {
    u64::MAX
}

impl Fault {
    /// One that strikes every call.
    #[must_use]
    pub fn new(action: &str, effect: Effect) -> Fault {
        Fault {
            action: action.to_owned(),
            effect,
            skip: 0,
            times: always(),
            permille: certain(),
            from: 0,
            until: forever(),
        }
    }

    /// Leaves some calls alone first.
    #[must_use]
    pub fn after(mut self, calls: u32) -> Fault {
        self.skip = calls;
        self
    }

    /// Strikes so often only.
    #[must_use]
    pub fn times(mut self, times: u32) -> Fault {
        self.times = times;
        self
    }
}

/// What goes wrong with a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Effect {
    /// Refused.
    Refuse {
        /// Error code.
        code: String,
        /// HTTP status.
        status: u16,
    },
    /// The connection ends, and nothing was done.
    Drop,
    /// It is done, and the connection ends without an answer.
    LoseReply,
    /// Nothing is done, and no answer ever comes.
    Hang,
    /// It is done, and no answer ever comes.
    HangAfter,
    /// It is done, and the answer comes late.
    Slow {
        /// Milliseconds.
        by: u64,
    },
    /// The answer is cut off in the middle.
    Truncate,
}

impl Effect {
    /// EC2's throttling.
    #[must_use]
    pub fn throttle() -> Effect {
        Effect::Refuse { code: "RequestLimitExceeded".to_owned(), status: 503 }
    }
}

/// Notices to instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// When.
    pub at: u64,
    /// What.
    pub kind: NoticeKind,
    /// To how many of a thousand running instances.
    #[serde(default = "certain")]
    pub permille: u32,
    /// Queue it is put into; without, nobody is told.
    #[serde(default)]
    pub queue: Option<String>,
}

/// What an instance is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NoticeKind {
    /// A spot instance ends two minutes later.
    SpotInterruption,
    /// A spot instance may end soon.
    Rebalance,
    /// Its state has changed: it is being shut down, at once.
    StateChange,
}

/// A shift away from a zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ZonalShift {
    /// Id of the zone.
    pub away_from: String,
    /// Since when.
    #[serde(default)]
    pub from: u64,
    /// Until when. People say so when they begin it; of an autoshift nobody is told.
    #[serde(default = "forever")]
    pub until: u64,
    /// AWS has begun it.
    #[serde(default)]
    pub autoshift: bool,
    /// Another shift goes before it: it is active, and not in effect.
    #[serde(default)]
    pub outdone: bool,
}

impl ZonalShift {
    /// One that people have begun, and that lasts.
    #[must_use]
    pub fn away_from(zone_id: &str) -> ZonalShift {
        ZonalShift {
            away_from: zone_id.to_owned(),
            from: 0,
            until: forever(),
            autoshift: false,
            outdone: false,
        }
    }
}
