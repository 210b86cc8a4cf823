package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"

	karpv1 "sigs.k8s.io/karpenter/pkg/apis/v1"
)

// The formats this program speaks; benchmarks/peers/README.md defines them.
const (
	inputFormat  = "stowage-peer-input/1"
	answerFormat = "stowage-peer-answer/1"
)

// The two tasks.
const (
	taskProvision   = "provision"
	taskConsolidate = "consolidate"
)

// How a run ended.
const (
	outcomeComplete = "complete"
	outcomeTimeout  = "timeout"
	outcomeFailed   = "failed"
)

// input is what the benchmark hands to a peer. `aggregate`, the same problem as numbers, is for solvers and not read.
type input struct {
	Format         string                         `json:"format"`
	Name           string                         `json:"name"`
	SnapshotDigest string                         `json:"snapshotDigest"`
	CatalogDigest  string                         `json:"catalogDigest"`
	Task           string                         `json:"task"`
	SecondsMax     float64                        `json:"secondsMax"`
	Threads        int                            `json:"threads"`
	Seed           int64                          `json:"seed"`
	Objects        map[string][]json.RawMessage   `json:"objects"`
	WellKnown      []string                       `json:"wellKnownLabels"`
	InstanceTypes  map[string][]instanceTypeInput `json:"instanceTypes"`

	decoded         objects
	budgetHasStatus []bool // per PodDisruptionBudget: status.disruptionsAllowed is given
}

// objects are the Kubernetes objects of the snapshot, in the order given.
type objects struct {
	Pods                   []*corev1.Pod
	Nodes                  []*corev1.Node
	NodePools              []*karpv1.NodePool
	NodeClaims             []*karpv1.NodeClaim
	DaemonSets             []*appsv1.DaemonSet
	PodDisruptionBudgets   []*policyv1.PodDisruptionBudget
	Namespaces             []*corev1.Namespace
	PersistentVolumeClaims []*corev1.PersistentVolumeClaim
	PersistentVolumes      []*corev1.PersistentVolume
	StorageClasses         []*storagev1.StorageClass
}

// instanceTypeInput is an instance type as nodes of one NodePool would have it. Amounts: cpu in millicores, memory and
// storage in bytes, everything else counts.
type instanceTypeInput struct {
	Name        string              `json:"name"`
	Labels      map[string][]string `json:"labels"`
	Capacity    map[string]int64    `json:"capacity"`
	Allocatable map[string]int64    `json:"allocatable"`
	Offerings   []offeringInput     `json:"offerings"`
}

// offeringInput is an instance type in a zone at a capacity type. Price is in micro-dollars per hour.
type offeringInput struct {
	Zone         string `json:"zone"`
	ZoneID       string `json:"zoneId"`
	CapacityType string `json:"capacityType"`
	Price        int64  `json:"price"`
}

// answer is what the peer hands back.
type answer struct {
	Format         string         `json:"format"`
	Peer           string         `json:"peer"`
	Version        string         `json:"version"`
	SnapshotDigest string         `json:"snapshotDigest"`
	CatalogDigest  string         `json:"catalogDigest"`
	Outcome        string         `json:"outcome"`
	Message        string         `json:"message"`
	Seconds        float64        `json:"seconds"`
	Launches       []launch       `json:"launches"`
	Existing       []existing     `json:"existing"`
	Unplaced       []unplaced     `json:"unplaced"`
	Removed        []string       `json:"removed"`
	Bound          *int64         `json:"bound"`
	Details        map[string]any `json:"details"`
}

// launch is a new node and the pods on it. Price is in micro-dollars per hour.
type launch struct {
	NodePool     string            `json:"nodePool"`
	InstanceType string            `json:"instanceType"`
	Zone         string            `json:"zone"`
	CapacityType string            `json:"capacityType"`
	Labels       map[string]string `json:"labels"`
	Price        int64             `json:"price"`
	Pods         []string          `json:"pods"`
}

// existing is a node that was there before, and pods on it.
type existing struct {
	Node string   `json:"node"`
	Pods []string `json:"pods"`
}

// unplaced is a pod that has no node in the end, and why.
type unplaced struct {
	Pod    string `json:"pod"`
	Reason string `json:"reason"`
}

// newAnswer is an empty answer to in. Lists are empty rather than absent in JSON.
func newAnswer(in *input) *answer {
	return &answer{
		Format: answerFormat, Peer: "karpenter", Version: karpenterVersion(),
		SnapshotDigest: in.SnapshotDigest, CatalogDigest: in.CatalogDigest, Outcome: outcomeComplete,
		Launches: []launch{}, Existing: []existing{}, Unplaced: []unplaced{}, Removed: []string{},
		Details: map[string]any{},
	}
}

// readInput decodes and checks a whole document. An error names the place in it.
func readInput(r io.Reader) (*input, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading input: %w", err)
	}
	in := &input{}
	if err := json.Unmarshal(text, in); err != nil {
		return nil, fmt.Errorf("input is not a %s document: %s", inputFormat, locate(text, err))
	}
	if in.Format != inputFormat {
		return nil, fmt.Errorf("format: %q is unknown, expected %q", in.Format, inputFormat)
	}
	if in.Task != taskProvision && in.Task != taskConsolidate {
		return nil, fmt.Errorf("task: %q is unknown, expected %q or %q", in.Task, taskProvision, taskConsolidate)
	}
	if !(in.SecondsMax > 0) {
		return nil, fmt.Errorf("secondsMax: %v is not a positive number of seconds", in.SecondsMax)
	}
	if in.Threads < 1 {
		return nil, fmt.Errorf("threads: %d is less than 1", in.Threads)
	}
	if err := in.decodeObjects(); err != nil {
		return nil, err
	}
	return in, in.check()
}

