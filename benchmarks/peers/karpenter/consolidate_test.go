package main

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"sigs.k8s.io/karpenter/pkg/controllers/disruption"
)

var smallKind, largeKind = kindOf("small", "amd64", 2, 8, 0), kindOf("large", "amd64", 8, 32, 0)

// settledDocument is a consolidation of on-demand nodes: NodePool "default" allows nothing else, so that a replacement
// by spot capacity is not what is found.
func settledDocument() *document {
	d := newDocument()
	d.task = taskConsolidate
	d.objects["nodePools"] = []any{nodePool("default", dict{"requirements": []any{
		requirement("karpenter.sh/capacity-type", "In", "on-demand"), requirement("kubernetes.io/arch", "In", "amd64"),
	}})}
	return d
}

// halfEmpty are two small nodes whose pods fit on one.
func halfEmpty() *document {
	return settledDocument().add("nodes", node("n1", smallKind, zoneA)).add("nodes", node("n2", smallKind, zoneA)).
		add("pods", pod("a", 900, on("n1"))).add("pods", pod("b", 900, on("n2")))
}

func expectUntouched(t *testing.T, what string, result *answer) {
	t.Helper()
	expect(t, what+": outcome", result.Outcome, outcomeComplete)
	expect(t, what+": commands", result.Details["commands"], any(0))
	expect(t, what+": removed", len(result.Removed), 0)
}

func TestTwoHalfEmptyNodesBecomeOne(t *testing.T) {
	result := halfEmpty().answer(t)
	expect(t, "outcome", result.Outcome, outcomeComplete)
	expect(t, "removed", len(result.Removed), 1)
	expect(t, "launches", len(result.Launches), 0)
	expect(t, "existing", len(result.Existing), 1)
	accounted(t, result, "default/a", "default/b")
	for key, want := range map[string]any{
		"commands": 1, "podMoves": 1, "podsMoved": 1, "costBefore": int64(200_000), "costAfter": int64(100_000), "replacements": 0,
	} {
		expect(t, key, result.Details[key], want)
	}
	if simulated := result.Details["simulatedSeconds"].(float64); simulated < 25 || simulated > 30 {
		t.Errorf("simulated seconds: %v", simulated)
	}
}

func TestANodeTooLargeIsReplaced(t *testing.T) {
	result := settledDocument().add("nodes", node("n", largeKind, zoneA)).add("pods", pod("a", 900, on("n"))).answer(t)
	expect(t, "launches", launchesOf(result), []string{"small us-east-1a on-demand: [default/a]"})
	expect(t, "removed", result.Removed, []string{"n"})
	expect(t, "cost after", result.Details["costAfter"], any(int64(100_000)))
	expect(t, "replacements", result.Details["replacements"], any(1))
}

// Budgets do not delay: with the default of 10 % two nodes could not go at once, and multi-node consolidation needs two.
func TestTwoNodesTooLargeAreReplacedAtOnce(t *testing.T) {
	result := settledDocument().add("nodes", node("n1", largeKind, zoneA)).add("nodes", node("n2", largeKind, zoneA)).
		add("pods", pod("a", 900, on("n1"))).add("pods", pod("b", 900, on("n2"))).answer(t)
	expect(t, "launches", launchesOf(result), []string{"small us-east-1a on-demand: [default/a default/b]"})
	expect(t, "commands", result.Details["commandsByMethod"], any(map[string]int{"multi": 1}))
	expect(t, "moves", result.Details["podMoves"], any(2))
}

func TestEmptyNodesGo(t *testing.T) {
	daemon := pod("agent", 100, on("n"))
	daemon["metadata"].(dict)["ownerReferences"] = []any{dict{
		"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "d", "controller": true,
	}}
	result := settledDocument().add("nodes", node("n", largeKind, zoneA)).add("pods", daemon).answer(t)
	expect(t, "removed", result.Removed, []string{"n"})
	expect(t, "moves", result.Details["podMoves"], any(0))
	accounted(t, result)
}

