package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
)

// store is the client Karpenter reads from. In production that is controller-runtime's cache: indexers of client-go,
// and a deep copy of every object that leaves them unless the caller asks for none. This is the same with less around
// it; controller-runtime's own fake client, made for tests, encodes and decodes JSON on every read and would be most of
// the time measured. Nothing can be written through it: what the benchmark changes, it changes with put and remove.
type store struct {
	kinds map[reflect.Type]kind
}

// kind holds the objects of one kind.
type kind interface {
	get(key string, to client.Object, copied bool) bool
	list(to client.ObjectList, options *client.ListOptions) error
	put(object client.Object) error
	remove(object client.Object) error
}

// table is the kind of one Go type. items gives the list's slice to append to.
type table[T any, P object[T], L client.ObjectList] struct {
	indexer cache.Indexer
	items   func(L) *[]T
}

// object is a pointer to an API type.
type object[T any] interface {
	*T
	client.Object
	DeepCopyInto(*T)
}

var _ client.Client = (*store)(nil)

// newStore has the kinds the scheduler and the disruption methods read, with the indices Karpenter's operator sets up.
func newStore() *store {
	s := &store{kinds: map[reflect.Type]kind{}}
	add(s, func(l *corev1.PodList) *[]corev1.Pod { return &l.Items },
		"spec.nodeName", func(p *corev1.Pod) string { return p.Spec.NodeName })
	add(s, func(l *corev1.NodeList) *[]corev1.Node { return &l.Items },
		"spec.providerID", func(n *corev1.Node) string { return n.Spec.ProviderID })
	add(s, func(l *karpv1.NodeClaimList) *[]karpv1.NodeClaim { return &l.Items },
		"status.providerID", func(n *karpv1.NodeClaim) string { return n.Status.ProviderID })
	add[karpv1.NodePool](s, func(l *karpv1.NodePoolList) *[]karpv1.NodePool { return &l.Items }, "", nil)
	add[appsv1.DaemonSet](s, func(l *appsv1.DaemonSetList) *[]appsv1.DaemonSet { return &l.Items }, "", nil)
	add[policyv1.PodDisruptionBudget](s,
		func(l *policyv1.PodDisruptionBudgetList) *[]policyv1.PodDisruptionBudget { return &l.Items }, "", nil)
	add[corev1.Namespace](s, func(l *corev1.NamespaceList) *[]corev1.Namespace { return &l.Items }, "", nil)
	add[corev1.PersistentVolumeClaim](s,
		func(l *corev1.PersistentVolumeClaimList) *[]corev1.PersistentVolumeClaim { return &l.Items }, "", nil)
	add[corev1.PersistentVolume](s,
		func(l *corev1.PersistentVolumeList) *[]corev1.PersistentVolume { return &l.Items }, "", nil)
	add[storagev1.StorageClass](s,
		func(l *storagev1.StorageClassList) *[]storagev1.StorageClass { return &l.Items }, "", nil)
	// No input has any: nodes then have no volume limits, as before their CSI driver has registered.
	add[storagev1.CSINode](s, func(l *storagev1.CSINodeList) *[]storagev1.CSINode { return &l.Items }, "", nil)
	return s
}

// add registers a kind, with one field index if field is not empty.
func add[T any, P object[T], L client.ObjectList](s *store, items func(L) *[]T, field string, value func(P) string) {
	indexers := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	if field != "" {
		indexers[field] = func(o any) ([]string, error) { return []string{value(o.(P))}, nil }
	}
	t := &table[T, P, L]{indexer: cache.NewIndexer(cache.MetaNamespaceKeyFunc, indexers), items: items}
	s.kinds[reflect.TypeFor[T]()] = t
	s.kinds[reflect.TypeFor[L]().Elem()] = t
}

func (t *table[T, P, L]) get(key string, to client.Object, copied bool) bool {
	found, ok, _ := t.indexer.GetByKey(key) // never fails: the indexer is a map
	if !ok {
		return false
	}
	if copied {
		found.(P).DeepCopyInto((*T)(to.(P)))
	} else {
		*(*T)(to.(P)) = *(*T)(found.(P))
	}
	return true
}

func (t *table[T, P, L]) list(to client.ObjectList, options *client.ListOptions) error {
	found, err := t.selectBy(options)
	if err != nil {
		return err
	}
	copied := options.UnsafeDisableDeepCopy == nil || !*options.UnsafeDisableDeepCopy
	items := make([]T, 0, len(found))
	for _, item := range found {
		from := item.(P)
		if options.LabelSelector != nil && !options.LabelSelector.Matches(labelsOf(from.GetLabels())) {
			continue
		}
		if copied {
			items = append(items, *new(T))
			from.DeepCopyInto(&items[len(items)-1])
		} else {
			items = append(items, *(*T)(from))
		}
	}
	*t.items(to.(L)) = items
	return nil
}

