//! Exit codes of the errors of a cluster's clients.

use std::time::Duration;

use http::StatusCode;

use super::*;

pub(super) fn config() -> KubeError {
    KubeError::Config {
        what: text(),
        source: boxed(),
    }
}

pub(super) fn selector() -> KubeError {
    KubeError::Selector {
        selector: text(),
        message: text(),
    }
}

pub(super) fn kube_errors() -> Vec<(KubeError, Exit)> {
    vec![
        (config(), Exit::Usage),
        (selector(), Exit::Usage),
        (
            KubeError::Unreachable {
                server: text(),
                path: text(),
                source: boxed(),
            },
            Exit::Failed,
        ),
        (
            KubeError::Slow {
                server: text(),
                path: text(),
                limit: Duration::ZERO,
            },
            Exit::Failed,
        ),
        (KubeError::Forbidden { message: text() }, Exit::Failed),
        (
            KubeError::Unauthorized {
                server: text(),
                message: text(),
            },
            Exit::Failed,
        ),
        (
            KubeError::Status {
                path: text(),
                status: StatusCode::NOT_FOUND,
                message: text(),
                retry_after: None,
            },
            Exit::Failed,
        ),
        (
            KubeError::Gone {
                path: text(),
                token: None,
            },
            Exit::Failed,
        ),
        (
            KubeError::TooLarge {
                path: text(),
                most: 1,
            },
            Exit::Failed,
        ),
        (
            KubeError::Malformed {
                path: text(),
                wanted: "x",
                at: text(),
            },
            Exit::Failed,
        ),
    ]
}

#[test]
fn every_error_of_a_client_has_its_exit_code() {
    check(kube_errors());
    check(vec![
        (TalosConfigError::NotFound { places: text() }, Exit::Usage),
        (
            TalosConfigError::Read {
                file: text(),
                source: io_error(),
            },
            Exit::Usage,
        ),
        (TalosConfigError::Empty { file: text() }, Exit::Usage),
    ]);
    check(vec![
        (RecoveryFilesError::Twice { name: text() }, Exit::Usage),
        (RecoveryFilesError::TooMany, Exit::Usage),
    ]);
    check(vec![(ConfigError::elsewhere("x"), Exit::Usage)]);
}
