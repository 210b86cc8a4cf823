package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
)

func TestPodsShareTheCheapestTypeThatHoldsThem(t *testing.T) {
	result := newDocument().add("pods", pod("a", 900, nil)).add("pods", pod("b", 900, nil)).answer(t)
	expect(t, "outcome", result.Outcome, outcomeComplete)
	expect(t, "launches", launchesOf(result), []string{"arm us-east-1a spot: [default/a default/b]"})
	expect(t, "price", result.Launches[0].Price, 40_000)
	expect(t, "claims", result.Details["claims"], any(1))
	expect(t, "cost with 60 types", result.Details["launchCostOf60Types"], any(int64(40_000)))
	if result.Seconds <= 0 || result.Version != "v1.14.1" {
		t.Errorf("seconds %v, version %q", result.Seconds, result.Version)
	}
}

func TestRequirementsOfPodsDecideTheOffering(t *testing.T) {
	selector := func(key, value string) dict { return dict{"nodeSelector": dict{key: value}} }
	for _, test := range []struct{ key, value, want string }{
		{"kubernetes.io/arch", "amd64", "small us-east-1a spot: [default/p]"},
		{"topology.kubernetes.io/zone", zoneB, "arm us-east-1b spot: [default/p]"},
		{"topology.k8s.aws/zone-id", "use1-az2", "arm us-east-1b spot: [default/p]"},
		{"karpenter.sh/capacity-type", "on-demand", "arm us-east-1a on-demand: [default/p]"},
		{"karpenter.k8s.aws/instance-cpu", "8", "large us-east-1a spot: [default/p]"},
	} {
		result := newDocument().add("pods", pod("p", 100, selector(test.key, test.value))).answer(t)
		expect(t, test.key, launchesOf(result), []string{test.want})
	}
	// No type has a GPU: the label is well-known, so it is known not to be there.
	result := newDocument().add("pods", pod("p", 100, selector("karpenter.k8s.aws/instance-gpu-count", "1"))).answer(t)
	expect(t, "launches", len(result.Launches), 0)
	accounted(t, result, "default/p")
}

func TestPodsThatFitNowhereHaveReasons(t *testing.T) {
	gated := pod("gated", 100, dict{"schedulingGates": []any{dict{"name": "quota"}}})
	gated["status"] = dict{"phase": "Pending"}
	result := newDocument().add("pods", pod("giant", 64_000, nil)).add("pods", gated).add("pods", pod("p", 100, nil)).answer(t)
	accounted(t, result, "default/giant", "default/gated", "default/p")
	for pod, part := range map[string]string{
		"default/giant": "enough resources", "default/gated": "kube-scheduler has not marked it",
	} {
		for _, left := range result.Unplaced {
			if left.Pod == pod && !strings.Contains(left.Reason, part) {
				t.Errorf("%s: %s", pod, left.Reason)
			}
		}
	}
	expect(t, "unplaced", len(result.Unplaced), 2)
}

func TestDaemonSetsTakeTheirShare(t *testing.T) {
	set := dict{
		"metadata": dict{"name": "agent", "namespace": "kube-system"},
		"spec": dict{"selector": dict{}, "template": dict{"spec": dict{"containers": []any{dict{
			"name": "agent", "resources": dict{"requests": dict{"cpu": "300m"}},
		}}}}},
	}
	result := newDocument().add("daemonSets", set).add("pods", pod("a", 1700, nil)).answer(t)
	expect(t, "launches", launchesOf(result), []string{"large us-east-1a spot: [default/a]"})
}

func TestTaintsOfNodePoolsAreRespected(t *testing.T) {
	d := newDocument()
	taint := dict{"key": "team", "value": "x", "effect": "NoSchedule"}
	d.objects["nodePools"] = []any{nodePool("default", dict{"taints": []any{taint}})}
	tolerant := dict{"tolerations": []any{dict{"key": "team", "operator": "Exists"}}}
	result := d.add("pods", pod("no", 100, nil)).add("pods", pod("yes", 100, tolerant)).answer(t)
	expect(t, "launches", launchesOf(result), []string{"arm us-east-1a spot: [default/yes]"})
	expect(t, "unplaced", result.Unplaced[0].Pod, "default/no")
}

