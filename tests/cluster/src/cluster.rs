//! The running control plane.

use crate::arguments::{self, Ports};
use crate::binaries;
use crate::builder::{Builder, Program};
use crate::error::Error;
use crate::keys;
use crate::processes::Processes;
use crate::wait::eventually;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{ObjectMeta, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::Value;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long each step of the start may take. On a free machine all of it takes 5 seconds; this is for machines that do a
/// lot beside.
const START: Duration = Duration::from_secs(120);

/// Free ports are chosen before the programs take them, so another process may come first. More than one such accident in
/// a row is no accident.
const ATTEMPTS: usize = 3;

/// A control plane of its own, on loopback. It ends with this value.
#[derive(Debug)]
pub struct Cluster {
    processes: Processes,
    config: Config,
    controller_manager: bool,
    ports: Ports,
    token: String,
}

impl Cluster {
    /// To say what should run.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) async fn start(builder: &Builder) -> Result<Cluster, Error> {
        let binaries = binaries::directory()?;
        let mut attempts = 1..ATTEMPTS;
        loop {
            match attempt(builder, &binaries).await {
                Err(Error::Ended { log, .. })
                    if log.contains("address already in use") && attempts.next().is_some() => {}
                other => return other,
            }
        }
    }

    /// A client with all rights. It belongs to the runtime it is made in: tests that share a cluster each make their
    /// own. It repeats no request, so that a test sees the first answer (kube's own default repeats an eviction that a
    /// disruption budget refuses, up to 15 times).
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::try_from(self.config.clone())
            .expect("a client could be made of this when the cluster started")
    }

    /// The kubeconfig, for programs under test; it has all rights.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory().join(arguments::KUBECONFIG)
    }

    /// A kubeconfig for a program that acts as this user, with the rights that role-based access control gives it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn kubeconfig_as(&self, user: &str) -> Result<PathBuf, Error> {
        let path = self.directory().join(format!("kubeconfig-{}.json", user.replace([':', '/'], "-")));
        let text = arguments::kubeconfig(self.ports, self.directory(), &self.token, Some(user));
        std::fs::write(&path, text).map_err(Error::system(format!("write {}", path.display())))?;
        Ok(path)
    }

    /// A client that acts as this user, such as `system:serviceaccount:NAMESPACE:NAME`.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn client_as(&self, user: &str) -> Client {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        Client::try_from(config).expect("a client could be made of this when the cluster started")
    }

    /// Kills a program as a crash would.
    pub fn kill(&mut self, program: Program) {
        self.processes.kill(program);
    }

    /// Starts a program again that was killed; the API server is ready on return.
    ///
    /// # Errors
    /// If it does not start, or does not become ready.
    pub async fn revive(&mut self, program: Program) -> Result<(), Error> {
        self.processes.revive(program)?;
        if program == Program::ApiServer {
            let client = self.client();
            self.processes.eventually("ready API server", START, || is_ready(&client)).await?;
        }
        Ok(())
    }

    /// What changed something so far, in the API server's words ([`Builder::audit`]): an `audit.k8s.io/v1` Event each.
    ///
    /// # Errors
    /// If its log cannot be read.
    pub fn audit(&self) -> Result<Vec<Value>, Error> {
        let path = self.directory().join(arguments::AUDIT_LOG);
        let text =
            std::fs::read_to_string(&path).map_err(Error::system(format!("read {}", path.display())))?;
        // The last line may be half written.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// The log of a program. It goes with the cluster unless `STOWAGE_KEEP_CLUSTER` is set.
    #[must_use]
    pub fn log(&self, program: Program) -> PathBuf {
        self.directory().join(format!("{}.log", program.name()))
    }

    /// The directory with all files of the cluster, which is removed with it.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.processes.directory()
    }

    /// Process numbers of the programs.
    #[must_use]
    pub fn process_ids(&self) -> Vec<u32> {
        self.processes.ids()
    }

    /// Creates a namespace in which pods can be created at once.
    ///
    /// # Errors
    /// If the API server refuses, or no default service account appears.
    pub async fn create_namespace(&self, name: &str) -> Result<(), Error> {
        let client = self.client();
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        Api::all(client.clone())
            .create(&PostParams::default(), &Namespace { metadata, ..Namespace::default() })
            .await
            .map_err(Error::api(format!("create the namespace {name}")))?;
        if self.controller_manager {
            eventually(&account_of(name), START, || has_account(&client, name)).await?;
        }
        Ok(())
    }
}

