package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning"
	"sigs.k8s.io/karpenter/pkg/controllers/provisioning/scheduling"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/state/cost"
	podutils "sigs.k8s.io/karpenter/pkg/utils/pod"
)

// cluster is the snapshot as Karpenter's controllers see it: objects in the client, and the cluster state that its
// informers keep. Commands are carried out here, in memory.
type cluster struct {
	in          *input
	store       *store
	provider    *provider
	state       *state.Cluster
	recorder    events.Recorder
	clock       *deadlineClock
	provisioner *provisioning.Provisioner
	costs       *cost.ClusterCost

	pods            map[string]*corev1.Pod       // by namespace/name, as the client has them now
	nodes           map[string]*corev1.Node      // by name
	claims          map[string]*karpv1.NodeClaim // by name
	claimOf         map[string]string            // node name -> NodeClaim name
	claimByProvider map[string]string            // provider ID -> NodeClaim name
	pools           map[string]bool              // NodePools there are
	launched        map[string]*launch           // nodes added, by node name
	names           int                          // nodes launched so far, to name the next
}

// newCluster fills client and cluster state in the way Karpenter's informers would, none of which is timed.
func newCluster(ctx context.Context, in *input) (*cluster, error) {
	registerLabels(in.WellKnown)
	c := &cluster{
		in: in, store: newStore(), provider: newProvider(in), clock: &deadlineClock{},
		// Events are made, deduplicated and rate limited as in production; then they go nowhere.
		recorder: events.NewRecorder(&record.FakeRecorder{}),
		pods:     map[string]*corev1.Pod{}, nodes: map[string]*corev1.Node{}, claims: map[string]*karpv1.NodeClaim{},
		claimOf: map[string]string{}, claimByProvider: map[string]string{}, pools: map[string]bool{},
		launched: map[string]*launch{},
	}
	c.state = state.NewCluster(c.clock, c.store, c.provider)
	c.costs = cost.NewClusterCost(ctx, c.provider, c.store)
	// No allocator of devices and no virtual pods: dynamic resource allocation and capacity buffers are off by default.
	c.provisioner = provisioning.NewProvisioner(c.store, c.recorder, c.provider, c.state, c.clock, nil, nil)

	in.complete()
	if err := c.putObjects(); err != nil {
		return nil, err
	}
	for _, claim := range in.decoded.NodeClaims {
		if err := c.putClaim(ctx, claim); err != nil {
			return nil, err
		}
	}
	for _, node := range in.decoded.Nodes {
		if err := c.putNode(ctx, node); err != nil {
			return nil, err
		}
	}
	for _, pod := range in.decoded.Pods {
		if err := c.putPod(ctx, pod); err != nil {
			return nil, err
		}
	}
	for _, set := range in.decoded.DaemonSets {
		if err := c.state.UpdateDaemonSet(ctx, set); err != nil {
			return nil, fmt.Errorf("DaemonSet %s/%s: %w", set.Namespace, set.Name, err)
		}
	}
	return c, nil
}

// putObjects puts everything into the client that has no counterpart in the cluster state, and the pods, which must be
// there before their nodes.
func (c *cluster) putObjects() error {
	var all []client.Object
	o := &c.in.decoded
	for _, pool := range o.NodePools {
		c.pools[pool.Name] = true
	}
	all = appendAll(all, o.Pods)
	all = appendAll(all, o.NodePools)
	all = appendAll(all, o.DaemonSets)
	all = appendAll(all, o.PodDisruptionBudgets)
	all = appendAll(all, o.Namespaces)
	all = appendAll(all, o.PersistentVolumeClaims)
	all = appendAll(all, o.PersistentVolumes)
	all = appendAll(all, o.StorageClasses)
	for _, object := range all {
		if err := c.store.put(object); err != nil {
			return err
		}
	}
	return nil
}

func appendAll[T client.Object](to []client.Object, from []T) []client.Object {
	for _, object := range from {
		to = append(to, object)
	}
	return to
}