func TestNodesWithRoomAreUsedFirst(t *testing.T) {
	result := newDocument().add("nodes", node("n", smallKind, zoneA)).add("pods", pod("running", 1000, on("n"))).
		add("pods", pod("fits", 900, nil)).add("pods", pod("too-much", 1000, nil)).answer(t)
	expect(t, "existing", result.Existing, []existing{{"n", []string{"default/fits"}}})
	expect(t, "launches", launchesOf(result), []string{"arm us-east-1a spot: [default/too-much]"})
}

func TestNodesThatTakeNoPodsAreLeftAlone(t *testing.T) {
	for what, edit := range map[string]func(dict){
		"cordoned":  func(n dict) { n["spec"].(dict)["unschedulable"] = true },
		"not ready": func(n dict) { n["status"].(dict)["conditions"] = []any{} },
		"deleting":  func(n dict) { n["metadata"].(dict)["deletionTimestamp"] = "2026-01-01T00:00:00Z" },
	} {
		d := newDocument().add("nodes", node("n", smallKind, zoneA)).add("pods", pod("p", 100, nil)).change("nodes", edit)
		expect(t, what, launchesOf(d.answer(t)), []string{"arm us-east-1a spot: [default/p]"})
		// The same with a NodeClaim of its own, which says nothing of all that.
		d.add("nodeClaims", claimOf(d.objects["nodes"][0].(dict)))
		expect(t, what, launchesOf(d.answer(t)), []string{"arm us-east-1a spot: [default/p]"})
	}
}

func TestNodeClaimsOnTheirWayTakePods(t *testing.T) {
	claim := claimOf(node("claim", smallKind, zoneA))
	d := newDocument().add("nodeClaims", claim).add("pods", pod("a", 1500, nil)).add("pods", pod("b", 1500, nil))
	result := d.answer(t)
	expect(t, "existing", result.Existing, []existing{{"claim", []string{"default/a"}}})
	expect(t, "launches", launchesOf(result), []string{"arm us-east-1a spot: [default/b]"})

	// What the first batch put there is still there in the second.
	d.change("nodePools", func(p dict) { p["spec"].(dict)["limits"] = dict{"nodes": "1"} })
	result = d.answer(t)
	expect(t, "existing", result.Existing, []existing{{"claim", []string{"default/a"}}})
	expect(t, "unplaced", len(result.Unplaced), 1)
}

func TestHeavierNodePoolsWinWhateverTheyCost(t *testing.T) {
	dear := nodePool("second", dict{"requirements": []any{requirement("node.kubernetes.io/instance-type", "In", "large")}})
	dear["spec"].(dict)["weight"] = 10
	result := newDocument().add("nodePools", dear).add("pods", pod("p", 100, nil)).answer(t)
	expect(t, "NodePool", result.Launches[0].NodePool, "second")
	expect(t, "launches", launchesOf(result), []string{"large us-east-1a spot: [default/p]"})
}

// A planned node is charged to the limit with its largest possible type, so the second pod has to wait for the batch after
// the launch.
func TestLimitsCostRounds(t *testing.T) {
	d := newDocument().change("nodePools", func(p dict) { p["spec"].(dict)["limits"] = dict{"cpu": "9"} })
	for _, name := range []string{"a", "b"} {
		p := pod(name, 100, dict{"affinity": antiAffinity("apart", "yes")})
		p["metadata"].(dict)["labels"] = dict{"apart": "yes"}
		d.add("pods", p)
	}
	result := d.answer(t)
	accounted(t, result, "default/a", "default/b")
	expect(t, "launches", len(result.Launches), 2)
	expect(t, "rounds", len(result.Details["rounds"].([]map[string]any)), 2)

	d.change("nodePools", func(p dict) { p["spec"].(dict)["limits"] = dict{"cpu": "3"} })
	result = d.answer(t)
	expect(t, "launches", len(result.Launches), 1)
	expect(t, "unplaced", len(result.Unplaced), 1)
	if !strings.Contains(result.Unplaced[0].Reason, "exceed limits") {
		t.Error(result.Unplaced[0].Reason)
	}
}

