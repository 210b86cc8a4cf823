package main

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	podutils "sigs.k8s.io/karpenter/pkg/utils/pod"
)

// settle makes the cluster one whose nodes have all been up and quiet for long enough, and in which budgets only forbid,
// but do not delay. It returns the budgets that the NodePools had.
func (in *input) settle() map[string][]string {
	o := &in.decoded
	for _, claim := range o.NodeClaims {
		claim.Status.LastPodEventTime = metav1.Time{}
		initialize(claim)
	}
	for _, node := range o.Nodes {
		if node.Labels[karpv1.NodePoolLabelKey] == "" {
			continue
		}
		node.Labels[karpv1.NodeRegisteredLabelKey] = "true"
		node.Labels[karpv1.NodeInitializedLabelKey] = "true"
	}
	budgets := map[string][]string{}
	for _, pool := range o.NodePools {
		budgets[pool.Name] = settleNodePool(pool)
	}
	for i, budget := range o.PodDisruptionBudgets {
		if !in.budgetHasStatus[i] {
			completeBudget(budget, o.Pods)
		}
	}
	return budgets
}

// settleNodePool removes delays from a NodePool's disruption settings and returns the budgets it had. A pool that is never
// consolidated, or whose budget is always 0, stays so.
func settleNodePool(pool *karpv1.NodePool) []string {
	settings := &pool.Spec.Disruption
	if settings.ConsolidateAfter.Duration != nil {
		settings.ConsolidateAfter.Duration = new(time.Duration)
	}
	if len(settings.Budgets) == 0 {
		settings.Budgets = []karpv1.Budget{{Nodes: "10%"}} // the CRD's default
	}
	had := []string{}
	kept := []karpv1.Budget{{Nodes: "100%"}}
	for _, budget := range settings.Budgets {
		had = append(had, budget.Nodes)
		if (budget.Nodes == "0" || budget.Nodes == "0%") && budget.Schedule == nil {
			kept = append(kept, budget)
		}
	}
	settings.Budgets = kept
	return had
}

// completeBudget computes the status of a PodDisruptionBudget as the disruption controller would. Pods expected are those
// there are, for want of their controllers.
func completeBudget(budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod) {
	status := &budget.Status
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		return // Karpenter reads the selector too and says what is wrong with it
	}
	for _, pod := range pods {
		if pod.Namespace != budget.Namespace || podutils.IsTerminal(pod) || !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		status.ExpectedPods++
		if pod.Spec.NodeName != "" && !podutils.IsTerminating(pod) {
			status.CurrentHealthy++
		}
	}
	expected := int(status.ExpectedPods)
	desired := 0
	switch {
	case budget.Spec.MaxUnavailable != nil:
		unavailable, err := intstr.GetScaledValueFromIntOrPercent(budget.Spec.MaxUnavailable, expected, true)
		if err != nil {
			return // not a number or percentage: nothing is allowed
		}
		desired = max(expected-unavailable, 0)
	case budget.Spec.MinAvailable != nil:
		if desired, err = intstr.GetScaledValueFromIntOrPercent(budget.Spec.MinAvailable, expected, true); err != nil {
			return
		}
	}
	status.DesiredHealthy = int32(desired)
	status.DisruptionsAllowed = max(status.CurrentHealthy-status.DesiredHealthy, 0)
}

// bootClaims lets the nodes of NodeClaims appear that are on their way: they are paid for like the others.
func (c *cluster) bootClaims(ctx context.Context) error {
	for _, claim := range c.in.decoded.NodeClaims {
		if claim.Status.ProviderID == "" || c.hasNode(claim.Name) {
			continue
		}
		if err := c.boot(ctx, claim.DeepCopy()); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) hasNode(claim string) bool {
	for _, name := range c.claimOf {
		if name == claim {
			return true
		}
	}
	return false
}
