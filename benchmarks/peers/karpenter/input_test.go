package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"
)

// Inputs for tests, written the way the benchmark writes them. Prices are micro-dollars per hour.

type dict = map[string]any

// document is an input under construction.
type document struct {
	task       string
	secondsMax float64
	objects    map[string][]any
	types      []instanceTypeInput
	wellKnown  []string
}

const (
	zoneA = "us-east-1a"
	zoneB = "us-east-1b"
	gib   = int64(1) << 30
)

// newDocument has NodePool "default" and three instance types in two zones: small and large on amd64, arm on arm64. Spot is
// half price, zone b costs a little more.
func newDocument() *document {
	d := &document{
		task: taskProvision, secondsMax: 30, objects: map[string][]any{},
		wellKnown: []string{
			"topology.kubernetes.io/zone", "topology.k8s.aws/zone-id", "kubernetes.io/arch", "kubernetes.io/os",
			"node.kubernetes.io/instance-type", "karpenter.sh/capacity-type", "karpenter.k8s.aws/instance-cpu",
			"karpenter.k8s.aws/instance-gpu-count",
		},
		types: []instanceTypeInput{
			kindOf("small", "amd64", 2, 8, 100_000), kindOf("large", "amd64", 8, 32, 400_000), kindOf("arm", "arm64", 2, 8, 80_000),
		},
	}
	return d.add("nodePools", nodePool("default", nil))
}

// kindOf is an instance type whose kubelet takes 100 millicores and 1 GiB.
func kindOf(name, arch string, cpus, memory, price int64) instanceTypeInput {
	kind := instanceTypeInput{
		Name: name,
		Labels: map[string][]string{
			"kubernetes.io/arch": {arch}, "kubernetes.io/os": {"linux"}, "karpenter.k8s.aws/instance-cpu": {fmt.Sprint(cpus)},
		},
		Capacity:    map[string]int64{"cpu": 1000 * cpus, "memory": memory * gib, "pods": 20},
		Allocatable: map[string]int64{"cpu": 1000*cpus - 100, "memory": (memory - 1) * gib, "pods": 20},
	}
	for i, zone := range []string{zoneA, zoneB} {
		id := fmt.Sprintf("use1-az%d", i+1)
		kind.Offerings = append(kind.Offerings,
			offeringInput{zone, id, "on-demand", price + int64(i)*2}, offeringInput{zone, id, "spot", price/2 + int64(i)})
	}
	return kind
}

func (d *document) add(kind string, object any) *document {
	d.objects[kind] = append(d.objects[kind], object)
	return d
}

// change edits objects.<kind>[0].
func (d *document) change(kind string, edit func(dict)) *document {
	edit(d.objects[kind][0].(dict))
	return d
}

