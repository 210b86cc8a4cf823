//! The cloud: a pure state machine.

use crate::bucket::Bucket;
use crate::form::{Form, decode, glob};
use crate::instances::Machine;
use crate::queue::Queue;
use crate::script::{Effect, Limits, Script, at};
use crate::templates::Template;
use crate::xml;
use std::collections::BTreeMap;
use stowage_models::catalog::Catalog;
use stowage_models::random::Random;

/// A service of AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// EC2: a form in, XML out.
    Ec2,
    /// One of those that speak JSON; the target is in the action, such as `AmazonSSM.GetParameter`.
    Json,
    /// One that speaks REST: the path is the body, JSON comes out.
    Rest,
}

/// A call, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// When, in milliseconds since the start.
    pub at: u64,
    /// Action, such as `CreateFleet`.
    pub action: String,
    /// Parameters: of a form by their paths; of JSON the body, under `body`; of REST the path, under `path`.
    pub parameters: BTreeMap<String, String>,
    /// `ok`, or the code of the refusal.
    pub outcome: String,
    /// What went wrong on purpose.
    pub fault: Option<Effect>,
}

/// What to do with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Send it.
    Send,
    /// Send it this many milliseconds later.
    SendAfter(u64),
    /// End the connection.
    Close,
    /// Keep the connection, and never send anything.
    Hang,
    /// Send half of it, and end the connection.
    SendHalf,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: String,
    /// Whether it is sent.
    pub then: Then,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) status: u16,
}

impl Refusal {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Refusal {
        Refusal { code: code.to_owned(), message: message.into(), status: 400 }
    }
}

/// What is inside of an answer to EC2: elements.
pub(crate) type Answer = Result<Vec<String>, Refusal>;

/// The cloud.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) script: Script,
    pub(crate) catalog: Catalog,
    /// Milliseconds since the Unix epoch at its start.
    pub(crate) epoch: i64,
    pub(crate) now: u64,
    pub(crate) rng: Random,
    pub(crate) machines: BTreeMap<String, Machine>,
    pub(crate) templates: BTreeMap<String, Template>,
    pub(crate) queues: BTreeMap<String, Queue>,
    pub(crate) ailments: BTreeMap<String, crate::statuses::Ailment>,
    /// Parameters and answer by action and client token.
    tokens: BTreeMap<(String, String), (Form, Vec<String>)>,
    buckets: BTreeMap<&'static str, Bucket>,
    /// How often each fault was looked at and how often it has struck.
    struck: Vec<(u32, u32)>,
    /// Notices that are over.
    pub(crate) noticed: usize,
    pub(crate) ids: u64,
    calls: Vec<Call>,
}

impl World {
    /// A cloud at its start. `epoch` is what its clock shows then.
    #[must_use]
    pub fn new(script: Script, catalog: Catalog, epoch: i64) -> World {
        let queues = script.queues.iter().map(|name| (name.clone(), Queue::default())).collect();
        World {
            rng: Random::new(script.seed),
            struck: vec![(0, 0); script.faults.len()],
            script,
            catalog,
            epoch,
            now: 0,
            machines: BTreeMap::new(),
            templates: BTreeMap::new(),
            queues,
            ailments: BTreeMap::new(),
            tokens: BTreeMap::new(),
            buckets: BTreeMap::new(),
            noticed: 0,
            ids: 0,
            calls: Vec::new(),
        }
    }

    /// Adds a fault from now on.
    pub fn add_fault(&mut self, fault: crate::script::Fault) {
        self.script.faults.push(fault);
        self.struck.push((0, 0));
    }

    /// Adds a notice, which is given as soon as its time has come. Later ones come later.
    pub fn add_notice(&mut self, notice: crate::script::Notice) {
        self.script.notices.push(notice);
    }

    /// Sets what is shifted away from zones from now on.
    pub fn set_shifts(&mut self, shifts: Vec<crate::script::ZonalShift>) {
        self.script.shifts = shifts;
    }

    /// Sets capacity and price of offerings from now on; it comes before other rules.
    pub fn add_pool(&mut self, rule: crate::script::PoolRule) {
        self.script.pools.insert(0, rule);
    }

    /// What was called so far.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// How often an action was called, whatever came of it.
    #[must_use]
    pub fn count(&self, action: &str) -> usize {
        self.calls.iter().filter(|call| call.action == action).count()
    }

    /// All machines there ever were, by id.
    #[must_use]
    pub fn machines(&self) -> &BTreeMap<String, Machine> {
        &self.machines
    }

    /// Launch templates by name.
    #[must_use]
    pub fn templates(&self) -> &BTreeMap<String, Template> {
        &self.templates
    }

