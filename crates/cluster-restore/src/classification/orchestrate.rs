//! Classes of the errors of a restore's orchestration, variant by variant.

use backup_core::failure::{Classification, Classify, FailureClass};

use crate::orchestrate::{OrchestrateError, PointError};

impl Classify for PointError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Interrupted => FailureClass::Interrupted.into(),
            Self::Catalog(error) => error.classify(),
            Self::NoneTrusted { .. } => FailureClass::Refused.into(),
            Self::NoneCounts { .. } | Self::NoData { .. } => FailureClass::NotFound.into(),
        }
    }
}

impl Classify for OrchestrateError {
    fn classify(&self) -> Classification<'_> {
        match self {
            Self::Interrupted => FailureClass::Interrupted.into(),
            Self::Point(error) => error.classify(),
            Self::Unlock(error) => error.classify(),
            Self::Unreadable { source, .. } => source.classify(),
            Self::Api(error) | Self::ApiAway(error) => error.classify(),
            Self::Etcd(error) => error.classify(),
            Self::Replica(error) => error.classify(),
            Self::Recover(error) => error.classify(),
            Self::Unfinished { source, .. } => source.classify(),
            Self::Backward { .. } | Self::Identities(_) | Self::NoApi | Self::NoTalos => {
                FailureClass::Usage.into()
            }
            Self::NoSnapshot { .. } | Self::NoTenants { .. } => FailureClass::NotFound.into(),
            Self::OtherPoint { .. }
            | Self::OtherSource(_)
            | Self::OtherNodes { .. }
            | Self::OtherPlan { .. }
            | Self::EtcdBlocked { .. }
            | Self::PlannedBlocker { .. }
            | Self::Blocked { .. }
            | Self::Changed { .. }
            | Self::NoConsent(_)
            | Self::SealedJournal => FailureClass::Refused.into(),
            Self::ApiNotReady => FailureClass::Other.into(),
            Self::Nodes(_) | Self::Tenants(_) | Self::Folder { .. } => Classification::OfCause,
        }
    }
}
