package main

import (
	"maps"
	"slices"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
)

// complete fills in what API servers and controllers would have filled in: UIDs, namespaces, conditions of NodePools,
// taints, and NodeClaims of nodes that have none.
func (in *input) complete() {
	o := &in.decoded
	for _, pod := range o.Pods {
		setUID(pod, "Pod")
	}
	for _, pool := range o.NodePools {
		setUID(pool, "NodePool")
		completeNodePool(pool)
	}
	for _, claim := range o.NodeClaims {
		setUID(claim, "NodeClaim")
		if claim.Labels == nil {
			claim.Labels = map[string]string{}
		}
	}
	for _, node := range o.Nodes {
		setUID(node, "Node")
		completeTaints(node)
	}
	in.adoptDaemonPods()
	in.addNamespaces()
	in.addNodeClaims()
}

// setUID gives an object a UID if it has none: as random as a real one, which breaks ties in Karpenter's queue, and the
// same in each run.
func setUID(o client.Object, kind string) {
	if o.GetUID() == "" {
		id := uuid.NewSHA1(uuid.NameSpaceURL, []byte(kind+"/"+o.GetNamespace()+"/"+o.GetName()))
		o.SetUID(types.UID(id.String()))
	}
}

// completeNodePool sets what the NodePool controllers set, unless the snapshot says that the pool is not ready.
func completeNodePool(pool *karpv1.NodePool) {
	for _, condition := range pool.Status.Conditions {
		if condition.Status != metav1.ConditionTrue {
			return
		}
	}
	pool.StatusConditions().SetTrue(karpv1.ConditionTypeValidationSucceeded)
	pool.StatusConditions().SetTrue(karpv1.ConditionTypeNodeClassReady)
}

// completeTaints adds the taints by which kube-scheduler and Karpenter know that a node takes no pods, and which the node
// lifecycle controller sets: one for a cordoned node, one for a node that is not ready.
func completeTaints(node *corev1.Node) {
	if node.Spec.Unschedulable {
		addTaint(node, corev1.TaintNodeUnschedulable)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
			return
		}
	}
	addTaint(node, corev1.TaintNodeNotReady)
}

func addTaint(node *corev1.Node, key string) {
	taint := corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}
	if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) }) {
		node.Spec.Taints = append(node.Spec.Taints, taint)
	}
}

// adoptDaemonPods gives DaemonSets without UID the one their pods refer to, so that Karpenter finds their pods.
func (in *input) adoptDaemonPods() {
	type name struct{ namespace, name string }
	uids := map[name]types.UID{}
	for _, pod := range in.decoded.Pods {
		if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == "DaemonSet" {
			uids[name{pod.Namespace, owner.Name}] = owner.UID
		}
	}
	for _, set := range in.decoded.DaemonSets {
		if uid, ok := uids[name{set.Namespace, set.Name}]; ok && set.UID == "" {
			set.UID = uid
		}
		setUID(set, "DaemonSet")
	}
}

// addNamespaces adds the namespaces of pods that are not listed, with the one label each namespace has.
func (in *input) addNamespaces() {
	known := map[string]bool{}
	for _, namespace := range in.decoded.Namespaces {
		known[namespace.Name] = true
	}
	for _, pod := range in.decoded.Pods {
		if !known[pod.Namespace] {
			known[pod.Namespace] = true
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: pod.Namespace}}
			namespace.Labels = map[string]string{corev1.LabelMetadataName: pod.Namespace}
			in.decoded.Namespaces = append(in.decoded.Namespaces, namespace)
		}
	}
}

// addNodeClaims gives nodes that belong to a NodePool and have no NodeClaim one that says what the node says.
func (in *input) addNodeClaims() {
	o := &in.decoded
	pools := map[string]*karpv1.NodePool{}
	for _, pool := range o.NodePools {
		pools[pool.Name] = pool
	}
	claimed := map[string]*karpv1.NodeClaim{}
	for _, claim := range o.NodeClaims {
		claimed[claim.Status.ProviderID] = claim
		if pool := pools[claim.Labels[karpv1.NodePoolLabelKey]]; pool != nil && claim.Spec.NodeClassRef == nil {
			claim.Spec.NodeClassRef = pool.Spec.Template.Spec.NodeClassRef
		}
	}
	for _, node := range o.Nodes {
		pool := pools[node.Labels[karpv1.NodePoolLabelKey]]
		if pool == nil {
			continue
		}
		if node.Spec.ProviderID == "" {
			node.Spec.ProviderID = "snapshot:///" + node.Name
		}
		if claim := claimed[node.Spec.ProviderID]; claim != nil {
			// Deleting a node of Karpenter's deletes its NodeClaim, which is where Karpenter looks.
			if claim.DeletionTimestamp == nil {
				claim.DeletionTimestamp = node.DeletionTimestamp
			}
			continue
		}
		node.Labels[karpv1.NodeRegisteredLabelKey] = "true"
		node.Labels[karpv1.NodeInitializedLabelKey] = "true"
		claim := &karpv1.NodeClaim{
			ObjectMeta: metav1.ObjectMeta{
				Name: node.Name, Labels: maps.Clone(node.Labels), Annotations: maps.Clone(node.Annotations),
				CreationTimestamp: node.CreationTimestamp, DeletionTimestamp: node.DeletionTimestamp,
			},
			Spec: karpv1.NodeClaimSpec{
				NodeClassRef: pool.Spec.Template.Spec.NodeClassRef, Taints: node.Spec.Taints,
				ExpireAfter: pool.Spec.Template.Spec.ExpireAfter,
			},
			Status: karpv1.NodeClaimStatus{
				NodeName: node.Name, ProviderID: node.Spec.ProviderID,
				Capacity: node.Status.Capacity, Allocatable: node.Status.Allocatable,
			},
		}
		setUID(claim, "NodeClaim")
		initialize(claim)
		o.NodeClaims = append(o.NodeClaims, claim)
	}
}
