package main

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"

	"github.com/awslabs/operatorpkg/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider"
	"sigs.k8s.io/karpenter/pkg/scheduling"
)

// microsPerDollar converts the protocol's money to Karpenter's.
const microsPerDollar = 1_000_000

// zoneIDLabel is AWS's label of zones that mean the same in every account.
const zoneIDLabel = "topology.k8s.aws/zone-id"

// offeringLabels are labels that offerings decide; a type has all values of its offerings.
var offeringLabels = []string{corev1.LabelTopologyZone, zoneIDLabel, karpv1.CapacityTypeLabelKey}

// registerLabels does what a cloud provider does when it is linked in: it makes its labels known to Karpenter, and its
// own label domain closed to users (`init` of pkg/apis/v1/labels.go of the AWS provider).
func registerLabels(wellKnown []string) {
	karpv1.WellKnownLabels.Insert(wellKnown...)
	karpv1.WellKnownLabels.Insert(offeringLabels...)
	for _, label := range wellKnown {
		if domain := karpv1.GetLabelDomain(label); strings.HasPrefix(domain, "karpenter.") {
			if domain != karpv1.GetLabelDomain(karpv1.NodePoolLabelKey) {
				karpv1.RestrictedLabelDomains.Insert(domain)
			}
		}
	}
}

// quantity is amount in the unit the protocol has for this resource.
func quantity(name corev1.ResourceName, amount int64) resource.Quantity {
	switch {
	case name == corev1.ResourceCPU:
		return *resource.NewMilliQuantity(amount, resource.DecimalSI)
	case name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage,
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
		return *resource.NewQuantity(amount, resource.BinarySI)
	default:
		return *resource.NewQuantity(amount, resource.DecimalSI)
	}
}

func resourceList(amounts map[string]int64) corev1.ResourceList {
	list := make(corev1.ResourceList, len(amounts))
	for name, amount := range amounts {
		list[corev1.ResourceName(name)] = quantity(corev1.ResourceName(name), amount)
	}
	return list
}

// overhead is what Karpenter must take off capacity so that Allocatable() is exactly the allocatable given. Karpenter
// itself takes huge pages off memory, so they must not be taken off twice.
func (kind *instanceTypeInput) overhead() corev1.ResourceList {
	list := make(corev1.ResourceList, len(kind.Capacity))
	var hugePages int64
	for name, amount := range kind.Capacity {
		if strings.HasPrefix(name, corev1.ResourceHugePagesPrefix) {
			hugePages += amount
		}
	}
	for name, amount := range kind.Capacity {
		difference := amount - kind.Allocatable[name]
		if name == string(corev1.ResourceMemory) {
			difference -= hugePages
		}
		if difference != 0 {
			list[corev1.ResourceName(name)] = quantity(corev1.ResourceName(name), difference)
		}
	}
	return list
}

// instanceType builds Karpenter's instance type: every well-known label is defined, as its providers must, with
// `DoesNotExist` where the type has no value.
func (kind *instanceTypeInput) instanceType(wellKnown []string) *cloudprovider.InstanceType {
	requirements := scheduling.NewRequirements()
	for label, values := range kind.Labels {
		requirements.Add(scheduling.NewRequirement(label, corev1.NodeSelectorOpIn, values...))
	}
	offerings := make(cloudprovider.Offerings, 0, len(kind.Offerings))
	values := map[string][]string{}
	for _, offering := range kind.Offerings {
		labels := map[string]string{
			corev1.LabelTopologyZone:    offering.Zone,
			karpv1.CapacityTypeLabelKey: offering.CapacityType,
		}
		if offering.ZoneID != "" {
			labels[zoneIDLabel] = offering.ZoneID
		}
		for label, value := range labels {
			if !slices.Contains(values[label], value) {
				values[label] = append(values[label], value)
			}
		}
		offerings = append(offerings, &cloudprovider.Offering{
			Requirements: scheduling.NewLabelRequirements(labels),
			Price:        float64(offering.Price) / microsPerDollar,
			Available:    true,
		})
	}
	for _, label := range offeringLabels {
		if len(values[label]) > 0 {
			requirements.Add(scheduling.NewRequirement(label, corev1.NodeSelectorOpIn, values[label]...))
		}
	}
	for _, label := range append([]string{corev1.LabelInstanceTypeStable}, wellKnown...) {
		switch {
		case requirements.Has(label) || label == karpv1.NodePoolLabelKey:
		case label == corev1.LabelInstanceTypeStable:
			requirements.Add(scheduling.NewRequirement(label, corev1.NodeSelectorOpIn, kind.Name))
		default:
			requirements.Add(scheduling.NewRequirement(label, corev1.NodeSelectorOpDoesNotExist))
		}
	}
	return &cloudprovider.InstanceType{
		Name: kind.Name, Requirements: requirements, Offerings: offerings, Capacity: resourceList(kind.Capacity),
		Overhead: &cloudprovider.InstanceTypeOverhead{KubeReserved: kind.overhead()},
	}
}