func TestWhatForbidsDisruptionIsRespected(t *testing.T) {
	blocked := halfEmpty()
	for _, p := range blocked.objects["pods"] {
		p.(dict)["metadata"].(dict)["annotations"] = dict{"karpenter.sh/do-not-disrupt": "true"}
	}
	expectUntouched(t, "do-not-disrupt", blocked.answer(t))

	budget := func(spec dict) dict {
		spec["selector"] = dict{}
		return dict{"metadata": dict{"name": "all", "namespace": "default"}, "spec": spec}
	}
	with := func(budget dict) *answer { return halfEmpty().add("podDisruptionBudgets", budget).answer(t) }
	expectUntouched(t, "maxUnavailable 0", with(budget(dict{"maxUnavailable": 0})))
	expectUntouched(t, "minAvailable 100 %", with(budget(dict{"minAvailable": "100%"})))
	loose := with(budget(dict{"minAvailable": 1}))
	expect(t, "minAvailable 1 of 2: removed", len(loose.Removed), 1)

	said := budget(dict{"minAvailable": 1})
	said["status"] = dict{"disruptionsAllowed": 0}
	expectUntouched(t, "a status of 0", with(said))

	disruption := func(settings dict) *document {
		return halfEmpty().change("nodePools", func(p dict) { p["spec"].(dict)["disruption"] = settings })
	}
	never := disruption(dict{"consolidateAfter": "Never"}).answer(t)
	expectUntouched(t, "consolidateAfter Never", never)
	frozen := disruption(dict{"consolidateAfter": "0s", "budgets": []any{dict{"nodes": "0"}}}).answer(t)
	expectUntouched(t, "budget of 0", frozen)
	empty := disruption(dict{"consolidateAfter": "0s", "consolidationPolicy": "WhenEmpty"}).answer(t)
	expectUntouched(t, "WhenEmpty", empty)
	slow := disruption(dict{"consolidateAfter": "1h", "budgets": []any{dict{"nodes": "10%"}}}).answer(t)
	expect(t, "what only delays: removed", len(slow.Removed), 1)
}

func TestPendingPodsAreSetAside(t *testing.T) {
	result := halfEmpty().add("pods", pod("waiting", 1900, nil)).answer(t)
	expect(t, "removed", len(result.Removed), 1)
	expect(t, "launches", len(result.Launches), 0)
	expect(t, "set aside", result.Details["pendingSetAside"], any(1))
	accounted(t, result, "default/a", "default/b", "default/waiting")
}

// Pods that cost nothing to evict make a node "empty" to Karpenter: it goes, and the provisioner launches another one for
// the pods, which is "empty" again. Only the clock ends this, here as in a cluster.
func TestPodsOfEmptyNodesAreProvisionedFor(t *testing.T) {
	cheap := pod("cheap", 900, on("n"))
	cheap["metadata"].(dict)["annotations"] = dict{"controller.kubernetes.io/pod-deletion-cost": "-2147483647"}
	d := settledDocument().add("nodes", node("n", smallKind, zoneA)).add("pods", cheap)
	d.secondsMax = 1
	result := d.answer(t)
	accounted(t, result, "default/cheap")
	expect(t, "outcome", result.Outcome, outcomeTimeout)
	expect(t, "nodes", len(result.Launches)+len(result.Existing)+len(result.Unplaced), 1)
	if displaced := result.Details["podsDisplacedByEmptiness"].(int); displaced < 2 {
		t.Errorf("displaced: %d", displaced)
	}
}

func TestConsolidationStopsInTime(t *testing.T) {
	d := halfEmpty()
	d.secondsMax = 1e-9
	result := d.answer(t)
	expect(t, "outcome", result.Outcome, outcomeTimeout)
	expect(t, "removed", len(result.Removed), 0)
	expect(t, "cost after", result.Details["costAfter"], result.Details["costBefore"])
	accounted(t, result, "default/a", "default/b")
}