// selectBy is what the indices of the cache can answer: by one field, by namespace, or everything.
func (t *table[T, P, L]) selectBy(options *client.ListOptions) ([]any, error) {
	if options.FieldSelector == nil {
		if options.Namespace != "" {
			return t.indexer.ByIndex(cache.NamespaceIndex, options.Namespace)
		}
		return t.indexer.List(), nil
	}
	requirements := options.FieldSelector.Requirements()
	if len(requirements) != 1 || options.Namespace != "" {
		return nil, fmt.Errorf("the benchmark's store has no index for %q", options.FieldSelector)
	}
	return t.indexer.ByIndex(requirements[0].Field, requirements[0].Value)
}

func (t *table[T, P, L]) put(o client.Object) error    { return t.indexer.Update(o) }
func (t *table[T, P, L]) remove(o client.Object) error { return t.indexer.Delete(o) }

// labelsOf is a label set without the copy that labels.Set's methods would not need either.
type labelsOf map[string]string

func (l labelsOf) Has(key string) bool              { _, ok := l[key]; return ok }
func (l labelsOf) Get(key string) string            { return l[key] }
func (l labelsOf) Lookup(key string) (string, bool) { value, ok := l[key]; return value, ok }

func (s *store) kindOf(o any) (kind, error) {
	if k, ok := s.kinds[reflect.TypeOf(o).Elem()]; ok {
		return k, nil
	}
	return nil, fmt.Errorf("the benchmark's store does not hold %T", o)
}

// Get reads one object.
func (s *store) Get(_ context.Context, key client.ObjectKey, to client.Object, opts ...client.GetOption) error {
	k, err := s.kindOf(to)
	if err != nil {
		return err
	}
	options := (&client.GetOptions{}).ApplyOptions(opts)
	name := cache.NewObjectName(key.Namespace, key.Name).String()
	if namespaced, _ := s.IsObjectNamespaced(to); !namespaced {
		name = key.Name
	}
	if !k.get(name, to, options.UnsafeDisableDeepCopy == nil || !*options.UnsafeDisableDeepCopy) {
		resource := schema.GroupResource{Resource: fmt.Sprintf("%T", to)}
		return apierrors.NewNotFound(resource, key.Name)
	}
	return nil
}

// List reads the objects that the options select.
func (s *store) List(_ context.Context, to client.ObjectList, opts ...client.ListOption) error {
	k, err := s.kindOf(to)
	if err != nil {
		return err
	}
	return k.list(to, (&client.ListOptions{}).ApplyOptions(opts))
}

// put adds or replaces an object, which must not be changed afterwards.
func (s *store) put(o client.Object) error {
	k, err := s.kindOf(o)
	if err != nil {
		return err
	}
	return k.put(o)
}

func (s *store) remove(o client.Object) error {
	k, err := s.kindOf(o)
	if err != nil {
		return err
	}
	return k.remove(o)
}

// errReadOnly is what every write through the client gives; a decision needs none.
var errReadOnly = errors.New("the benchmark's store is read-only for Karpenter")

func (s *store) Create(context.Context, client.Object, ...client.CreateOption) error {
	return errReadOnly
}
func (s *store) Delete(context.Context, client.Object, ...client.DeleteOption) error {
	return errReadOnly
}
func (s *store) Update(context.Context, client.Object, ...client.UpdateOption) error {
	return errReadOnly
}
func (s *store) Patch(context.Context, client.Object, client.Patch, ...client.PatchOption) error {
	return errReadOnly
}
func (s *store) Apply(context.Context, runtime.ApplyConfiguration, ...client.ApplyOption) error {
	return errReadOnly
}
func (s *store) DeleteAllOf(context.Context, client.Object, ...client.DeleteAllOfOption) error {
	return errReadOnly
}

// Status and SubResource are never asked for while deciding; a nil one would panic, and the panic becomes the outcome.
func (s *store) Status() client.SubResourceWriter            { return nil }
func (s *store) SubResource(string) client.SubResourceClient { return nil }
func (s *store) Scheme() *runtime.Scheme                     { return scheme.Scheme }
func (s *store) RESTMapper() meta.RESTMapper                 { return nil }
func (s *store) GroupVersionKindFor(o runtime.Object) (schema.GroupVersionKind, error) {
	return o.GetObjectKind().GroupVersionKind(), nil
}

// IsObjectNamespaced tells which of the kinds held have namespaces.
func (s *store) IsObjectNamespaced(o runtime.Object) (bool, error) {
	switch o.(type) {
	case *corev1.Pod, *appsv1.DaemonSet, *policyv1.PodDisruptionBudget, *corev1.PersistentVolumeClaim:
		return true, nil
	default:
		return false, nil
	}
}