// micros is a price of Karpenter's in the protocol's money. Exact: prices come from integers far below 2^53.
func micros(dollars float64) int64 { return int64(math.Round(dollars * microsPerDollar)) }

// choice is the offering a NodeClaim is launched with.
type choice struct {
	instanceType *cloudprovider.InstanceType
	offering     *cloudprovider.Offering
}

// cheapest is the cheapest available offering among types that satisfies requirements. Ties go to the smaller name and
// zone, so that the same NodeClaim always gives the same launch.
func cheapest(types []*cloudprovider.InstanceType, requirements scheduling.Requirements) (choice, error) {
	var best choice
	for _, kind := range types {
		for _, offering := range kind.Offerings.Available().Compatible(requirements) {
			candidate := choice{kind, offering}
			if best.offering == nil || candidate.less(best) {
				best = candidate
			}
		}
	}
	if best.offering == nil {
		return best, errors.New("no available offering satisfies the NodeClaim's requirements")
	}
	return best, nil
}

func (a choice) less(b choice) bool {
	if a.offering.Price != b.offering.Price {
		return a.offering.Price < b.offering.Price
	}
	if a.instanceType.Name != b.instanceType.Name {
		return a.instanceType.Name < b.instanceType.Name
	}
	return a.offering.Zone() < b.offering.Zone()
}

// labels are those a node gets from its instance type and offering.
func (a choice) labels() map[string]string {
	labels := map[string]string{}
	for key, requirement := range a.instanceType.Requirements {
		if requirement.Operator() == corev1.NodeSelectorOpIn && requirement.Len() == 1 {
			labels[key] = requirement.Any()
		}
	}
	for key, requirement := range a.offering.Requirements {
		labels[key] = requirement.Any()
	}
	return labels
}

// provider is a cloud that only has a price list. What the scheduler and the disruption methods ask a cloud provider
// while deciding is answered from memory; nothing can be launched.
type provider struct {
	types       map[string][]*cloudprovider.InstanceType
	nodeClasses []status.Object
}

func newProvider(in *input) *provider {
	p := &provider{types: map[string][]*cloudprovider.InstanceType{}}
	for pool, kinds := range in.InstanceTypes {
		for i := range kinds {
			p.types[pool] = append(p.types[pool], kinds[i].instanceType(in.WellKnown))
		}
	}
	seen := map[schema.GroupKind]bool{}
	for _, pool := range in.decoded.NodePools {
		if kind := pool.Spec.Template.Spec.NodeClassRef.GroupKind(); !seen[kind] {
			seen[kind] = true
			p.nodeClasses = append(p.nodeClasses, newNodeClass(kind))
		}
	}
	return p
}

// price is what a node of this type, zone and capacity type costs in micro-dollars per hour; false if the pool's
// catalogue does not have it.
func (p *provider) price(pool, instanceType, zone, capacityType string) (int64, bool) {
	for _, kind := range p.types[pool] {
		if kind.Name == instanceType {
			price, ok := kind.OfferingPrice(zone, capacityType)
			return micros(price), ok
		}
	}
	return 0, false
}

var errNoCloud = errors.New("the benchmark has a price list, no cloud")

func (p *provider) Create(context.Context, *karpv1.NodeClaim) (*karpv1.NodeClaim, error) {
	return nil, errNoCloud
}
func (p *provider) Delete(context.Context, *karpv1.NodeClaim) error { return errNoCloud }
func (p *provider) Get(context.Context, string) (*karpv1.NodeClaim, error) {
	return nil, errNoCloud
}
func (p *provider) List(context.Context) ([]*karpv1.NodeClaim, error) { return nil, errNoCloud }

// GetInstanceTypes returns the types of a NodePool.
func (p *provider) GetInstanceTypes(_ context.Context, pool *karpv1.NodePool) ([]*cloudprovider.InstanceType, error) {
	return p.types[pool.Name], nil
}

func (p *provider) IsDrifted(context.Context, *karpv1.NodeClaim) (cloudprovider.DriftReason, error) {
	return "", nil
}
func (p *provider) RepairPolicies() []cloudprovider.RepairPolicy { return nil }
func (p *provider) Name() string                                 { return "stowage-bench" }
func (p *provider) GetSupportedNodeClasses() []status.Object     { return p.nodeClasses }

// nodeClass stands for a kind of node class. Karpenter only asks for its group and kind, to see which NodePools are its
// own; being unstructured it needs no Go type per kind.
type nodeClass struct{ *unstructured.Unstructured }

func newNodeClass(kind schema.GroupKind) nodeClass {
	object := &unstructured.Unstructured{}
	object.SetGroupVersionKind(kind.WithVersion("v1"))
	return nodeClass{object}
}

func (c nodeClass) GetConditions() []status.Condition { return nil }
func (c nodeClass) SetConditions([]status.Condition)  {}
func (c nodeClass) StatusConditions(opts ...status.ForOption) status.ConditionSet {
	return status.NewReadyConditions().For(c, opts...)
}
