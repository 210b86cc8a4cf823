//! Carries requests out, or not.

use crate::planner;
use crate::removals;
use crate::world::{Event, REVIEW, World, marked};
use stowage_executor::{
    Answer, Claim, Draft, Drain, Failure, Ground, InstanceState, Listing, Pod, Proposal, ProposedAction,
    Request, SLOT_TAINT, Time, Unmet, Verdict,
};
use stowage_models::labels;
use stowage_models::objects::PodRef;
use stowage_models::quantity::CPU;

impl World {
    /// Takes a request; false if the process ended over it.
    pub(crate) fn request(&mut self, request: &Request) -> bool {
        let faults = self.scenario.faults;
        if !request.is_write() {
            self.carry_out(request, true);
            return true;
        }
        self.last_write = self.now;
        self.outcome.log.push(format!("{} {:?}", self.now.0, request.key()));
        if self.fault(faults.crash_before) {
            return false;
        }
        if self.fault(faults.crash_after) {
            self.carry_out(request, false);
            return false;
        }
        if self.fault(faults.reply_lost) {
            self.carry_out(request, false);
        } else if self.fault(faults.reply_late) {
            // Writes to the API server have a deadline of 10 s, shorter than the lease; calls to the cloud may hang.
            let cloud = matches!(request, Request::Launch { .. } | Request::Terminate { .. });
            let late = self.now.plus(self.rng.between(1000, if cloud { 90_000 } else { 10_000 }));
            self.at(late, Event::Late(Box::new(request.clone())));
        } else if self.fault(faults.refused) {
            let answer = match (request, request.key()) {
                (Request::Launch { claim, .. }, _) => Answer::NotLaunched {
                    claim: claim.clone(),
                    why: Failure::Later("RequestLimitExceeded".to_owned()),
                },
                (_, Some(key)) => Answer::Failed(key, "refused".to_owned()),
                _ => return true,
            };
            self.answer(self.now, answer);
        } else {
            self.carry_out(request, true);
        }
        true
    }

    /// Carries a request out.
    pub(crate) fn carry_out(&mut self, request: &Request, reply: bool) {
        let soon = self.now.plus(self.rng.between(10, 2000));
        let answer = self.outcome_of(request);
        if let (true, Some(answer)) = (reply, answer) {
            self.answer(soon, answer);
        }
    }

