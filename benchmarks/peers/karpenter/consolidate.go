package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/controllers/disruption"
	"sigs.k8s.io/karpenter/pkg/operator/injection"
)

// What the controller waits besides deciding: before it carries a command out (commandValidationDelay of
// pkg/controllers/disruption/consolidation.go), and after a pass that found nothing (pollingPeriod of controller.go).
const (
	validationDelay = 15 * time.Second
	pollingPeriod   = 10 * time.Second
)

// logMax bounds the commands listed in an answer.
const logMax = 2000

// limits are the times after which Karpenter's methods give up. After that, multi-node consolidation counts as done until
// the cluster changes, and single-node consolidation goes on at the next pass.
var limits = map[string]time.Duration{
	"empty":                                time.Duration(math.MaxInt64),
	disruption.MultiNodeConsolidationType:  disruption.MultiNodeConsolidationTimeoutDuration,
	disruption.SingleNodeConsolidationType: disruption.SingleNodeConsolidationTimeoutDuration,
}

// noValidation replaces Karpenter's validation of a command, which waits 15 s to see whether the cluster has changed
// meanwhile. Here it never does, so the same simulation would give the same result.
type noValidation struct{}

func (noValidation) Validate(_ context.Context, c disruption.Command, _ time.Duration) (disruption.Command, error) {
	return c, nil
}

// consolidation is a run to the fix-point.
type consolidation struct {
	*cluster
	queue   *disruption.Queue
	methods []disruption.Method

	deciding  time.Duration
	cpu       time.Duration // of deciding
	moves     int
	moved     map[string]bool
	displaced int // pods on "empty" nodes: no result says where they go, so the provisioner does
	perMethod map[string]int
	replaced  int
	abandoned map[string]int // by method: passes in vain that ran into Karpenter's own time limit
	log       []string
}

// consolidate answers the task "consolidate": Karpenter's methods in its order, a command at a time, each carried out at
// once, until none of them finds another.
func consolidate(ctx context.Context, in *input, result *answer) error {
	start := time.Now()
	ctx = injection.WithControllerName(ctx, "disruption")
	budgets := in.settle()
	pending := in.setPendingAside()
	base, err := newCluster(ctx, in)
	if err != nil {
		return err
	}
	if err := base.bootClaims(ctx); err != nil {
		return err
	}
	c := newConsolidation(base)
	original, before, unpriced := c.nodeNames(), c.cost(), c.unpriced()
	c.clock.start(in.SecondsMax)

	outcome := outcomeTimeout
	for c.clock.left() > 0 {
		found, finished, err := c.pass(ctx)
		if err != nil {
			return err
		}
		if !found && finished {
			outcome = outcomeComplete
			break
		}
	}
	if result.Outcome = outcome; outcome == outcomeTimeout {
		result.Message = fmt.Sprintf("not at the fix-point after %v s", in.SecondsMax)
	}
	result.Seconds = c.deciding.Seconds()
	c.reportAll(result, original)
	for _, pod := range pending {
		result.Unplaced = append(result.Unplaced, unplaced{podName(pod), "was pending before: set aside"})
	}
	slices.SortFunc(result.Unplaced, func(a, b unplaced) int { return compareNames(a.Pod, b.Pod) })
	c.reportFigures(result.Details)
	maps.Copy(result.Details, map[string]any{
		"costBefore": before, "nodesWithoutPrice": unpriced, "pendingSetAside": len(pending),
		"budgets":          map[string]any{"used": "100%, and 0 where a NodePool always has 0", "ofNodePools": budgets},
		"consolidateAfter": "0s, and Never where a NodePool has that",
		"wallSeconds":      time.Since(start).Seconds(),
	})
	return nil
}

