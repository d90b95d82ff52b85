//! Classes of a restore's errors, variant by variant.
#![deny(clippy::wildcard_enum_match_arm)]

use backup_core::failure::{Classification, Classify, FailureClass};
use backup_core::store::StoreError;

use crate::RecoverError;
use crate::etcd::{DatastoreError, EtcdRestoreError};
use crate::git::GitError;
use crate::journal_replica::ReplicaError;
use crate::velero::VeleroError;

mod orchestrate;

impl Classify for EtcdRestoreError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Blocked { .. }
            | Self::OtherTarget { .. }
            | Self::OtherRuns { .. }
            | Self::OtherData { .. } => FailureClass::Refused.into(),
            Self::Call { .. }
            | Self::Upload { .. }
            | Self::NotReady { .. }
            | Self::Failed { .. }
            | Self::Dirty { .. }
            | Self::TooLong { .. }
            | Self::NotReadBack { .. }
            | Self::NotSound { .. }
            | Self::Log(_) => Classification::OfCause,
        }
    }
}

impl Classify for DatastoreError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Exists { .. } | Self::OlderTool { .. } => FailureClass::Refused.into(),
            Self::NoParent { .. } | Self::NoTool { .. } => FailureClass::Usage.into(),
            Self::OtherRevision { .. } => FailureClass::Damaged.into(),
            Self::Restore(error) => error.classify(),
            Self::Hold(error) => error.classify(),
            Self::TooLong { .. } | Self::Refused { .. } | Self::Left { .. } => {
                Classification::OfCause
            }
        }
    }
}

impl Classify for ReplicaError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Elsewhere { .. } => FailureClass::Refused.into(),
            Self::NoSuch { .. }
            | Self::Store {
                source: StoreError::NotFound { .. },
                ..
            } => FailureClass::NotFound.into(),
            Self::Damaged { .. } => FailureClass::Damaged.into(),
            Self::Store { .. } | Self::File { .. } => Classification::OfCause,
        }
    }
}

impl Classify for VeleroError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Version { .. } | Self::Hostile { .. } => FailureClass::Refused.into(),
            Self::Damaged { .. } => FailureClass::Damaged.into(),
            Self::Read { .. } | Self::Folder { .. } | Self::NoVersion { .. } => {
                FailureClass::Usage.into()
            }
        }
    }
}

impl Classify for GitError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Refused { .. } => FailureClass::Usage.into(),
            Self::NoFolder { .. } => FailureClass::NotFound.into(),
            Self::Start { .. }
            | Self::Proxy(_)
            | Self::Failed { .. }
            | Self::Ssh { .. }
            | Self::TooMuch { .. }
            | Self::TooLarge { .. }
            | Self::Read { .. } => Classification::OfCause,
        }
    }
}

impl Classify for RecoverError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::PlanChanged { .. }
            | Self::PlanOfOtherTool { .. }
            | Self::WrongCluster { .. }
            | Self::TargetInUse { .. }
            | Self::JournalInUse { .. } => FailureClass::Refused.into(),
            Self::NoPlan { .. } | Self::NoTenant { .. } | Self::JournalDamaged { .. } => {
                FailureClass::Usage.into()
            }
            Self::NoObjects { .. } => FailureClass::NotFound.into(),
            Self::Cancelled => FailureClass::Interrupted.into(),
            Self::Velero(error) => error.classify(),
            Self::Git(error) => error.classify(),
            // Its box would hide it from who looks for the cause.
            Self::Archive(error) => error.classify(),
            Self::Scratch { .. }
            | Self::TooMany { .. }
            | Self::NoObject { .. }
            | Self::TooDeep { .. }
            | Self::Journal { .. }
            | Self::Read(_)
            | Self::Target(_)
            | Self::Quiesce(_)
            | Self::PlanFile { .. } => Classification::OfCause,
        }
    }
}