    fn outcome_of(&mut self, request: &Request) -> Option<Answer> {
        let done = request.key().map(Answer::Done);
        match request {
            Request::Plan { ticket, input, .. }
                if !input.urgent && !self.urgent.is_empty() && self.rng.per_mille(300) =>
            {
                // Their machines were taken away while it was made.
                return Some(Answer::GivenUp(*ticket));
            }
            Request::Plan { ticket, input, removals } => {
                self.number += 1;
                let id = format!("sha256:{:064x}", self.number);
                if *removals {
                    let renew = self.faulty() && self.rng.per_mille(500);
                    let what = (&self.urgent, renew, self.scenario.limit);
                    let mut batch = removals::plan(id, self.seen_by_planner(), input, what, self.now);
                    if self.scenario.review {
                        removals::by_force_alone(&mut batch);
                        self.propose(&batch);
                    }
                    return Some(Answer::Planned(*ticket, Box::new(batch)));
                }
                let batch = planner::plan(id, self.seen_by_planner(), input, self.scenario.limit);
                self.propose(&batch);
                return Some(Answer::Planned(*ticket, Box::new(batch)));
            }
            Request::Show(_) => return None,
            Request::Verify { plan, actions, .. } => {
                if let Some(rest) = self.rest_of(plan, actions) {
                    *self.outcome.reviewed.entry("Gone on with").or_default() += u32::from(rest.is_ok());
                    let outcome = rest.map(Box::new).map_err(|why| Unmet::new(Ground::Infeasible, why));
                    return Some(Answer::Verified { plan: plan.clone(), outcome });
                }
                let found = self.proposals.get(plan).map(|(_, batch)| batch.clone()).unwrap_or_default();
                let launches = actions.iter().filter(|action| action.starts_with("launch/")).count();
                // The referee of this world knows limits, and who must not be disrupted.
                let outcome = if self.claims.len() + launches > self.scenario.limit {
                    Err(Unmet::new(Ground::Infeasible, "beyond the limit".to_owned()))
                } else if let Some(why) = self.against_any(&found) {
                    Err(Unmet::new(Ground::Infeasible, why))
                } else if !found.waves.is_empty() {
                    Ok(Box::new(found))
                } else {
                    let launches = found.launches.into_iter().filter(|one| actions.contains(&one.action));
                    let launches = launches.collect();
                    Ok(Box::new(stowage_executor::PlannedBatch {
                        launches,
                        plan: plan.clone(),
                        ..Default::default()
                    }))
                };
                return Some(Answer::Verified { plan: plan.clone(), outcome });
            }
            Request::Judge { plan, verdict } => self.judge(plan, verdict),
            Request::CreateClaim(draft) => self.create(draft),
            Request::Launch { claim, token, body } => return Some(self.launch(claim, token, body)),
            Request::RecordLaunch { claim, instance } => {
                let claim = self.claims.get_mut(claim).filter(|claim| !claim.deleting);
                if let Some(claim) = claim {
                    claim.instance = Some(instance.id.clone());
                    claim.launched.get_or_insert(self.now);
                }
            }
            Request::Register { claim, node } => {
                if let (Some(claim), Some(node)) = (self.claims.get_mut(claim), self.nodes.get_mut(node)) {
                    node.taints.retain(|taint| taint.key != labels::TAINT_UNREGISTERED);
                    claim.registered.get_or_insert(self.now);
                }
            }
            Request::Initialize { claim, .. } => {
                if let Some(claim) = self.claims.get_mut(claim) {
                    claim.initialized.get_or_insert(self.now);
                }
            }
            Request::Tolerate { pod, slot } => {
                let found = self.pods.get_mut(&pod.id).filter(|(found, _)| found.uid == pod.uid);
                if let Some((found, _)) = found {
                    found.slots.insert(slot.clone());
                }
            }
            Request::Bind { pod, node } => self.bind(&pod.id, &pod.uid, node),
            Request::OpenNode { node, slot } => {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.taints.retain(|taint| taint.key != SLOT_TAINT || taint.value != *slot);
                }
            }
            Request::Intend(removal) => self.intend(removal),
            Request::Recheck { removals, .. } => return Some(self.recheck(removals)),
            Request::Leave { claim, plan, .. } => self.leave(claim, plan),
            Request::Keep { claim, node, plan, .. } => self.keep(claim, node.as_ref(), plan.as_ref()),
            Request::Disrupt { node } => self.close(node),
            Request::Evict { pod } => {
                if !self.lets_go(&pod.id) {
                    return request.key().map(|key| Answer::Failed(key, "the budget is used up".to_owned()));
                }
                self.watch_eviction(pod);
                self.evict(&pod.id, &pod.uid);
            }
            Request::DeletePod { pod, .. } => self.evict(&pod.id, &pod.uid),
            Request::Expect { owners, until } => self.expected = Some((owners.clone(), *until)),
            Request::Ungate { pod, node } => self.ungate(pod, node.as_ref()),
            Request::DeleteClaim { claim, .. } => {
                if let Some(claim) = self.claims.get_mut(claim) {
                    claim.deleting = true;
                    claim.deleted.get_or_insert(self.now);
                }
            }
            Request::Terminate { instance, empty, .. } => {
                let carries =
                    |name: &String| self.pods.values().any(|(pod, _)| pod.node.as_ref() == Some(name));
                if empty.as_ref().is_some_and(carries) {
                    return request.key().map(|key| Answer::Failed(key, "pods are there".to_owned()));
                }
                self.terminate(instance);
            }
            Request::DeleteNode { node, uid } => {
                self.nodes.retain(|name, found| name != node || found.uid != *uid);
            }
            Request::ReleaseClaim { claim } => {
                if self.claims.get(claim).is_some_and(|claim| claim.deleting) {
                    self.claims.remove(claim);
                }
            }
            Request::List => {
                let listing = Listing {
                    begun: self.now,
                    instances: self.cloud.list(self.now),
                    claims: self.claims.keys().cloned().collect(),
                };
                return Some(Answer::Listed(listing));
            }
        }
        done
    }

    /// What the controller does with a plan that needs approval.
    fn propose(&mut self, batch: &stowage_executor::PlannedBatch) {
        if !self.scenario.review || batch.actions() == 0 {
            return;
        }
        if !self.state.settings.needs_approval(batch) {
            // By force: as good as approved.
            self.approved.insert(batch.plan.clone(), batch.clone());
            return;
        }
        let action = |one: &stowage_executor::Intent| ProposedAction {
            action: one.action.clone(),
            pool: one.pool.clone(),
            pods: one.pods.clone(),
        };
        let proposal = Proposal {
            plan: batch.plan.clone(),
            created: self.now,
            expires: self.now.plus(REVIEW),
            actions: batch
                .waves
                .iter()
                .flat_map(|wave| &wave.launches)
                .chain(&batch.launches)
                .map(action)
                .collect(),
            waves: batch.waves.iter().map(removals::proposed).collect(),
            ..Proposal::default()
        };
        self.proposals.insert(batch.plan.clone(), (proposal, batch.clone()));
        let looked = self.now.plus(self.rng.between(5_000, REVIEW + 30_000));
        self.at(looked, Event::Looked(batch.plan.clone()));
    }

    fn judge(&mut self, plan: &str, verdict: &Verdict) {
        let word = match verdict {
            Verdict::Proposed => {
                if let Some((proposal, _)) = self.proposals.get_mut(plan) {
                    proposal.shown = true;
                }
                "Proposed"
            }
            Verdict::Executing => {
                self.begin(plan);
                "Executing"
            }
            Verdict::Refused(_) if self.executing.contains_key(plan) => {
                self.cut(plan);
                "Cut short"
            }
            Verdict::Refused(unmet) => {
                self.proposals.remove(plan);
                let written =
                    |claim: &Claim| claim.removal.as_ref().is_some_and(|removal| removal.plan == plan);
                if self.claims.values().any(|claim| claim.plan == plan || written(claim)) {
                    self.outcome.broken.push(format!("{}: {plan} is refused and has claims", self.now.0));
                }
                unmet.ground.as_str()
            }
        };
        *self.outcome.reviewed.entry(word).or_default() += 1;
    }

    /// What is created was approved, and is as it was approved.
    fn was_approved(&mut self, draft: &Draft) {
        let approved = self.approved.get(&draft.plan).and_then(|batch| {
            let launches = batch.waves.iter().flat_map(|wave| &wave.launches).chain(&batch.launches);
            launches.into_iter().find(|one| one.action == draft.intent.action)
        });
        if approved != Some(&draft.intent) {
            let (action, plan) = (&draft.intent.action, &draft.plan);
            self.outcome.broken.push(format!("{}: {action} of {plan} was not approved so", self.now.0));
        }
    }

    fn create(&mut self, draft: &Draft) {
        if self.scenario.review {
            self.was_approved(draft);
        }
        for pod in &draft.intent.pods {
            if !self.claims.contains_key(&draft.name) {
                *self.outcome.launches_for.entry(pod.id.clone()).or_default() += 1;
            }
        }
        let intent = &draft.intent;
        self.claims.entry(draft.name.clone()).or_insert_with(|| Claim {
            name: draft.name.clone(),
            created: self.now,
            pool: intent.pool.clone(),
            ours: true,
            plan: draft.plan.clone(),
            slot: draft.slot.clone(),
            token: draft.token.clone(),
            body: draft.body.clone(),
            pods: intent.pods.clone(),
            capacity: intent.capacity.clone(),
            allocatable: intent.allocatable.clone(),
            labels: intent.labels.clone(),
            finalizer: true,
            ..Claim::default()
        });
    }

    fn launch(&mut self, claim: &str, token: &str, body: &str) -> Answer {
        let faults = self.scenario.faults;
        if self.fault(faults.no_capacity)
            && let Ok(body) = stowage_executor::LaunchBody::parse(body)
        {
            for offering in body.offerings {
                let key = (offering.instance_type, offering.zone, offering.capacity_type);
                self.cloud.dry_up(key, self.now.plus(600_000));
            }
        }
        let invisible = if self.fault(faults.invisible) { self.rng.between(1000, 240_000) } else { 0 };
        let before = self.cloud.instances.len();
        let launched = self.cloud.launch(token, body, self.now, self.now.plus(invisible));
        match launched {
            Ok(launched) => {
                let instance = &launched.instance;
                if self.cloud.instances.len() > before {
                    let boot = Time(self.now.0 + self.rng.between(20_000, 90_000));
                    if !self.fault(faults.never_registers) {
                        self.at(boot, Event::Joins(instance.id.clone()));
                    }
                    if self.fault(faults.dies) {
                        let dies = self.now.plus(self.rng.between(5000, 300_000));
                        self.at(dies, Event::Dies(instance.id.clone()));
                    }
                }
                Answer::Launched { claim: claim.to_owned(), launched }
            }
            Err(why) => Answer::NotLaunched { claim: claim.to_owned(), why },
        }
    }

    /// Binds a pod as the executor asks: nobody checks, so that a node without room for it is a broken promise.
    fn bind(&mut self, name: &PodRef, uid: &str, on: &str) {
        let Some(node) = self.nodes.get(on) else { return };
        let taken = |(pod, cpu): &(Pod, i64)| if pod.node.as_deref() == Some(on) { *cpu } else { 0 };
        let free = node.allocatable.get(CPU) - self.pods.values().map(taken).sum::<i64>();
        let kept = node.taints.iter().any(|taint| taint.key == SLOT_TAINT);
        let Some((pod, cpu)) = self.pods.get_mut(name) else { return };
        if pod.uid != uid || !pod.pending {
            return;
        }
        if free < *cpu || !kept {
            let what = if kept { "without room for it" } else { "not kept for it" };
            self.outcome.broken.push(format!("{}: {} bound to {on}, {what}", self.now.0, name.0));
        }
        pod.pending = false;
        pod.node = Some(on.to_owned());
        let protected = marked(&self.scenario, name, self.now);
        pod.drain = Some(Drain { grace: 30_000, protected, ..Drain::default() });
    }

    fn terminate(&mut self, id: &str) {
        // Safety: what is ended was ours by tag, and its claim is gone or going.
        if let Some(machine) = self.cloud.instances.get(id) {
            let claim = self.claims.get(&machine.instance.claim);
            if !machine.instance.ours || claim.is_some_and(|claim| !claim.deleting) {
                self.outcome.broken.push(format!("{}: ended {id}, which is claimed", self.now.0));
            }
        }
        // And nothing runs on it any more, but what came a moment ago: its node was closed before.
        let nodes = self.nodes.values().filter(|node| node.instance.as_deref() == Some(id) && node.ready);
        let carries = |node: &stowage_executor::Node| {
            self.pods.values().any(|(pod, _)| pod.node.as_deref() == Some(&node.name))
        };
        if self.cloud.instances.get(id).is_some_and(|one| one.instance.state != InstanceState::Ended)
            && nodes.clone().any(carries)
        {
            self.outcome.broken.push(format!("{}: ended {id} with pods on it", self.now.0));
        }
        self.cloud.end(id, self.now);
        for node in self.nodes.values_mut().filter(|node| node.instance.as_deref() == Some(id)) {
            node.ready = false;
        }
        self.evict_from(id);
    }
}
