// What .ci/kubernetes builds etcd from: the version that k8s.io/kubernetes itself requires. It is a module of its own so
// that etcd is built with etcd's requirements. To change it, see ../kubernetes/go.mod; the package is
// go.etcd.io/etcd/server/v3.
module stowage.dev/tests/cluster/etcd

go 1.25.0

require go.etcd.io/etcd/server/v3 v3.6.8
