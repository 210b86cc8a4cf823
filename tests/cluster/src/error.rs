//! Why there is no cluster.

use std::path::PathBuf;
use std::time::Duration;

/// Why a cluster could not be started, or something did not happen in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `.ci/kubernetes` has not run, or not for these pins.
    #[error(
        "{missing} is missing; run `.ci/kubernetes` in the checkout: it builds the Kubernetes that tests run \
         (some minutes, once)", missing = .missing.display()
    )]
    NoBinaries {
        /// The first file that is missing.
        missing: PathBuf,
    },
    /// The environment does not say where the user's files are.
    #[error("neither XDG_CACHE_HOME nor HOME is set, so there is no place for the Kubernetes binaries")]
    NoHome,
    /// The operating system refused something.
    #[error("cannot {action}")]
    System {
        /// What was tried, as an infinitive with its object.
        action: String,
        /// Why not.
        #[source]
        cause: std::io::Error,
    },
    /// A program ended by itself.
    #[error("{program} ended with {status}; the end of its log:\n{log}")]
    Ended {
        /// Name of the program.
        program: String,
        /// Its exit status.
        status: String,
        /// The last lines it wrote.
        log: String,
    },
    /// Something did not happen in time.
    #[error("after {waited:?} there was still no {what}: {last}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// For how long.
        waited: Duration,
        /// How things stood when it was last looked at, and the end of logs that may tell more.
        last: String,
    },
    /// The API server's certificate or kubeconfig cannot be used.
    #[error("cannot use the kubeconfig of the test cluster")]
    Kubeconfig(#[source] kube::config::KubeconfigError),
    /// The API server refused a request.
    #[error("cannot {action}")]
    Api {
        /// What was tried, as an infinitive with its object.
        action: String,
        /// The answer.
        #[source]
        cause: Box<kube::Error>,
    },
}

impl Error {
    /// For `map_err` on results of [`std::io`].
    pub(crate) fn system(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
        move |cause| Error::System { action: action.into(), cause }
    }

    /// For `map_err` on results of the API.
    pub(crate) fn api(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Error {
        move |cause| Error::Api { action: action.into(), cause: Box::new(cause) }
    }
}