func (d *document) json(t *testing.T) []byte {
	t.Helper()
	text, err := json.Marshal(dict{
		"format": inputFormat, "name": t.Name(), "task": d.task, "secondsMax": d.secondsMax, "threads": 2, "seed": 1,
		"snapshotDigest": "s", "catalogDigest": "c", "objects": d.objects, "wellKnownLabels": d.wellKnown,
		"instanceTypes": map[string]any{"default": d.types, "second": d.types},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// input reads the document back.
func (d *document) input(t *testing.T) *input {
	t.Helper()
	in, err := readInput(bytes.NewReader(d.json(t)))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// answer runs the task and expects it to succeed.
func (d *document) answer(t *testing.T) *answer {
	t.Helper()
	result := decide(testContext(t), d.input(t))
	if result.Outcome == outcomeFailed {
		t.Fatalf("failed: %s\n%v", result.Message, result.Details["stack"])
	}
	return result
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, err := production(context.Background(), 2)
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

func nodePool(name string, spec dict) dict {
	template := dict{
		"nodeClassRef": dict{"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"},
		"requirements": []any{requirement("kubernetes.io/os", "In", "linux")},
	}
	maps.Copy(template, spec)
	return dict{
		"metadata": dict{"name": name},
		"spec":     dict{"template": dict{"spec": template}, "disruption": dict{"consolidateAfter": "1m"}},
	}
}

func requirement(key, operator string, values ...string) dict {
	return dict{"key": key, "operator": operator, "values": values}
}

// pod is a pending pod that asks for so many millicores and 1 GiB.
func pod(name string, millis int64, spec dict) dict {
	all := dict{"containers": []any{dict{
		"name": "main", "resources": dict{"requests": dict{"cpu": fmt.Sprintf("%dm", millis), "memory": "1Gi"}},
	}}}
	maps.Copy(all, spec)
	unschedulable := dict{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
	status := dict{"phase": "Pending", "conditions": []any{unschedulable}}
	if all["nodeName"] != nil {
		status = dict{"phase": "Running"}
	}
	metadata := dict{"name": name, "namespace": "default", "labels": dict{"app": name}}
	return dict{"metadata": metadata, "spec": all, "status": status}
}

// node is a ready on-demand node of NodePool "default".
func node(name string, kind instanceTypeInput, zone string) dict {
	amounts := func(from map[string]int64) dict {
		to := dict{}
		for resource, amount := range from {
			to[resource] = fmt.Sprint(amount)
			if resource == "cpu" {
				to[resource] = fmt.Sprintf("%dm", amount)
			}
		}
		return to
	}
	return dict{
		"metadata": dict{"name": name, "labels": dict{
			"karpenter.sh/nodepool": "default", "node.kubernetes.io/instance-type": kind.Name, "topology.kubernetes.io/zone": zone,
			"karpenter.sh/capacity-type": "on-demand", "kubernetes.io/arch": kind.Labels["kubernetes.io/arch"][0],
			"kubernetes.io/os": "linux", "kubernetes.io/hostname": name,
		}},
		"spec": dict{"providerID": "aws:///" + name},
		"status": dict{
			"capacity": amounts(kind.Capacity), "allocatable": amounts(kind.Allocatable),
			"conditions": []any{dict{"type": "Ready", "status": "True"}},
		},
	}
}

// claimOf is the NodeClaim of a node.
func claimOf(node dict) dict {
	metadata, status := node["metadata"].(dict), node["status"].(dict)
	labels := maps.Clone(metadata["labels"].(dict))
	labels["karpenter.sh/registered"], labels["karpenter.sh/initialized"] = "true", "true"
	metadata["labels"] = labels
	return dict{
		"metadata": dict{"name": metadata["name"], "labels": labels},
		"spec":     dict{"requirements": []any{}},
		"status": dict{
			"providerID": node["spec"].(dict)["providerID"], "capacity": status["capacity"], "allocatable": status["allocatable"],
			"conditions": []any{},
		},
	}
}

func on(node string) dict { return dict{"nodeName": node} }

// antiAffinity keeps pods with the same value of label key off each other's nodes.
func antiAffinity(label, value string) dict {
	return dict{"podAntiAffinity": dict{"requiredDuringSchedulingIgnoredDuringExecution": []any{dict{
		"topologyKey": "kubernetes.io/hostname", "labelSelector": dict{"matchLabels": dict{label: value}},
	}}}}
}

// launchesOf gives "type zone capacity-type: pods" of an answer, for comparing.
func launchesOf(result *answer) []string {
	list := []string{}
	for _, launch := range result.Launches {
		list = append(list, fmt.Sprintf("%s %s %s: %v", launch.InstanceType, launch.Zone, launch.CapacityType, launch.Pods))
	}
	return list
}

func expect[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if a, b := fmt.Sprintf("%+v", got), fmt.Sprintf("%+v", want); a != b {
		t.Errorf("%s: got %s, want %s", what, a, b)
	}
}

// accounted asserts that every pod named is in exactly one place of the answer.
func accounted(t *testing.T, result *answer, pods ...string) {
	t.Helper()
	var found []string
	for _, launch := range result.Launches {
		found = append(found, launch.Pods...)
	}
	for _, node := range result.Existing {
		found = append(found, node.Pods...)
	}
	for _, left := range result.Unplaced {
		found = append(found, left.Pod)
	}
	slices.Sort(found)
	slices.Sort(pods)
	expect(t, "pods in the answer", found, pods)
}
