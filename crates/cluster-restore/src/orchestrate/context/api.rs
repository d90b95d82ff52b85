//! Access of a restore to the Kubernetes API.

use std::time::Duration;

use cluster_client::kube::KubeError;
use cluster_client::kube::target::KubeTarget;

use super::RestoreContext;
use crate::orchestrate::OrchestrateError;
use crate::plan::{Step, Target};

/// Time in which a running API server answers; one whose etcd is gone does not.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

impl RestoreContext {
    /// Reports whether access to the Kubernetes API is configured.
    pub(in super::super) fn has_api(&self) -> bool {
        self.setup.kube.is_some()
    }

    /// Refuses steps that need the Kubernetes API if no access to it is configured, before the first of them
    /// begins.
    pub(in super::super) fn admit_steps(&self, steps: &[Step]) -> Result<(), OrchestrateError> {
        if self.has_api() || only_etcd(steps) {
            return Ok(());
        }
        Err(OrchestrateError::NoApi)
    }

    /// Connects to the cluster that is written to.
    pub(in super::super) async fn target(&self) -> Result<KubeTarget, OrchestrateError> {
        let connecting = async {
            let options = self.setup.kube.as_ref().ok_or(OrchestrateError::NoApi)?;
            let connected = KubeTarget::connect(options).await;
            connected.map_err(OrchestrateError::Api)
        };
        self.setup.or_cancelled(connecting).await
    }

    /// Returns the cluster that answers at the kubeconfig's address, or why none answers. Does not wait for a
    /// cluster whose etcd is gone.
    pub(in super::super) async fn answer(
        &self,
    ) -> Result<Result<Target, String>, OrchestrateError> {
        let Some(options) = &self.setup.kube else {
            return Ok(Err("no kubeconfig is given".to_owned()));
        };
        let options = options.clone().within(ANSWERS_WITHIN);
        let connected = async { Ok(KubeTarget::connect(&options).await) };
        let answer = self.setup.or_cancelled(connected).await?;
        Ok(answer
            .map(|target| Target::from(&target))
            .map_err(|e| e.line()))
    }

    /// Connects when the API answers, which it does some time after its etcd is back.
    pub(in super::super) async fn target_within(
        &self,
        limit: Duration,
    ) -> Result<KubeTarget, OrchestrateError> {
        let began = tokio::time::Instant::now();
        self.setup.reporter.status("waiting for the Kubernetes API");
        loop {
            match self.target().await {
                Ok(target) if target.is_ready().await => return Ok(target),
                Ok(_) if began.elapsed() >= limit => return Err(OrchestrateError::ApiNotReady),
                Ok(_) => tokio::time::sleep(Duration::from_secs(1)).await,
                Err(OrchestrateError::Api(error)) if !is_local(&error) => {
                    if began.elapsed() >= limit {
                        return Err(OrchestrateError::ApiAway(error));
                    }
                    tokio::time::sleep(Duration::from_secs(2)).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Reports whether an error is on this side, and does not pass by waiting.
fn is_local(error: &KubeError) -> bool {
    matches!(error, KubeError::Config { .. } | KubeError::Selector { .. })
}

/// Reports whether only etcd is restored, which needs no Kubernetes API.
pub(in super::super) fn only_etcd(steps: &[Step]) -> bool {
    steps == [Step::Etcd]
}
