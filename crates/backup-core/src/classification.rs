//! Classes of the engine's errors, variant by variant.
#![deny(clippy::wildcard_enum_match_arm)]

use std::error::Error;

use crate::audit::AuditError;
use crate::backup::BackupError;
use crate::catalog::CatalogError;
use crate::failure::{Classification, Classify, FailureClass};
use crate::gc::OrphanError;
use crate::proxy::ProxyError;
use crate::read::{LocalSnapshotError, RestoreError};
use crate::store::StoreError;

impl Classify for ProxyError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::NoAddress { .. } | Self::SocksForS3 { .. } => FailureClass::Usage.into(),
        }
    }
}

impl Classify for CatalogError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::NoSuch { .. } | Self::Ambiguous { .. } => FailureClass::NotFound.into(),
            Self::Changed { .. } | Self::Renamed { .. } | Self::Manifest { .. } => {
                FailureClass::Damaged.into()
            }
            Self::Distrusted { .. } => FailureClass::Refused.into(),
            Self::Store { .. } => Classification::OfCause,
        }
    }
}

impl Classify for AuditError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Catalog(error) => error.classify(),
            Self::Store { .. } => Classification::OfCause,
        }
    }
}

impl Classify for OrphanError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Catalog(error) => error.classify(),
            Self::Store { .. } => Classification::OfCause,
        }
    }
}

impl Classify for BackupError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Claimed { .. } | Self::NotWriteOnce { .. } | Self::TwoClusters { .. } => {
                FailureClass::Refused.into()
            }
            Self::Conflict { .. } | Self::OwnerMarker { .. } => FailureClass::Damaged.into(),
            Self::Cancelled => FailureClass::Interrupted.into(),
            // A script can act on a class that all components have in common.
            Self::Nothing { failures, .. } => {
                let each = failures.iter().map(|(_, error)| {
                    let error: &(dyn Error + 'static) = error;
                    error
                });
                Classification::OfAll(each.collect())
            }
            Self::NoMember { .. }
            | Self::Source(_)
            | Self::Snapshot { .. }
            | Self::ReadFile { .. }
            | Self::Store { .. }
            | Self::Read { .. }
            | Self::Lost { .. }
            | Self::Removed { .. }
            | Self::Seal(_)
            | Self::Pack(_)
            | Self::Format(_)
            | Self::Sign(_)
            | Self::Stage(_)
            | Self::Panicked(_) => Classification::OfCause,
        }
    }
}

impl Classify for RestoreError {
    fn classify(&self) -> Classification<'_> {
        match self {
            // Nothing is wrong with the store: another key or file must be given.
            Self::WrongIdentity { .. } | Self::Closed { .. } => FailureClass::Usage,
            Self::NoComponent { .. } | Self::NoObjects { .. } => FailureClass::NotFound,
            Self::Store { source, .. } => match source {
                StoreError::NotFound { .. }
                | StoreError::TooLarge { .. }
                | StoreError::Archived { .. } => FailureClass::Damaged,
                StoreError::NoBucket { .. }
                | StoreError::NoCredentials { .. }
                | StoreError::Credentials { .. }
                | StoreError::Forbidden { .. }
                | StoreError::Retained { .. }
                | StoreError::Checksum { .. }
                | StoreError::NoSpace { .. }
                | StoreError::Unavailable { .. }
                | StoreError::Other { .. } => FailureClass::Other,
            },
            Self::Changed { .. }
            | Self::KeyObject { .. }
            | Self::Format { .. }
            | Self::Pack { .. }
            | Self::Mismatch { .. }
            | Self::Snapshot { .. }
            | Self::Archive { .. } => FailureClass::Damaged,
            Self::File { .. } | Self::Panicked(_) => FailureClass::Other,
            Self::Cancelled => FailureClass::Interrupted,
        }
        .into()
    }
}

impl Classify for LocalSnapshotError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Snapshot { .. } => FailureClass::Damaged.into(),
            Self::NotRaw { .. } => FailureClass::Usage.into(),
            Self::Read { .. } | Self::Panicked(_) => Classification::OfCause,
        }
    }
}
