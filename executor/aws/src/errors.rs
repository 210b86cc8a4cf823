//! What comes back wrong, and what it means.

use aws_sdk_ec2::error::SdkError;
use aws_smithy_types::error::display::DisplayErrorContext;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use stowage_executor::{CloudError, Failure};

/// What an error means for who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The offering has no capacity, or an account limit stands in its way.
    Capacity,
    /// A subnet has no free address.
    Addresses,
    /// Too many requests.
    Throttled,
    /// Not allowed, or not known who we are.
    Denied,
    /// The client token was used with other parameters.
    Mismatch,
    /// The thing does not exist, or is not visible yet.
    NotFound,
    /// It exists already.
    Exists,
    /// Trouble on the way or on the other side: worth another try. Whether a write was done is not known.
    Transient,
    /// Asking again would not help.
    Terminal,
}

/// Codes by kind. Capacity: `pkg/errors/errors.go` of Karpenter's provider for AWS, v1.14.
const CODES: [(Kind, &[&str]); 8] = [
    (
        Kind::Capacity,
        &[
            "InsufficientInstanceCapacity",
            "InsufficientCapacity",
            "InsufficientHostCapacity",
            "InsufficientReservedInstanceCapacity",
            "MaxSpotInstanceCountExceeded",
            "VcpuLimitExceeded",
            "InstanceLimitExceeded",
            "UnfulfillableCapacity",
            "Unsupported",
            "MaxFleetCountExceeded",
            "ReservationCapacityExceeded",
            "SpotMaxPriceTooLow",
        ],
    ),
    (Kind::Addresses, &["InsufficientFreeAddressesInSubnet"]),
    (
        Kind::Throttled,
        &[
            "RequestLimitExceeded",
            "Throttling",
            "ThrottlingException",
            "ThrottledException",
            "RequestThrottled",
            "RequestThrottledException",
            "TooManyRequestsException",
            "EC2ThrottledException",
            "SlowDown",
            "PriorRequestNotComplete",
            "BandwidthLimitExceeded",
        ],
    ),
    (
        Kind::Denied,
        &[
            "UnauthorizedOperation",
            "AccessDenied",
            "AccessDeniedException",
            "AuthFailure",
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
            "InvalidClientTokenId",
            "UnrecognizedClientException",
            "SignatureDoesNotMatch",
            "MissingAuthenticationToken",
            "OptInRequired",
            "Blocked",
            "PendingVerification",
        ],
    ),
    (Kind::Mismatch, &["IdempotentParameterMismatch", "IdempotentInstanceTerminated"]),
    (
        Kind::NotFound,
        &[
            "InvalidInstanceID.NotFound",
            "InvalidLaunchTemplateName.NotFoundException",
            "InvalidLaunchTemplateId.NotFound",
            "InvalidLaunchTemplateId.NotFoundException",
            "InvalidCapacityReservationId.NotFound",
            "ParameterNotFound",
            "QueueDoesNotExist",
            "AWS.SimpleQueueService.NonExistentQueue",
            "ResourceNotFoundException",
        ],
    ),
    (Kind::Exists, &["InvalidLaunchTemplateName.AlreadyExistsException"]),
    (
        Kind::Transient,
        &[
            "InternalError",
            "InternalFailure",
            "InternalServerError",
            "InternalServerException",
            "ServiceUnavailable",
            "Unavailable",
            "RequestTimeout",
            "RequestTimeoutException",
        ],
    ),
];

/// What an error code means. A code nobody knows is terminal, unless the status says that it is the server's fault.
#[must_use]
pub(crate) fn kind(code: &str, status: Option<u16>) -> Kind {
    let known = CODES.iter().find(|(_, codes)| codes.contains(&code));
    match (known, status) {
        (Some((kind, _)), _) => *kind,
        (None, Some(429)) => Kind::Throttled,
        (None, Some(401 | 403)) => Kind::Denied,
        (None, Some(status)) if status >= 500 => Kind::Transient,
        // A success that cannot be read, such as one that was cut off: it may be done.
        (None, Some(status)) if status < 400 && code.is_empty() => Kind::Transient,
        (None, _) => Kind::Terminal,
    }
}

/// An error of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Kind.
    pub kind: Kind,
    /// Code, if AWS gave one.
    pub code: String,
    /// For people: the call, the code, the message.
    pub text: String,
}

impl Trouble {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Trouble {
        Trouble { kind, code: String::new(), text: text.into() }
    }

    /// Of an error of the SDK.
    pub(crate) fn of<E>(call: &str, error: &SdkError<E>) -> Trouble
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
        match error {
            SdkError::ServiceError(service) => {
                let message = service.err().message().unwrap_or("no message");
                let text = format!("{call}: {code}: {message}");
                Trouble { kind: kind(code, status), code: code.to_owned(), text }
            }
            SdkError::ConstructionFailure(_) => {
                // Most of all: there are no credentials, or none yet.
                Trouble::new(Kind::Denied, format!("{call}: {}", DisplayErrorContext(error)))
            }
            _ => Trouble::new(Kind::Transient, format!("{call}: {}", DisplayErrorContext(error))),
        }
    }

    /// What it means for a launch.
    pub(crate) fn failure(self) -> Failure {
        match self.kind {
            Kind::Capacity | Kind::Addresses => Failure::Capacity(Vec::new()),
            Kind::Throttled | Kind::Denied | Kind::Transient | Kind::NotFound => Failure::Later(self.text),
            Kind::Mismatch | Kind::Exists | Kind::Terminal => Failure::Never(self.text),
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Trouble {}

impl From<Trouble> for CloudError {
    fn from(trouble: Trouble) -> CloudError {
        CloudError(trouble.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_code_means_one_thing() {
        let all: Vec<&str> = CODES.iter().flat_map(|(_, codes)| codes.iter().copied()).collect();
        let distinct: BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(all.len(), distinct.len());
        for (code, status, expected) in [
            ("InsufficientInstanceCapacity", None, Kind::Capacity),
            ("RequestLimitExceeded", Some(503), Kind::Throttled),
            ("SomethingNew", Some(503), Kind::Transient),
            ("SomethingNew", Some(400), Kind::Terminal),
            ("SomethingNew", None, Kind::Terminal),
            ("", Some(403), Kind::Denied),
            ("", Some(200), Kind::Transient),
            ("UnauthorizedOperation", Some(403), Kind::Denied),
        ] {
            assert_eq!(kind(code, status), expected, "{code} {status:?}");
        }
    }
}