func (c *cluster) putClaim(ctx context.Context, claim *karpv1.NodeClaim) error {
	c.claims[claim.Name] = claim
	if claim.Status.ProviderID != "" {
		c.claimByProvider[claim.Status.ProviderID] = claim.Name
	}
	if err := c.store.put(claim); err != nil {
		return err
	}
	c.state.UpdateNodeClaim(claim.DeepCopy())
	if c.pools[claim.Labels[karpv1.NodePoolLabelKey]] {
		return c.costs.UpdateNodeClaim(ctx, claim)
	}
	return nil
}

func (c *cluster) putNode(ctx context.Context, node *corev1.Node) error {
	c.nodes[node.Name] = node
	if claim, ok := c.claimByProvider[node.Spec.ProviderID]; ok {
		c.claimOf[node.Name] = claim
	}
	if err := c.store.put(node); err != nil {
		return err
	}
	if err := c.state.UpdateNode(ctx, node.DeepCopy()); err != nil {
		return fmt.Errorf("node %s: %w", node.Name, err)
	}
	return nil
}

// putPod updates a pod. Pods of nodes that do not exist are left to pod garbage collection, by Karpenter too.
func (c *cluster) putPod(ctx context.Context, pod *corev1.Pod) error {
	c.pods[podName(pod)] = pod
	if err := c.store.put(pod); err != nil {
		return err
	}
	if pod.Spec.NodeName == "" || c.nodes[pod.Spec.NodeName] == nil {
		return nil
	}
	if err := c.state.UpdatePod(ctx, pod.DeepCopy()); err != nil {
		return fmt.Errorf("pod %s: %w", podName(pod), err)
	}
	return nil
}

// bind puts a pod on a node and lets it run there, as kube-scheduler and kubelet would.
func (c *cluster) bind(ctx context.Context, name, node string) error {
	pod := c.pods[name].DeepCopy()
	pod.Spec.NodeName = node
	pod.Status.Phase = corev1.PodRunning
	pod.Status.NominatedNodeName = ""
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionTrue},
	}
	return c.putPod(ctx, pod)
}

// unbind makes a pod pending again, as its controller would with a new pod after an eviction.
func (c *cluster) unbind(ctx context.Context, name string) error {
	pod := c.pods[name].DeepCopy()
	c.state.DeletePod(client.ObjectKeyFromObject(pod))
	pod.Spec.NodeName = ""
	pod.Status.Phase = corev1.PodPending
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable},
	}
	return c.putPod(ctx, pod)
}

// bindAll puts pods on a node. The pods given may be Karpenter's copies, with preferences dropped; only their names count.
func (c *cluster) bindAll(ctx context.Context, pods []*corev1.Pod, node string) error {
	for _, pod := range pods {
		if err := c.bind(ctx, podName(pod), node); err != nil {
			return err
		}
	}
	return nil
}

// launch adds the node that a NodeClaim becomes with the chosen offering, initialized, its pods not yet bound, and
// returns its name.
func (c *cluster) launch(ctx context.Context, planned *scheduling.NodeClaim, chosen choice) (string, error) {
	result := &launch{
		NodePool: planned.NodePoolName, InstanceType: chosen.instanceType.Name, Zone: chosen.offering.Zone(),
		CapacityType: chosen.offering.CapacityType(), Price: micros(chosen.offering.Price),
	}
	claim := planned.ToNodeClaim() // gives labels that requirements leave open a value
	result.Labels = ownLabels(claim.Labels)
	c.names++
	claim.Name = fmt.Sprintf("%s-new-%05d", planned.NodePoolName, c.names)
	claim.UID = types.UID(claim.Name)
	claim.CreationTimestamp = metav1.NewTime(c.clock.Now())
	claim.Status.ProviderID = "new:///" + claim.Name
	claim.Status.Capacity = chosen.instanceType.Capacity
	claim.Status.Allocatable = chosen.instanceType.Allocatable()
	maps.Copy(claim.Labels, chosen.labels())
	c.launched[claim.Name] = result
	return claim.Name, c.boot(ctx, claim)
}

// ready returns the name of a state node's node, which it boots first if so far there is only a NodeClaim.
func (c *cluster) ready(ctx context.Context, node *state.StateNode) (string, error) {
	if node.Node != nil {
		return node.Node.Name, nil
	}
	return node.NodeClaim.Name, c.boot(ctx, node.NodeClaim.DeepCopy())
}

