package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/operator/options"
	podutils "sigs.k8s.io/karpenter/pkg/utils/pod"
)

// solveCap is the time Karpenter gives itself for one batch (Provisioner.Schedule of
// pkg/controllers/provisioning/provisioner.go).
const solveCap = time.Minute

// launchTypes is how many instance types the AWS provider hands to EC2 at most, cheapest first (maxInstanceTypes of
// pkg/providers/instance/instance.go).
const launchTypes = 60

// roundsMax bounds the batches; each but the last places a pod at least, so it only guards against a fault of ours.
const roundsMax = 1000

// round is what one batch of the provisioner decided.
type round struct {
	results scheduling.Results
	pods    int           // pods in the batch
	prepare time.Duration // everything before Solve: state, pods, topology, scheduler
	solve   time.Duration
	finish  time.Duration // everything after Solve
	cpu     time.Duration // of all threads, garbage collection included
	timeout bool
	chosen  []choice // per new NodeClaim
}

func (r *round) seconds() float64 { return (r.prepare + r.solve + r.finish).Seconds() }

// placed counts the pods the batch found a node for.
func (r *round) placed() int {
	n := 0
	for _, claim := range r.results.NewNodeClaims {
		n += len(claim.Pods)
	}
	for _, node := range r.results.ExistingNodes {
		n += len(node.Pods)
	}
	return n
}

// schedule is one batch: what Provisioner.Schedule does, call by call and in the same order, so that its parts can be
// timed and the cap be told from an end. Nothing is left out but log lines. Solve has Karpenter's own cap, or what is left
// of the time given.
func (c *cluster) schedule(ctx context.Context) (*round, error) {
	start, cpu := time.Now(), cpuTime()
	r := &round{}
	nodes := c.state.DeepCopyNodes()
	pending, err := c.provisioner.GetPendingPods(ctx)
	if err != nil {
		return nil, err
	}
	deleting, err := nodes.Deleting().CurrentlyReschedulablePods(ctx, c.store, c.clock, c.recorder)
	if err != nil {
		return nil, err
	}
	pods := append(pending, deleting...)
	if r.pods = len(pods); r.pods == 0 {
		r.prepare = time.Since(start)
		return r, nil
	}
	deletingUIDs := sets.New[types.UID]()
	for _, pod := range deleting {
		deletingUIDs.Insert(pod.UID)
	}
	workers := int(math.Ceil(float64(options.FromContext(ctx).CPURequests) / 1000.0))
	opts := []scheduling.Options{
		scheduling.DisableReservedCapacityFallback,
		scheduling.NumConcurrentReconciles(workers),
		scheduling.MinValuesPolicy(options.FromContext(ctx).MinValuesPolicy),
	}
	if options.FromContext(ctx).PreferencePolicy == options.PreferencePolicyIgnore {
		opts = append(opts, scheduling.IgnorePreferences)
	}
	scheduler, err := c.provisioner.NewScheduler(ctx, pods, nodes.Active(), deletingUIDs, opts...)
	r.prepare = time.Since(start)
	if err != nil {
		return nil, fmt.Errorf("creating scheduler: %w", err)
	}

	solving := time.Now()
	timeout, cancel := context.WithTimeout(ctx, min(solveCap, max(c.clock.left(), 0)))
	defer cancel()
	r.results, err = scheduler.Solve(timeout, pods)
	r.solve = time.Since(solving)
	if r.timeout = errors.Is(err, context.DeadlineExceeded); err != nil && !r.timeout {
		return nil, fmt.Errorf("solving: %w", err)
	}

	finishing := time.Now()
	r.results = r.results.TruncateInstanceTypes(ctx, scheduling.MaxInstanceTypes)
	c.state.MarkPodSchedulingDecisions(ctx, r.results.PodErrors, r.results.NodePoolToPodMapping(),
		r.results.ExistingNodeToPodMapping())
	r.results.Record(ctx, c.recorder, c.state)
	r.finish = time.Since(finishing)
	r.cpu = cpuTime() - cpu

	for _, claim := range r.results.NewNodeClaims {
		chosen, err := cheapest(claim.InstanceTypeOptions, claim.Requirements)
		if err != nil {
			return nil, fmt.Errorf("NodeClaim for pods %v: %w", podNames(claim.Pods), err)
		}
		r.chosen = append(r.chosen, chosen)
	}
	return r, nil
}