func TestCustomLabelsHaveValues(t *testing.T) {
	d := newDocument()
	teams := []any{requirement("example.com/team", "In", "red", "blue")}
	d.objects["nodePools"] = []any{nodePool("default", dict{"requirements": teams})}
	d.add("pods", pod("p", 100, dict{"nodeSelector": dict{"example.com/team": "red"}}))
	expect(t, "labels", d.answer(t).Launches[0].Labels, map[string]string{"example.com/team": "red"})

	// A label that is left open gets some value when the NodeClaim is made.
	d.objects["pods"] = []any{pod("p", 100, nil)}
	if team := d.answer(t).Launches[0].Labels["example.com/team"]; team != "red" && team != "blue" {
		t.Errorf("team is %q", team)
	}
}

func TestVolumesPinTheirZone(t *testing.T) {
	d := newDocument().add("pods", pod("p", 100, dict{"volumes": []any{dict{
		"name": "data", "persistentVolumeClaim": dict{"claimName": "data"},
	}}}))
	d.add("persistentVolumeClaims", dict{
		"metadata": dict{
			"name": "data", "namespace": "default", "annotations": dict{"pv.kubernetes.io/bind-completed": "yes"},
		},
		"spec": dict{"volumeName": "pv"},
	})
	result := d.answer(t)
	expect(t, "launches without the volume", len(result.Launches), 0)
	d.add("persistentVolumes", dict{"metadata": dict{"name": "pv"}, "spec": dict{
		"csi": dict{"driver": "ebs.csi.aws.com", "volumeHandle": "v"},
		"nodeAffinity": dict{"required": dict{"nodeSelectorTerms": []any{dict{
			"matchExpressions": []any{requirement("topology.kubernetes.io/zone", "In", zoneB)},
		}}}},
	}})
	expect(t, "launches", launchesOf(d.answer(t)), []string{"arm us-east-1b spot: [default/p]"})
}

func TestTimeIsUp(t *testing.T) {
	d := newDocument().add("pods", pod("p", 100, nil))
	d.secondsMax = 1e-9
	result := d.answer(t)
	expect(t, "outcome", result.Outcome, outcomeTimeout)
	accounted(t, result, "default/p")
	expect(t, "reason", result.Unplaced[0].Reason, "not reached before the time was up")
}

// A batch that runs out of time says so, and what it decided so far counts.
func TestABatchStopsInTime(t *testing.T) {
	ctx := testContext(t)
	c, err := newCluster(ctx, newDocument().add("pods", pod("p", 100, nil)).input(t))
	if err != nil {
		t.Fatal(err)
	}
	c.clock.start(1e-9)
	r, err := c.schedule(ctx)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "timeout", r.timeout, true)
	expect(t, "placed", r.placed(), 0)
}

// Karpenter dereferences a nil selector here; that must not take the answer down.
func TestPanicsAreAnswers(t *testing.T) {
	spread := dict{"topologySpreadConstraints": []any{dict{
		"maxSkew": 1, "topologyKey": zoneIDLabel, "whenUnsatisfiable": "DoNotSchedule", "matchLabelKeys": []string{"app"},
	}}}
	result := decide(testContext(t), newDocument().add("pods", pod("p", 100, spread)).input(t))
	expect(t, "outcome", result.Outcome, outcomeFailed)
	if !strings.Contains(result.Message, "nil pointer") {
		t.Error(result.Message)
	}
}