// boot lets a launched NodeClaim's node appear under the NodeClaim's name and become initialized.
func (c *cluster) boot(ctx context.Context, claim *karpv1.NodeClaim) error {
	claim.Labels[corev1.LabelHostname] = claim.Name
	claim.Labels[karpv1.NodeRegisteredLabelKey] = "true"
	claim.Labels[karpv1.NodeInitializedLabelKey] = "true"
	initialize(claim)
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: claim.Name, UID: claim.UID, Labels: maps.Clone(claim.Labels), CreationTimestamp: claim.CreationTimestamp,
			Annotations: maps.Clone(claim.Annotations),
		},
		Spec: corev1.NodeSpec{ProviderID: claim.Status.ProviderID, Taints: claim.Spec.Taints},
		Status: corev1.NodeStatus{
			Capacity: claim.Status.Capacity, Allocatable: claim.Status.Allocatable,
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	return errors.Join(c.putClaim(ctx, claim), c.putNode(ctx, node))
}

// ownLabels are the labels that are the user's own: not well-known, not Karpenter's or the provider's.
func ownLabels(labels map[string]string) map[string]string {
	own := map[string]string{}
	for key, value := range labels {
		if !karpv1.WellKnownLabels.Has(key) && karpv1.IsRestrictedLabel(key) == nil {
			own[key] = value
		}
	}
	return own
}

// remove takes a node, its NodeClaim and the pods that only lived for it (DaemonSets', finished ones) out of the cluster.
func (c *cluster) remove(name string) error {
	node := c.nodes[name]
	for _, pod := range c.podsOn(name) {
		c.state.DeletePod(client.ObjectKeyFromObject(pod))
		delete(c.pods, podName(pod))
		if err := c.store.remove(pod); err != nil {
			return err
		}
	}
	if claim := c.claims[c.claimOf[name]]; claim != nil {
		c.state.DeleteNodeClaim(claim.Name)
		if err := c.costs.DeleteNodeClaim(context.Background(), client.ObjectKeyFromObject(claim)); err != nil {
			return err
		}
		delete(c.claims, claim.Name)
		if err := c.store.remove(claim); err != nil {
			return err
		}
	}
	c.state.DeleteNode(name)
	delete(c.nodes, name)
	delete(c.claimOf, name)
	delete(c.launched, name)
	return c.store.remove(node)
}

// podsOn lists the pods bound to a node, by name.
func (c *cluster) podsOn(node string) []*corev1.Pod {
	var list corev1.PodList
	// The index exists and the store has no other way to fail.
	_ = c.store.List(context.Background(), &list, client.MatchingFields{"spec.nodeName": node}, client.UnsafeDisableDeepCopy)
	pods := make([]*corev1.Pod, 0, len(list.Items))
	for i := range list.Items {
		pods = append(pods, c.pods[podName(&list.Items[i])])
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return compareNames(podName(a), podName(b)) })
	return pods
}

// price is what a node costs in micro-dollars per hour; false if it is not of a NodePool or not in the catalogue.
func (c *cluster) price(node *corev1.Node) (int64, bool) {
	labels := node.Labels
	return c.provider.price(labels[karpv1.NodePoolLabelKey], labels[corev1.LabelInstanceTypeStable],
		labels[corev1.LabelTopologyZone], labels[karpv1.CapacityTypeLabelKey])
}

// moves are pods that belong to a workload: they have to run somewhere else if their node goes.
func moves(pod *corev1.Pod) bool { return podutils.IsReschedulable(pod) }

func podNames(pods []*corev1.Pod) []string {
	names := make([]string, 0, len(pods))
	for _, pod := range pods {
		names = append(names, podName(pod))
	}
	slices.Sort(names)
	return names
}

func compareNames(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

// initialize sets the conditions a NodeClaim has once its node is up and settled.
func initialize(claim *karpv1.NodeClaim) {
	for _, condition := range []string{
		karpv1.ConditionTypeLaunched, karpv1.ConditionTypeRegistered, karpv1.ConditionTypeInitialized,
		karpv1.ConditionTypeConsolidatable,
	} {
		claim.StatusConditions().SetTrue(condition)
	}
}
