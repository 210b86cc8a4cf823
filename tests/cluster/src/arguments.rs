//! Command lines and files of the programs. They run in the cluster's directory, so file names are relative.

use serde_json::json;
use std::path::Path;

/// Requests per second that controllers and scheduler allow themselves. Their defaults of 20 and 50 are kind to large
/// clusters; here they would only make tests slow.
const QUERIES_PER_SECOND: u32 = 1_000;

/// Private key that signs tokens of service accounts.
pub(crate) const SIGNING_KEY: &str = "service-accounts.key";
/// Its public half.
pub(crate) const VERIFICATION_KEY: &str = "service-accounts.pub";
/// The token of the one user there is.
pub(crate) const TOKENS: &str = "tokens.csv";
/// Where the API server writes a certificate of its own making.
pub(crate) const CERTIFICATE: &str = "certificates/apiserver.crt";
/// The certificate's key, written after it.
pub(crate) const CERTIFICATE_KEY: &str = "certificates/apiserver.key";
/// For everyone who talks to the API server. JSON is YAML, too.
pub(crate) const KUBECONFIG: &str = "kubeconfig.json";
/// KubeSchedulerConfiguration.
pub(crate) const SCHEDULER: &str = "scheduler.json";

/// What the API server writes down.
pub(crate) const AUDIT_POLICY: &str = "audit-policy.json";
/// Where: a JSON document a line.
pub(crate) const AUDIT_LOG: &str = "audit.log";

/// Ports of 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// etcd, for its clients.
    pub(crate) etcd: u16,
    /// etcd, for members of its cluster: it insists on a port though there are none.
    pub(crate) peer: u16,
    /// The API server.
    pub(crate) api: u16,
}

/// Nothing here has to survive a crash of the machine, so nothing is synced.
pub(crate) fn etcd(ports: Ports) -> Vec<String> {
    let (client, peer) = (ports.etcd, ports.peer);
    list(&[
        "--data-dir=etcd",
        &format!("--listen-client-urls=http://127.0.0.1:{client}"),
        &format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        &format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        "--unsafe-no-fsync",
    ])
}

/// The advertised address is nobody's: services are not served here, and loopback would be refused as an endpoint.
/// Without controllers, nobody would create service accounts or take the not-ready taint off; so nobody asks.
pub(crate) fn api_server(ports: Ports, controllers: bool) -> Vec<String> {
    let mut arguments = list(&[
        &format!("--etcd-servers=http://127.0.0.1:{}", ports.etcd),
        "--bind-address=127.0.0.1",
        &format!("--secure-port={}", ports.api),
        "--cert-dir=certificates",
        "--advertise-address=10.255.0.1",
        "--endpoint-reconciler-type=none",
        "--service-cluster-ip-range=10.96.0.0/16",
        "--service-account-issuer=https://kubernetes.default.svc",
        &format!("--service-account-key-file={VERIFICATION_KEY}"),
        &format!("--service-account-signing-key-file={SIGNING_KEY}"),
        "--authorization-mode=RBAC",
        &format!("--token-auth-file={TOKENS}"),
        "--allow-privileged=true",
    ]);
    if !controllers {
        arguments.push("--disable-admission-plugins=ServiceAccount,TaintNodesByCondition".to_owned());
    }
    arguments
}

/// Who changed what, once it is done; not the bodies.
pub(crate) fn audit_policy() -> String {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{ "level": "None", "verbs": ["get", "list", "watch"] }, { "level": "Metadata" }],
    })
    .to_string()
}

/// What turns it on.
pub(crate) fn audit() -> Vec<String> {
    list(&[&format!("--audit-policy-file={AUDIT_POLICY}"), &format!("--audit-log-path={AUDIT_LOG}")])
}

/// No port of its own, no leader to elect.
pub(crate) fn controller_manager() -> Vec<String> {
    list(&[
        &format!("--kubeconfig={KUBECONFIG}"),
        "--secure-port=0",
        "--leader-elect=false",
        &format!("--service-account-private-key-file={SIGNING_KEY}"),
        &format!("--root-ca-file={CERTIFICATE}"),
        &format!("--kube-api-qps={QUERIES_PER_SECOND}"),
        &format!("--kube-api-burst={QUERIES_PER_SECOND}"),
    ])
}

/// All else is in [`scheduler_configuration`].
pub(crate) fn scheduler() -> Vec<String> {
    list(&[&format!("--config={SCHEDULER}"), "--secure-port=0"])
}

/// kube-scheduler as it comes, but for the rate of its requests.
pub(crate) fn scheduler_configuration() -> String {
    json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "leaderElection": { "leaderElect": false },
        "clientConnection": {
            "kubeconfig": KUBECONFIG,
            "qps": QUERIES_PER_SECOND,
            "burst": QUERIES_PER_SECOND,
        },
    })
    .to_string()
}

/// A kubeconfig with all rights, or with those of a user it acts as. Its file may be read from any directory, so it names the
/// certificate in full.
pub(crate) fn kubeconfig(ports: Ports, directory: &Path, token: &str, acting_as: Option<&str>) -> String {
    let mut user = json!({ "token": token });
    if let Some(name) = acting_as {
        user["as"] = name.into();
    }
    let server = format!("https://127.0.0.1:{}", ports.api);
    let authority = directory.join(CERTIFICATE);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{ "name": "admin", "user": user }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "admin" } }],
        "current-context": "test",
    })
    .to_string()
}

fn list(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|&argument| argument.to_owned()).collect()
}