    /// Its clock, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn clock(&self, at: u64) -> i64 {
        self.epoch.saturating_add(i64::try_from(at).unwrap_or(i64::MAX))
    }

    pub(crate) fn id(&mut self, prefix: &str) -> String {
        self.ids += 1;
        // Looks like EC2's and is the same for the same script.
        format!("{prefix}-{:012x}{:05x}", self.rng.next_u64() & 0xffff_ffff_ffff, self.ids)
    }

    /// Answers a call at a time, which never goes back. EC2: CreateFleet (instant), DescribeInstances, TerminateInstances, CreateTags,
    /// DescribeInstanceStatus, DescribeInstanceTypes, DescribeInstanceTypeOfferings, DescribeSpotPriceHistory, DescribeSubnets, DescribeSecurityGroups,
    /// DescribeImages, DescribeAvailabilityZones, DescribeCapacityReservations, CreateLaunchTemplate, DescribeLaunchTemplates,
    /// DeleteLaunchTemplate. JSON: SSM GetParameter and GetParameters, SQS GetQueueUrl, SendMessage, ReceiveMessage, DeleteMessage and
    /// DeleteMessageBatch, Pricing GetProducts. REST: ARC GetManagedResource.
    pub fn call(&mut self, now: u64, service: Service, action: &str, body: &str) -> Reply {
        self.advance(now);
        let form = match service {
            Service::Ec2 => Form::parse(body),
            Service::Json => Form(BTreeMap::from([("body".to_owned(), body.to_owned())])),
            Service::Rest => Form(BTreeMap::from([("path".to_owned(), decode(body))])),
        };
        let action = if action.is_empty() { form.get("Action").unwrap_or_default() } else { action };
        let fault = self.fault(action);
        let undone = matches!(fault, Some(Effect::Refuse { .. } | Effect::Drop | Effect::Hang));
        let answer = match &fault {
            Some(Effect::Refuse { code, status }) => Err(Refusal {
                code: code.clone(),
                message: "A fault of the script".to_owned(),
                status: *status,
            }),
            _ if undone => Ok(Vec::new()),
            _ if service == Service::Ec2 && !self.admit(action) => Err(Refusal {
                code: "RequestLimitExceeded".to_owned(),
                message: "Request limit exceeded.".to_owned(),
                status: 503,
            }),
            _ if service == Service::Json => self.json(action, body).map(|value| vec![value.to_string()]),
            _ if service == Service::Rest => {
                self.rest(form.get("path").unwrap_or_default()).map(|value| vec![value.to_string()])
            }
            _ => self.ec2(action, &form),
        };
        let request = format!("{:08x}-0000-4000-8000-{:012x}", self.script.seed, self.calls.len());
        let outcome = answer.as_ref().map_or_else(|refusal| refusal.code.clone(), |_| "ok".to_owned());
        let (status, body) = match (service, answer) {
            (Service::Ec2, Ok(inner)) => (200, xml::response(action, &request, &inner)),
            (Service::Ec2, Err(refusal)) => {
                (refusal.status, xml::refusal(&refusal.code, &refusal.message, &request))
            }
            (Service::Json | Service::Rest, Ok(inner)) => (200, inner.concat()),
            (Service::Json | Service::Rest, Err(refusal)) => {
                let body = serde_json::json!({ "__type": refusal.code, "message": refusal.message });
                (refusal.status, body.to_string())
            }
        };
        let then = match &fault {
            None | Some(Effect::Refuse { .. }) => Then::Send,
            Some(Effect::Drop | Effect::LoseReply) => Then::Close,
            Some(Effect::Hang | Effect::HangAfter) => Then::Hang,
            Some(Effect::Slow { by }) => Then::SendAfter(*by),
            Some(Effect::Truncate) => Then::SendHalf,
        };
        let call = Call { at: now, action: action.to_owned(), parameters: form.0, outcome, fault };
        self.calls.push(call);
        Reply { status, body, then }
    }

    /// The first fault that strikes.
    fn fault(&mut self, action: &str) -> Option<Effect> {
        let now = self.now;
        let mut effect = None;
        for (fault, (seen, struck)) in self.script.faults.iter().zip(&mut self.struck) {
            if !glob(&fault.action, action) || now < fault.from || now > fault.until {
                continue;
            }
            // Every fault counts every call, also those that another strikes.
            *seen += 1;
            let due = effect.is_none() && *seen > fault.skip && *struck < fault.times;
            if due && self.rng.per_mille(fault.permille) {
                *struck += 1;
                effect = Some(fault.effect.clone());
            }
        }
        effect
    }

    /// Takes a token of the action's bucket.
    fn admit(&mut self, action: &str) -> bool {
        let (class, rate, burst) = match action {
            "TerminateInstances" => ("terminate", 5, 100),
            "RunInstances" => ("run", 2, 5),
            "CreateTags" => ("tag", 10, 100),
            _ if action.starts_with("Describe") => ("read", 20, 100),
            _ => ("write", 5, 50),
        };
        let now = self.now;
        self.script.limits == Limits::Off
            || self.buckets.entry(class).or_insert_with(|| Bucket::new(rate, burst)).take(now)
    }

    fn ec2(&mut self, action: &str, form: &Form) -> Answer {
        if form.get("DryRun") == Some("true") {
            let message = "Request would have succeeded, but DryRun flag is set.".to_owned();
            return Err(Refusal { code: "DryRunOperation".to_owned(), message, status: 412 });
        }
        match action {
            "CreateFleet" => self.once(action, form, World::create_fleet),
            "CreateLaunchTemplate" => self.once(action, form, World::create_template),
            "DescribeInstanceStatus" => self.describe_statuses(form),
            "DescribeInstances" => self.describe_instances(form),
            "TerminateInstances" => self.terminate(form),
            "CreateTags" => self.create_tags(form),
            "DescribeLaunchTemplates" => self.describe_templates(form),
            "DeleteLaunchTemplate" => self.delete_template(form),
            "DescribeSubnets" => self.describe_subnets(form),
            "DescribeSecurityGroups" => self.describe_security_groups(form),
            "DescribeImages" => self.describe_images(form),
            "DescribeAvailabilityZones" => self.describe_zones(form),
            "DescribeCapacityReservations" => self.describe_reservations(form),
            "DescribeInstanceTypes" => self.describe_types(form),
            "DescribeInstanceTypeOfferings" => self.describe_offerings(form),
            "DescribeSpotPriceHistory" => self.describe_spot_prices(form),
            other => Err(Refusal::new(
                "InvalidAction",
                format!("The action {other} is not valid for this web service."),
            )),
        }
    }

    /// A call with a client token is done once. With the same token and other parameters it is refused.
    fn once(&mut self, action: &str, form: &Form, deed: impl FnOnce(&mut World, &Form) -> Answer) -> Answer {
        let Some(token) = form.get("ClientToken") else { return deed(self, form) };
        let key = (action.to_owned(), token.to_owned());
        if let Some((before, answer)) = self.tokens.get(&key) {
            if before != form {
                let message = "The client token is used with other parameters than before.";
                return Err(Refusal::new("IdempotentParameterMismatch", message));
            }
            return Ok(answer.clone());
        }
        let answer = deed(self, form)?;
        self.tokens.insert(key, (form.clone(), answer.clone()));
        Ok(answer)
    }

    /// A page of things, and the token of the next.
    pub(crate) fn page<T>(&self, form: &Form, all: Vec<T>) -> Result<(Vec<T>, Vec<String>), Refusal> {
        let bad = || Refusal::new("InvalidNextToken", "The specified NextToken is invalid.");
        let from = match form.get("NextToken").filter(|token| !token.is_empty()) {
            Some(token) => token.parse::<usize>().map_err(|_| bad())?,
            None => 0,
        };
        let asked =
            form.number("MaxResults").and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let most = asked.min(self.script.page).max(1);
        let (end, len) = (from.saturating_add(most), all.len());
        if from > len {
            return Err(bad());
        }
        let next = if end < len { vec![xml::text("nextToken", &end.to_string())] } else { Vec::new() };
        Ok((all.into_iter().skip(from).take(most).collect(), next))
    }

    /// What of an offering can still be launched; `None`: as many as asked for.
    pub(crate) fn free(&self, instance_type: &str, zone: &str, capacity_type: &str) -> Option<u64> {
        let rules = self.script.pools.iter().filter(|rule| {
            glob(&rule.instance_type, instance_type)
                && glob(&rule.zone, zone)
                && glob(&rule.capacity_type, capacity_type)
        });
        let mut capacities = rules.filter_map(|rule| at(&rule.capacity, self.now));
        let capacity = capacities.next()?;
        let used = self.machines.values().filter(|machine| {
            machine.ended.is_none()
                && machine.instance_type == instance_type
                && machine.zone == zone
                && machine.capacity_type == capacity_type
        });
        Some(capacity.saturating_sub(used.count() as u64))
    }

    /// Whether more of an offering run than there is capacity for.
    pub(crate) fn excess(&self, instance_type: &str, zone: &str, capacity_type: &str) -> bool {
        let rules = self.script.pools.iter().filter(|rule| {
            glob(&rule.instance_type, instance_type)
                && glob(&rule.zone, zone)
                && glob(&rule.capacity_type, capacity_type)
        });
        let capacity = rules.filter_map(|rule| at(&rule.capacity, self.now)).next();
        let used = self.machines.values().filter(|machine| {
            machine.ended.is_none()
                && machine.ends.is_none()
                && machine.instance_type == instance_type
                && machine.zone == zone
                && machine.capacity_type == capacity_type
        });
        capacity.is_some_and(|capacity| used.count() as u64 > capacity)
    }

    /// Price of an offering now, micro-dollars an hour; `None` if it is not offered.
    #[must_use]
    pub fn price(&self, instance_type: &str, zone: &str, capacity_type: &str) -> Option<i64> {
        let known = self.catalog.get(instance_type)?.price(zone, capacity_type)?;
        let rules = self.script.pools.iter().filter(|rule| {
            glob(&rule.instance_type, instance_type)
                && glob(&rule.zone, zone)
                && glob(&rule.capacity_type, capacity_type)
        });
        let scripted = rules.filter_map(|rule| at(&rule.price, self.now)).next();
        Some(scripted.and_then(|price| i64::try_from(price).ok()).unwrap_or(known.usd.0))
    }
}