// Single-node consolidation that starts after the deadline still ends at its first candidate.
func TestSingleNodeConsolidationStopsHoweverLateItStarts(t *testing.T) {
	ctx, d := testContext(t), settledDocument()
	for i := range 8 {
		name := fmt.Sprint("n", i)
		d.add("nodes", node(name, smallKind, zoneA)).add("pods", pod("p"+name, 1900, on(name)))
	}
	in := d.input(t)
	in.settle()
	base, err := newCluster(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	c := newConsolidation(base)
	base.clock.start(1e-9)
	single := c.methods[2].(*disruption.SingleNodeConsolidation)
	candidates, err := disruption.GetCandidates(ctx, c.state, c.store, c.recorder, c.clock, c.provider, single.ShouldDisrupt,
		single.Class(), c.queue)
	if err != nil || len(candidates) != 8 {
		t.Fatalf("%d candidates, %v", len(candidates), err)
	}
	if _, err := single.ComputeCommands(ctx, map[string]int{"default": 8}, candidates...); err != nil {
		t.Fatal(err)
	}
	// It remembers the pools it did not get to, and does not take the cluster for consolidated.
	expect(t, "pools unseen", single.PreviouslyUnseenNodePools.UnsortedList(), []string{"default"})
	expect(t, "consolidated", single.IsConsolidated(), false)
}

func TestNoMethodStartsTooLate(t *testing.T) {
	ctx, in := testContext(t), settledDocument().add("nodes", node("n", smallKind, zoneA)).input(t)
	in.settle()
	base, err := newCluster(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	c := newConsolidation(base)
	c.clock.start(1e-9)
	found, finished, err := c.pass(ctx)
	expect(t, "pass", []any{found, finished, err, len(c.log)}, []any{false, false, error(nil), 0})
	c.clock.start(60)
	found, _, err = c.pass(ctx)
	expect(t, "pass in time", []any{found, err, len(c.log)}, []any{true, error(nil), 1})
}

// Whatever Karpenter does: no pod is lost or doubled, no node is overfull, and costs add up and do not rise.
func TestRandomClustersStayWhole(t *testing.T) {
	for seed := range int64(5) {
		random := rand.New(rand.NewSource(seed))
		d := settledDocument()
		var names []string
		for n := range 12 {
			kind := []instanceTypeInput{smallKind, largeKind}[random.Intn(2)]
			name := fmt.Sprintf("n%d", n)
			d.add("nodes", node(name, kind, []string{zoneA, zoneB}[random.Intn(2)]))
			for left := kind.Allocatable["cpu"]; random.Intn(4) > 0; {
				millis := int64(100 * (1 + random.Intn(12)))
				if left -= millis; left < 0 {
					break
				}
				p := fmt.Sprintf("p%d", len(names))
				names = append(names, "default/"+p)
				d.add("pods", pod(p, millis, on(name)))
			}
		}
		in := d.input(t)
		result := decide(testContext(t), in)
		expect(t, "outcome", result.Outcome, outcomeComplete)
		accounted(t, result, names...)
		if t.Failed() {
			t.Fatalf("seed %d: %s", seed, result.Message)
		}

		millis := map[string]int64{}
		for _, pod := range in.decoded.Pods {
			millis[podName(pod)] = pod.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
		}
		room := map[string]int64{"small": smallKind.Allocatable["cpu"], "large": largeKind.Allocatable["cpu"]}
		prices := map[string]int64{}
		for _, node := range in.decoded.Nodes {
			room[node.Name] = node.Status.Allocatable.Cpu().MilliValue()
			prices[node.Name], _ = newProvider(in).price("default", node.Labels["node.kubernetes.io/instance-type"],
				node.Labels["topology.kubernetes.io/zone"], "on-demand")
		}
		var cost int64
		check := func(node, kind string, pods []string, price int64) {
			var used int64
			for _, pod := range pods {
				used += millis[pod]
			}
			if cost += price; used > room[kind] || price == 0 {
				t.Errorf("seed %d: node %s holds %d of %d, price %d", seed, node, used, room[kind], price)
			}
		}
		for _, node := range result.Existing {
			check(node.Node, node.Node, node.Pods, prices[node.Node])
		}
		for _, launch := range result.Launches {
			check("new", launch.InstanceType, launch.Pods, launch.Price)
		}
		expect(t, "cost after", result.Details["costAfter"], any(cost))
		if cost > result.Details["costBefore"].(int64) {
			t.Errorf("seed %d: cost rose from %v to %d", seed, result.Details["costBefore"], cost)
		}
		expect(t, "nodes", len(result.Existing)+len(result.Removed), 12)
		if log := strings.Join(result.Details["log"].([]string), "\n"); result.Details["commands"] != 0 && log == "" {
			t.Error("commands are not in the log")
		}
	}
}