/// One attempt to start; on the way out of an error everything started ends.
async fn attempt(builder: &Builder, binaries: &Path) -> Result<Cluster, Error> {
    let mut processes = Processes::new(binaries)?;
    let directory = processes.directory().to_path_buf();
    let write = |file: &str, text: String| {
        std::fs::write(directory.join(file), text).map_err(Error::system(format!("write {file}")))
    };
    let token = keys::token();
    let (private, public) = keys::signing_keys();
    write(arguments::SIGNING_KEY, private)?;
    write(arguments::VERIFICATION_KEY, public)?;
    write(arguments::TOKENS, format!("{token},admin,admin,system:masters\n"))?;
    let ports = free_ports()?;
    processes.start(Program::Etcd, arguments::etcd(ports), builder)?;
    let mut api_server = arguments::api_server(ports, builder.controller_manager);
    if builder.audit {
        write(arguments::AUDIT_POLICY, arguments::audit_policy())?;
        api_server.extend(arguments::audit());
    }
    processes.start(Program::ApiServer, api_server, builder)?;

    // The key is written after the certificate: once it is there, the certificate is complete.
    let key = directory.join(arguments::CERTIFICATE_KEY);
    let written = || std::future::ready(key.is_file().then_some(()).ok_or_else(String::new));
    processes.eventually("certificate of the API server", START, written).await?;
    write(arguments::KUBECONFIG, arguments::kubeconfig(ports, &directory, &token, None))?;
    let config = read_config(&directory.join(arguments::KUBECONFIG)).await?;
    let client = Client::try_from(config.clone()).map_err(Error::api("make a client"))?;
    processes.eventually("ready API server", START, || is_ready(&client)).await?;

    if builder.scheduler {
        write(arguments::SCHEDULER, arguments::scheduler_configuration())?;
        processes.start(Program::Scheduler, arguments::scheduler(), builder)?;
    }
    if builder.controller_manager {
        processes.start(Program::ControllerManager, arguments::controller_manager(), builder)?;
        processes.eventually(&account_of("default"), START, || has_account(&client, "default")).await?;
    }
    Ok(Cluster { processes, config, controller_manager: builder.controller_manager, ports, token })
}

fn free_ports() -> Result<Ports, Error> {
    // All are held until all are known, so that they differ.
    let listen = || TcpListener::bind("127.0.0.1:0").map_err(Error::system("listen on 127.0.0.1"));
    let (etcd, peer, api) = (listen()?, listen()?, listen()?);
    let port = |listener: &TcpListener| {
        listener.local_addr().map(|address| address.port()).map_err(Error::system("ask for a port"))
    };
    Ok(Ports { etcd: port(&etcd)?, peer: port(&peer)?, api: port(&api)? })
}

async fn read_config(path: &Path) -> Result<Config, Error> {
    let read = Kubeconfig::read_from(path).map_err(Error::Kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
        .await
        .map_err(Error::Kubeconfig)?;
    config.default_retry = false;
    Ok(config)
}

async fn is_ready(client: &Client) -> Result<(), String> {
    let request = http::Request::get("/readyz").body(Vec::new()).expect("the request is well formed");
    client.request_text(request).await.map(drop).map_err(|error| error.to_string())
}

fn account_of(namespace: &str) -> String {
    format!("service account `default` in the namespace {namespace}")
}

/// The API server refuses pods until the controllers have made the namespace's default service account.
async fn has_account(client: &Client, namespace: &str) -> Result<(), String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    accounts.get("default").await.map(drop).map_err(|error| error.to_string())
}
