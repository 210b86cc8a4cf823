package main

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestTheStoreReadsLikeACache(t *testing.T) {
	ctx, s := context.Background(), newStore()
	put := func(namespace, name, app, node string) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": app}}}
		pod.Spec.NodeName = node
		if err := s.put(pod); err != nil {
			t.Fatal(err)
		}
	}
	put("x", "a", "web", "n1")
	put("x", "b", "db", "")
	put("y", "a", "web", "")
	put("x", "a", "web", "n2") // moved

	list := func(options ...client.ListOption) []string {
		var pods corev1.PodList
		if err := s.List(ctx, &pods, options...); err != nil {
			t.Fatal(err)
		}
		names := []*corev1.Pod{}
		for i := range pods.Items {
			names = append(names, &pods.Items[i])
		}
		return podNames(names)
	}
	expect(t, "all", list(), []string{"x/a", "x/b", "y/a"})
	expect(t, "namespace", list(client.InNamespace("x")), []string{"x/a", "x/b"})
	expect(t, "labels", list(client.MatchingLabels{"app": "web"}, client.InNamespace("y")), []string{"y/a"})
	expect(t, "old node", list(client.MatchingFields{"spec.nodeName": "n1"}), []string{})
	expect(t, "new node", list(client.MatchingFields{"spec.nodeName": "n2"}), []string{"x/a"})
	expect(t, "no node", list(client.MatchingFields{"spec.nodeName": ""}), []string{"x/b", "y/a"})

	var pod corev1.Pod
	if err := s.Get(ctx, client.ObjectKey{Namespace: "x", Name: "a"}, &pod); err != nil {
		t.Fatal(err)
	}
	pod.Labels["app"] = "changed"
	var pods corev1.PodList
	if err := s.List(ctx, &pods, client.InNamespace("y")); err != nil {
		t.Fatal(err)
	}
	pods.Items[0].Labels["app"] = "changed"
	expect(t, "a copy was changed", list(client.MatchingLabels{"app": "web"}), []string{"x/a", "y/a"})

	if err := s.Get(ctx, client.ObjectKey{Name: "none"}, &corev1.Node{}); !apierrors.IsNotFound(err) {
		t.Errorf("a missing node: %v", err)
	}
	// Cluster-scoped objects are found whatever namespace is asked for, as Karpenter does for PersistentVolumes.
	if err := s.put(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Get(ctx, client.ObjectKey{Namespace: "x", Name: "pv"}, &corev1.PersistentVolume{}); err != nil {
		t.Error(err)
	}
	if err := s.List(ctx, &corev1.ConfigMapList{}); err == nil {
		t.Error("a kind the store does not hold was listed")
	}
	if err := s.List(ctx, &corev1.PodList{}, client.MatchingFields{"status.phase": "Running"}); err == nil {
		t.Error("a field without an index was selected by")
	}
	if err := s.Create(ctx, &pod); err == nil {
		t.Error("the store was written to")
	}
}