// locate turns a JSON error into one with line and column where the decoder knows them.
func locate(text []byte, err error) string {
	offset := int64(-1)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	}
	if offset < 0 || offset > int64(len(text)) {
		return err.Error()
	}
	line, column := 1, 1
	for _, b := range text[:offset] {
		if column++; b == '\n' {
			line, column = line+1, 1
		}
	}
	return fmt.Sprintf("line %d, column %d: %s", line, column, err)
}

func (in *input) decodeObjects() error {
	o := &in.decoded
	return errors.Join(
		decodeList(in.Objects, "pods", &o.Pods), decodeList(in.Objects, "nodes", &o.Nodes),
		decodeList(in.Objects, "nodePools", &o.NodePools), decodeList(in.Objects, "nodeClaims", &o.NodeClaims),
		decodeList(in.Objects, "daemonSets", &o.DaemonSets),
		decodeList(in.Objects, "podDisruptionBudgets", &o.PodDisruptionBudgets),
		decodeList(in.Objects, "namespaces", &o.Namespaces),
		decodeList(in.Objects, "persistentVolumeClaims", &o.PersistentVolumeClaims),
		decodeList(in.Objects, "persistentVolumes", &o.PersistentVolumes),
		decodeList(in.Objects, "storageClasses", &o.StorageClasses),
		in.findBudgetStatus(),
	)
}

// findBudgetStatus notes which PodDisruptionBudgets say how many disruptions they allow; 0 and nothing decode to the same.
func (in *input) findBudgetStatus() error {
	for i, raw := range in.Objects["podDisruptionBudgets"] {
		var budget struct {
			Status struct {
				DisruptionsAllowed *int32 `json:"disruptionsAllowed"`
			} `json:"status"`
		}
		if err := json.Unmarshal(raw, &budget); err != nil {
			return fmt.Errorf("objects.podDisruptionBudgets[%d]: %s", i, err)
		}
		in.budgetHasStatus = append(in.budgetHasStatus, budget.Status.DisruptionsAllowed != nil)
	}
	return nil
}

// decodeList decodes objects[key] one by one, so that an error can say which object it is about.
func decodeList[T any, P interface {
	*T
	GetName() string
}](from map[string][]json.RawMessage, key string, to *[]P) error {
	list := make([]P, 0, len(from[key]))
	for i, raw := range from[key] {
		object := P(new(T))
		if err := json.Unmarshal(raw, object); err != nil {
			return fmt.Errorf("objects.%s[%d]: %s", key, i, err)
		}
		if object.GetName() == "" {
			return fmt.Errorf("objects.%s[%d]: metadata.name is missing", key, i)
		}
		list = append(list, object)
	}
	*to = list
	return nil
}

// check finds what would make Karpenter panic or what it could not be asked fairly about.
func (in *input) check() error {
	for i, pool := range in.decoded.NodePools {
		ref := pool.Spec.Template.Spec.NodeClassRef
		if ref == nil || ref.Group == "" || ref.Kind == "" || ref.Name == "" {
			return fmt.Errorf("objects.nodePools[%d] %q: spec.template.spec.nodeClassRef needs group, kind and name", i, pool.Name)
		}
	}
	names := make(map[string]int, len(in.decoded.Pods))
	for i, pod := range in.decoded.Pods {
		key := podName(pod)
		if first, ok := names[key]; ok {
			return fmt.Errorf("objects.pods[%d]: %q is objects.pods[%d] already", i, key, first)
		}
		names[key] = i
	}
	for pool, types := range in.InstanceTypes {
		for i, kind := range types {
			if err := kind.check(); err != nil {
				return fmt.Errorf("instanceTypes.%s[%d] %q: %w", pool, i, kind.Name, err)
			}
		}
	}
	return nil
}

func (kind *instanceTypeInput) check() error {
	if kind.Name == "" {
		return errors.New("name is missing")
	}
	for resource, amount := range kind.Allocatable {
		capacity, ok := kind.Capacity[resource]
		if !ok || amount > capacity || amount < 0 {
			return fmt.Errorf("allocatable %s is %d, which is not within capacity %d", resource, amount, capacity)
		}
	}
	for i, offering := range kind.Offerings {
		switch {
		case offering.Zone == "":
			return fmt.Errorf("offerings[%d]: zone is missing", i)
		case offering.CapacityType != karpv1.CapacityTypeSpot && offering.CapacityType != karpv1.CapacityTypeOnDemand:
			return fmt.Errorf("offerings[%d]: capacity type %q is neither spot nor on-demand", i, offering.CapacityType)
		case offering.Price <= 0:
			return fmt.Errorf("offerings[%d]: price %d is not positive", i, offering.Price)
		}
	}
	return nil
}

// podName is how pods are named in answers.
func podName(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }
