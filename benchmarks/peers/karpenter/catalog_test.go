package main

import (
	"math/rand"
	"testing"

	corev1 "k8s.io/api/core/v1"

	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/scheduling"
)

// What Karpenter takes for allocatable is the allocatable given, to the millicore and byte, with huge pages too.
func TestAllocatableIsExact(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 1000 {
		kind := instanceTypeInput{Name: "t", Capacity: map[string]int64{}, Allocatable: map[string]int64{}}
		for _, resource := range []string{"cpu", "memory", "pods", "ephemeral-storage", "nvidia.com/gpu", "hugepages-2Mi"} {
			kind.Capacity[resource] = 1 + random.Int63n(1<<40)
			kind.Allocatable[resource] = random.Int63n(kind.Capacity[resource] + 1)
		}
		// Huge pages are taken out of memory by the kubelet, and by Karpenter: that much cannot be allocatable.
		kind.Capacity["memory"] += kind.Capacity["hugepages-2Mi"]
		got := kind.instanceType(nil).Allocatable()
		for resource, want := range kind.Allocatable {
			name := corev1.ResourceName(resource)
			quantity := got[name]
			amount := quantity.Value()
			if name == corev1.ResourceCPU {
				amount = quantity.MilliValue()
			}
			if amount != want {
				t.Fatalf("%s: got %d, want %d of %d", resource, amount, want, kind.Capacity[resource])
			}
		}
	}
}

func TestTypesDefineEveryWellKnownLabel(t *testing.T) {
	kind := kindOf("small", "amd64", 2, 8, 100_000)
	wellKnown := append([]string{karpv1.NodePoolLabelKey}, newDocument().wellKnown...)
	requirements := kind.instanceType(wellKnown).Requirements
	for label, want := range map[string]string{
		"node.kubernetes.io/instance-type":     "node.kubernetes.io/instance-type In [small]",
		"topology.kubernetes.io/zone":          "topology.kubernetes.io/zone In [us-east-1a us-east-1b]",
		"topology.k8s.aws/zone-id":             "topology.k8s.aws/zone-id In [use1-az1 use1-az2]",
		"karpenter.sh/capacity-type":           "karpenter.sh/capacity-type In [on-demand spot]",
		"karpenter.k8s.aws/instance-gpu-count": "karpenter.k8s.aws/instance-gpu-count DoesNotExist",
		"karpenter.k8s.aws/instance-cpu":       "karpenter.k8s.aws/instance-cpu In [2]",
		karpv1.NodePoolLabelKey:                karpv1.NodePoolLabelKey + " Exists",
	} {
		expect(t, label, requirements.Get(label).String(), want)
	}
}

func TestPricesSurviveTheDetourThroughDollars(t *testing.T) {
	for _, price := range []int64{1, 3, 99_999, 1_234_567, 40_166_400, 999_999_999_999} {
		expect(t, "price", micros(float64(price)/microsPerDollar), price)
	}
}

func TestTheCheapestOfferingIsCompatible(t *testing.T) {
	registerLabels(nil)
	first, second := kindOf("b", "amd64", 2, 8, 100_000), kindOf("a", "amd64", 2, 8, 100_000)
	types := append(newProviderOf(first), newProviderOf(second)...)
	both := scheduling.NewRequirements()
	chosen, err := cheapest(types, both)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "tie", chosen.instanceType.Name+" "+chosen.offering.Zone(), "a us-east-1a")
	both.Add(scheduling.NewRequirement(karpv1.CapacityTypeLabelKey, corev1.NodeSelectorOpIn, "reserved"))
	if _, err := cheapest(types, both); err == nil {
		t.Error("an offering that is not there was found")
	}
}