// apply carries a batch out: launches its NodeClaims and binds the pods where it wanted them.
func (c *cluster) apply(ctx context.Context, r *round) error {
	for _, node := range r.results.ExistingNodes {
		if len(node.Pods) == 0 {
			continue
		}
		name, err := c.ready(ctx, node.StateNode)
		if err != nil {
			return err
		}
		if err := c.bindAll(ctx, node.Pods, name); err != nil {
			return err
		}
	}
	for i, claim := range r.results.NewNodeClaims {
		name, err := c.launch(ctx, claim, r.chosen[i])
		if err != nil {
			return fmt.Errorf("launching for pods %v: %w", podNames(claim.Pods), err)
		}
		if err := c.bindAll(ctx, claim.Pods, name); err != nil {
			return err
		}
	}
	return nil
}

// provision answers the task "provision": batches until one places nothing, as the controller would go on.
func provision(ctx context.Context, in *input, result *answer) error {
	c, err := newCluster(ctx, in)
	if err != nil {
		return err
	}
	waiting := c.pendingPods()
	c.clock.start(in.SecondsMax)

	var rounds []map[string]any
	var claims claimFigures
	reasons := map[string]string{}
	for len(rounds) < roundsMax {
		if c.clock.left() <= 0 {
			if result.Outcome != outcomeTimeout {
				result.Outcome, result.Message = outcomeTimeout, "no time left for another batch"
			}
			break
		}
		r, err := c.schedule(ctx)
		if err != nil {
			return err
		}
		clear(reasons)
		for pod, err := range r.results.PodErrors {
			reasons[podName(pod)] = reason(err)
		}
		placed := r.placed()
		if len(rounds) > 0 && placed == 0 && !r.timeout {
			// The batch that only finds out that nothing more can be done is no part of the decision.
			result.Outcome, result.Message = outcomeComplete, ""
			break
		}
		result.Seconds += r.seconds()
		rounds = append(rounds, r.figures())
		claims.add(r)
		if err := c.apply(ctx, r); err != nil {
			return err
		}
		if r.timeout {
			result.Outcome = outcomeTimeout
			result.Message = fmt.Sprintf("stopped after %.0f s", r.solve.Seconds())
		} else {
			result.Outcome = outcomeComplete
			result.Message = ""
		}
		if placed == r.pods || placed == 0 {
			break
		}
	}
	c.report(ctx, result, waiting, reasons)
	result.Details["rounds"] = rounds
	claims.report(result.Details)
	result.Details["solveCapSeconds"] = solveCap.Seconds()
	result.Details["secondsMax"] = in.SecondsMax
	return nil
}

// pendingPods are the pods that wait for a node, and that no DaemonSet or kubelet places: what an answer must account for.
func (c *cluster) pendingPods() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range c.in.decoded.Pods {
		placedByOthers := podutils.IsOwnedByDaemonSet(pod) || podutils.IsOwnedByNode(pod)
		if pod.Spec.NodeName == "" && !podutils.IsTerminal(pod) && !placedByOthers {
			pods = append(pods, pod)
		}
	}
	return pods
}

// report says where the pods that waited are now.
func (c *cluster) report(ctx context.Context, result *answer, waited []*corev1.Pod, reasons map[string]string) {
	onNode := map[string][]string{}
	for _, pod := range waited {
		name := podName(pod)
		if now := c.pods[name]; now.Spec.NodeName != "" {
			onNode[now.Spec.NodeName] = append(onNode[now.Spec.NodeName], name)
			continue
		}
		why, ok := reasons[name]
		if !ok {
			why = c.whyIgnored(ctx, pod, result.Outcome == outcomeTimeout)
		}
		result.Unplaced = append(result.Unplaced, unplaced{Pod: name, Reason: why})
	}
	c.reportNodes(result, onNode)
}

