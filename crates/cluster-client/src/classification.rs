//! Classes of the clients' errors, variant by variant.
#![deny(clippy::wildcard_enum_match_arm)]

use backup_core::failure::{Classification, Classify, FailureClass};

use crate::kube::KubeError;
use crate::recovery_files::RecoveryFilesError;
use crate::talos::TalosConfigError;

impl Classify for TalosConfigError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::NotFound { .. }
            | Self::Read { .. }
            | Self::Syntax { .. }
            | Self::Empty { .. }
            | Self::NoContext { .. }
            | Self::Field { .. } => FailureClass::Usage.into(),
        }
    }
}

impl Classify for RecoveryFilesError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Read { .. }
            | Self::NoFile { .. }
            | Self::TooLarge { .. }
            | Self::Twice { .. }
            | Self::Name { .. }
            | Self::TooMany => FailureClass::Usage.into(),
        }
    }
}

impl Classify for KubeError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Config { .. } | Self::Selector { .. } => FailureClass::Usage.into(),
            Self::Unreachable { .. }
            | Self::Slow { .. }
            | Self::Forbidden { .. }
            | Self::Unauthorized { .. }
            | Self::Status { .. }
            | Self::Gone { .. }
            | Self::TooLarge { .. }
            | Self::Malformed { .. } => Classification::OfCause,
        }
    }
}