// The batch is put together here call by call; it must decide what Karpenter's own Provisioner.Schedule decides, and the
// store must show Karpenter what controller-runtime's fake client would.
func TestABatchIsKarpentersOwn(t *testing.T) {
	mixed := func() *document {
		d := newDocument().add("nodes", node("n", smallKind, zoneA)).add("pods", pod("running", 500, on("n")))
		for i, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			// Zones are asked for, not spread over: Karpenter breaks ties between zones at random.
			p := pod(name, int64(300*(i+1)), dict{
				"affinity": antiAffinity("pair", fmt.Sprint(i/4)), "nodeSelector": dict{
					"topology.kubernetes.io/zone": []string{zoneA, zoneB}[i%2], "kubernetes.io/arch": "amd64",
				},
			})
			p["metadata"].(dict)["labels"] = dict{"pair": fmt.Sprint(i / 2)}
			d.add("pods", p)
		}
		return d.add("pods", pod("giant", 64_000, nil))
	}
	ctx := testContext(t)
	ours, err := newCluster(ctx, mixed().input(t))
	if err != nil {
		t.Fatal(err)
	}
	ours.clock.start(60)
	round, err := ours.schedule(ctx)
	if err != nil {
		t.Fatal(err)
	}
	want := placements(round.results)
	if len(want) < 4 {
		t.Fatalf("too simple a case: %v", want)
	}

	same, err := newCluster(ctx, mixed().input(t))
	if err != nil {
		t.Fatal(err)
	}
	results, err := same.provisioner.Schedule(ctx)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "Provisioner.Schedule", placements(results), want)

	in := mixed().input(t)
	in.complete()
	results, err = withFakeClient(ctx, t, in).Schedule(ctx)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "with the fake client", placements(results), want)
}

// withFakeClient wires a provisioner as Karpenter's tests do.
func withFakeClient(ctx context.Context, t *testing.T, in *input) *provisioning.Provisioner {
	t.Helper()
	o := &in.decoded
	all := appendAll(appendAll(appendAll(appendAll(nil, o.Pods), o.Nodes), o.NodeClaims), o.NodePools)
	reader := fake.NewClientBuilder().WithObjects(all...).
		WithIndex(&corev1.Pod{}, "spec.nodeName", func(o client.Object) []string {
			return []string{o.(*corev1.Pod).Spec.NodeName}
		}).
		WithIndex(&karpv1.NodeClaim{}, "status.providerID", func(o client.Object) []string {
			return []string{o.(*karpv1.NodeClaim).Status.ProviderID}
		}).
		Build()
	clock, cloud := &deadlineClock{}, newProvider(in)
	cluster := state.NewCluster(clock, reader, cloud)
	for _, claim := range o.NodeClaims {
		cluster.UpdateNodeClaim(claim)
	}
	for _, node := range o.Nodes {
		if err := cluster.UpdateNode(ctx, node); err != nil {
			t.Fatal(err)
		}
	}
	return provisioning.NewProvisioner(reader, noEvents{}, cloud, cluster, clock, nil, nil)
}

// placements are the types and pods of new NodeClaims, the pods of nodes and the pods with errors.
func placements(results scheduling.Results) map[string]string {
	found := map[string]string{}
	for _, claim := range results.NewNodeClaims {
		chosen, err := cheapest(claim.InstanceTypeOptions, claim.Requirements)
		if err != nil {
			found["error"] = err.Error()
			continue
		}
		found[strings.Join(podNames(claim.Pods), " ")] = chosen.instanceType.Name + " " + chosen.offering.Zone()
	}
	for _, node := range results.ExistingNodes {
		found[node.Name()] = strings.Join(podNames(node.Pods), " ")
	}
	for pod := range results.PodErrors {
		found[podName(pod)] = "error"
	}
	return found
}