// reportFigures adds what the run to the fix-point took.
func (c *consolidation) reportFigures(details map[string]any) {
	commands := 0
	for _, n := range c.perMethod {
		commands += n
	}
	waits := time.Duration(commands)*validationDelay + pollingPeriod
	maps.Copy(details, map[string]any{
		"commands": commands, "commandsByMethod": c.perMethod, "replacements": c.replaced,
		"podMoves": c.moves, "podsMoved": len(c.moved), "podsDisplacedByEmptiness": c.displaced,
		"costAfter": c.cost(), "abandonedByKarpenter": c.abandoned, "cpuSeconds": c.cpu.Seconds(),
		"simulatedSeconds": (c.deciding + waits).Seconds(), "log": c.log[:min(logMax, len(c.log))],
	})
}

func newConsolidation(base *cluster) *consolidation {
	c := &consolidation{
		cluster: base, moved: map[string]bool{}, perMethod: map[string]int{}, abandoned: map[string]int{}, log: []string{},
		queue: disruption.NewQueue(base.store, base.recorder, base.state, base.clock, base.provisioner),
	}
	common := disruption.MakeConsolidation(base.clock, base.state, base.store, base.provisioner, base.provider,
		base.recorder, c.queue)
	c.methods = []disruption.Method{
		disruption.NewEmptiness(common, disruption.WithValidator(noValidation{})),
		disruption.NewMultiNodeConsolidation(common, disruption.WithValidator(noValidation{})),
		disruption.NewSingleNodeConsolidation(common, disruption.WithValidator(noValidation{})),
	}
	return c
}

// pass tries the methods in order and carries out what the first successful one commands, as Controller.Reconcile does. If
// none is, finished says whether all candidates were looked at; if not, the controller would start over, in another order.
func (c *consolidation) pass(ctx context.Context) (found, finished bool, err error) {
	finished = true
	for _, method := range c.methods {
		if c.clock.left() <= 0 {
			return false, false, nil
		}
		start, cpu := time.Now(), cpuTime()
		commands, err := c.compute(ctx, method)
		took := time.Since(start)
		c.deciding += took
		c.cpu += cpuTime() - cpu
		if err != nil && c.clock.left() <= 0 {
			return false, false, nil // time was up in the middle of it
		}
		if err != nil {
			return false, false, fmt.Errorf("%s consolidation: %w", method.ConsolidationType(), err)
		}
		for _, command := range commands {
			if err := c.carryOut(ctx, method, command); err != nil {
				return false, false, fmt.Errorf("carrying out %s: %w", command, err)
			}
		}
		if len(commands) > 0 {
			return true, false, nil
		}
		if took >= limits[method.ConsolidationType()] {
			c.abandoned[method.ConsolidationType()]++
			finished = finished && method.ConsolidationType() != disruption.SingleNodeConsolidationType
		}
	}
	return false, finished && c.clock.left() > 0, nil
}

// compute is Controller.disrupt up to the point where commands go to the queue.
func (c *consolidation) compute(ctx context.Context, method disruption.Method) ([]disruption.Command, error) {
	ctx, cancel := context.WithDeadline(ctx, c.clock.deadline)
	defer cancel()
	candidates, totals, err := disruption.GetCandidatesWithTotals(ctx, c.state, c.store, c.recorder, c.clock, c.provider,
		method.ShouldDisrupt, method.Class(), c.queue, c.costs)
	if err != nil || len(candidates) == 0 {
		return nil, err
	}
	if setter, ok := method.(disruption.NodePoolTotalsSetter); ok {
		setter.SetNodePoolTotals(totals)
	}
	budgets, err := disruption.BuildDisruptionBudgetMapping(ctx, c.state, c.clock, c.store, c.provider, c.recorder,
		method.Reason())
	if err != nil {
		return nil, err
	}
	commands, err := method.ComputeCommands(ctx, budgets, candidates...)
	return slices.DeleteFunc(commands, func(command disruption.Command) bool {
		return command.Decision() == disruption.NoOpDecision
	}), err
}