// reportNodes splits nodes with pods into launched and existing ones, and sorts both.
func (c *cluster) reportNodes(result *answer, onNode map[string][]string) {
	for node, pods := range onNode {
		slices.Sort(pods)
		if added, ok := c.launched[node]; ok {
			added.Pods = pods
			result.Launches = append(result.Launches, *added)
		} else {
			result.Existing = append(result.Existing, existing{Node: node, Pods: pods})
		}
	}
	slices.SortFunc(result.Existing, func(a, b existing) int { return compareNames(a.Node, b.Node) })
	slices.SortFunc(result.Launches, compareLaunches)
	slices.SortFunc(result.Unplaced, func(a, b unplaced) int { return compareNames(a.Pod, b.Pod) })
}

func compareLaunches(a, b launch) int {
	keys := func(l launch) []string {
		return append([]string{l.NodePool, l.InstanceType, l.Zone, l.CapacityType}, l.Pods...)
	}
	return slices.Compare(keys(a), keys(b))
}

// whyIgnored explains why Karpenter gave neither a node nor an error to a pod.
func (c *cluster) whyIgnored(ctx context.Context, pod *corev1.Pod, timeout bool) string {
	if !podutils.IsProvisionable(pod) {
		return "kube-scheduler has not marked it unschedulable (or nominated a node), so Karpenter does not look at it"
	}
	if err := c.provisioner.Validate(ctx, pod); err != nil {
		return "ignored: " + reason(err)
	}
	if timeout {
		return "not reached before the time was up"
	}
	return "Karpenter gave no reason"
}

// reasonMax bounds a reason's length; Karpenter prints whole requirement lists.
const reasonMax = 400

func reason(err error) string {
	text := []rune(err.Error())
	if len(text) > reasonMax {
		return string(text[:reasonMax]) + " ..."
	}
	return string(text)
}

// figures of one batch, for the record.
func (r *round) figures() map[string]any {
	return map[string]any{
		"pods": r.pods, "placed": r.placed(), "errors": len(r.results.PodErrors), "timeout": r.timeout,
		"launches": len(r.results.NewNodeClaims), "launchCost": r.cost(),
		"seconds": r.seconds(), "cpuSeconds": r.cpu.Seconds(), "prepareSeconds": r.prepare.Seconds(),
		"solveSeconds": r.solve.Seconds(), "finishSeconds": r.finish.Seconds(),
	}
}

// cost of the batch's launches in micro-dollars per hour.
func (r *round) cost() int64 {
	var cost int64
	for _, chosen := range r.chosen {
		cost += micros(chosen.offering.Price)
	}
	return cost
}

// claimFigures are about the NodeClaims of all batches.
type claimFigures struct {
	types  []int // instance types left per claim
	cost   int64 // with the cheapest of all types left
	cut    int64 // with the cheapest of those the AWS provider would hand to EC2
	tooFew int   // claims whose minValues cannot be kept with so few types
}

// add notes a batch. Its claims' types are in order of price, as TruncateInstanceTypes leaves them.
func (f *claimFigures) add(r *round) {
	f.cost += r.cost()
	for i, claim := range r.results.NewNodeClaims {
		f.types = append(f.types, len(claim.InstanceTypeOptions))
		few := claim.InstanceTypeOptions[:min(launchTypes, len(claim.InstanceTypeOptions))]
		if _, _, err := few.SatisfiesMinValues(claim.Requirements); err != nil {
			f.tooFew++
		}
		if chosen, err := cheapest(few, claim.Requirements); err == nil {
			f.cut += micros(chosen.offering.Price)
		} else {
			f.cut += micros(r.chosen[i].offering.Price)
		}
	}
}

func (f *claimFigures) report(details map[string]any) {
	details["claims"] = len(f.types)
	details["claimsBelowMinValues"] = f.tooFew
	details["launchCost"] = f.cost
	details["launchCostOf60Types"] = f.cut
	if len(f.types) > 0 {
		slices.Sort(f.types)
		details["typesPerClaim"] = map[string]int{"min": f.types[0], "median": f.types[len(f.types)/2]}
	}
}