// carryOut does what the orchestration queue, the termination controller and kube-scheduler would have done in the end:
// replacements launched with their cheapest offering, pods where the simulation put them, candidates gone.
func (c *consolidation) carryOut(ctx context.Context, method disruption.Method, command disruption.Command) error {
	targets := map[string]string{}
	for _, node := range command.Results.ExistingNodes {
		if len(node.Pods) == 0 {
			continue
		}
		name, err := c.ready(ctx, node.StateNode)
		if err != nil {
			return err
		}
		for _, pod := range node.Pods {
			targets[podName(pod)] = name
		}
	}
	for _, replacement := range command.Replacements {
		chosen, err := cheapest(replacement.InstanceTypeOptions, replacement.Requirements)
		if err != nil {
			return err
		}
		name, err := c.launch(ctx, replacement.NodeClaim, chosen)
		if err != nil {
			return err
		}
		c.replaced++
		for _, pod := range replacement.Pods {
			targets[podName(pod)] = name
		}
	}
	homeless := false
	for _, candidate := range command.Candidates {
		for _, pod := range c.podsOn(candidate.Node.Name) {
			if !moves(pod) {
				continue
			}
			name := podName(pod)
			c.moves++
			c.moved[name] = true
			if node, ok := targets[name]; ok {
				if err := c.bind(ctx, name, node); err != nil {
					return err
				}
				continue
			}
			homeless = true
			c.displaced++
			if err := c.unbind(ctx, name); err != nil {
				return err
			}
		}
		if err := c.remove(candidate.Node.Name); err != nil {
			return err
		}
	}
	c.perMethod[method.ConsolidationType()]++
	c.log = append(c.log, fmt.Sprintf("%s %s", method.ConsolidationType(), command))
	if homeless {
		return c.rehome(ctx)
	}
	return nil
}

// rehome lets the provisioner place pods that an emptied node left behind.
func (c *consolidation) rehome(ctx context.Context) error {
	ctx = injection.WithControllerName(ctx, "provisioner")
	for range roundsMax {
		r, err := c.schedule(ctx)
		if err != nil {
			return err
		}
		c.deciding += r.prepare + r.solve + r.finish
		c.cpu += r.cpu
		if err := c.apply(ctx, r); err != nil {
			return err
		}
		if placed := r.placed(); placed == 0 || placed == r.pods {
			return nil
		}
	}
	return nil
}

// reportAll lists all nodes that remain with the workloads' pods on them, and the nodes that are gone.
func (c *consolidation) reportAll(result *answer, original []string) {
	onNode := map[string][]string{}
	for name := range c.nodes {
		onNode[name] = []string{}
		for _, pod := range c.podsOn(name) {
			if moves(pod) {
				onNode[name] = append(onNode[name], podName(pod))
			}
		}
	}
	c.reportNodes(result, onNode)
	for _, name := range original {
		if c.nodes[name] == nil {
			result.Removed = append(result.Removed, name)
		}
	}
	for name, pod := range c.pods {
		if pod.Spec.NodeName == "" {
			result.Unplaced = append(result.Unplaced, unplaced{name, "evicted from an \"empty\" node, not placed again"})
		}
	}
}

func (c *consolidation) nodeNames() []string {
	names := make([]string, 0, len(c.nodes))
	for name := range c.nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// cost of all nodes with a known price, in micro-dollars per hour.
func (c *consolidation) cost() int64 {
	var cost int64
	for _, node := range c.nodes {
		price, _ := c.price(node)
		cost += price
	}
	return cost
}

// unpriced are nodes of NodePools that the catalogue has no price for. Karpenter takes it for 0.
func (c *consolidation) unpriced() []string {
	names := []string{}
	for _, name := range c.nodeNames() {
		node := c.nodes[name]
		if _, ok := c.price(node); !ok && node.Labels[karpv1.NodePoolLabelKey] != "" {
			names = append(names, name)
		}
	}
	return names
}

// setPendingAside takes pods out of the input that wait for a node. They are not part of the task, and Karpenter's
// consolidation would give up moves because of them that the provisioner would have made possible a moment later.
func (in *input) setPendingAside() []*corev1.Pod {
	var pending []*corev1.Pod
	in.decoded.Pods = slices.DeleteFunc(in.decoded.Pods, func(pod *corev1.Pod) bool {
		if pod.Spec.NodeName != "" {
			return false
		}
		pending = append(pending, pod)
		return true
	})
	return pending
}
