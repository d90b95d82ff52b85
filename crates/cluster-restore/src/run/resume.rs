//! Restart of everything that was stopped, in a safe order: sealed-secrets, Steward, Cluster API, Butler,
//! Flux. For each, controllers come first, then their webhooks, then paused objects.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::super::RecoverError;
use super::super::journal::{Outcome, Record};
use super::super::pause::{self, PauseMarker};
use super::super::plan::Mode;
use super::super::quiesce::{self, ParkedItem, PlatformRole};
use super::Recovery;
use backup_core::format::manifest::Finding;

impl Recovery {
    /// Puts everything back as it was.
    pub(super) async fn resume(&mut self) -> Result<Vec<Finding>, RecoverError> {
        let mut findings = Vec::new();
        self.progress.step("starting controllers again", None);
        for role in PlatformRole::ALL {
            let ready = self.controllers(role, &mut findings).await?;
            self.webhooks(role, ready, &mut findings).await?;
            self.unpause(role, &mut findings).await?;
        }
        Ok(findings)
    }

    /// Puts back what is stopped, as far as possible, when a restore in place ends early. Reports what cannot
    /// be put back, with the command that does it by hand.
    pub(super) async fn put_back_parked(&mut self) {
        if self.timeouts.keep_stopped || self.plan.mode != Mode::InPlace {
            return;
        }
        let mut parked = self.journal.state.parked.clone();
        parked.sort_by_key(ParkedItem::role);
        if parked.is_empty() {
            return;
        }
        self.progress
            .step("it ends here: putting back what was stopped", None);
        for parked in parked {
            if let Err(error) = self.put_back(&parked).await {
                self.progress.note(&format!(
                    "{} stays stopped: {error}; by hand: {}",
                    parked.place(),
                    parked.by_hand()
                ));
            }
        }
    }

    fn parked(&self, role: PlatformRole, is: impl Fn(&ParkedItem) -> bool) -> Vec<ParkedItem> {
        let parked = self.journal.state.parked.iter();
        parked
            .filter(|p| p.role() == role && is(p))
            .cloned()
            .collect()
    }

    async fn put_back(&mut self, parked: &ParkedItem) -> Result<(), RecoverError> {
        quiesce::unpark(&self.target, parked).await?;
        let place = parked.place();
        self.progress.note(&format!("{place} is put back"));
        self.journal.write(vec![Record::Unparked { place }])
    }

    /// Starts the controllers of a role; returns whether all are ready.
    async fn controllers(
        &mut self,
        role: PlatformRole,
        findings: &mut Vec<Finding>,
    ) -> Result<bool, RecoverError> {
        let all = self.parked(role, |p| matches!(p, ParkedItem::Deployment { .. }));
        for parked in &all {
            self.put_back(parked).await?;
        }
        let began = Instant::now();
        // Controllers that an earlier attempt put back may not be ready either.
        let back = self.journal.state.back.iter();
        let back: Vec<ParkedItem> = back
            .filter(|p| p.role() == role && matches!(p, ParkedItem::Deployment { .. }))
            .cloned()
            .collect();
        let mut late: Vec<&ParkedItem> = back.iter().collect();
        while !late.is_empty() {
            let mut left = Vec::new();
            for parked in late {
                if !quiesce::is_ready(&self.target, parked).await? {
                    left.push(parked);
                }
            }
            late = left;
            if late.is_empty() || began.elapsed() >= self.timeouts.ready {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
                () = self.cancel.cancelled() => return Err(RecoverError::Cancelled),
            }
        }
        for parked in &late {
            findings.push(Finding::warning(
                parked.place(),
                format!("it is not ready after {} s", self.timeouts.ready.as_secs()),
                "see why with `kubectl describe`; its webhooks stay parked until it is",
            ));
        }
        Ok(late.is_empty())
    }

    async fn webhooks(
        &mut self,
        role: PlatformRole,
        ready: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), RecoverError> {
        for parked in self.parked(role, |p| matches!(p, ParkedItem::Webhooks { .. })) {
            if ready {
                self.put_back(&parked).await?;
                continue;
            }
            findings.push(Finding::error(
                parked.place(),
                "it is still parked, since its server is not ready",
                format!("`restore-cli resume` when it is, or {}", parked.by_hand()),
            ));
        }
        Ok(())
    }

    /// Removes the pause markers that this restore set, one object after the other.
    async fn unpause(
        &mut self,
        role: PlatformRole,
        findings: &mut Vec<Finding>,
    ) -> Result<(), RecoverError> {
        for parked in self.parked(role, |p| matches!(p, ParkedItem::Object { .. })) {
            match self.put_back(&parked).await {
                Ok(()) => {}
                Err(RecoverError::Quiesce(e)) if !e.is_of_the_server() => {
                    findings.push(Finding::error(
                        parked.place(),
                        format!("it could not be put back: {}", e.line()),
                        format!("`restore-cli resume` when it can, or {}", parked.by_hand()),
                    ));
                }
                Err(e) => return Err(e),
            }
        }
        let in_place = self.plan.mode == Mode::InPlace;
        let mut made: Vec<usize> = Vec::new();
        for (position, entry) in self.spool.entries().iter().enumerate() {
            let is_of = pause::marker(&entry.path.resource).is_some()
                && role_of(entry.path.resource.as_str(), entry.path.resource.group()) == Some(role);
            let place = entry.path.to_string();
            let written = self.journal.state.written.get(&place);
            let is_there = |outcome| match outcome {
                Outcome::Created => true,
                Outcome::Same | Outcome::Changed | Outcome::Conflict => in_place,
                Outcome::Skipped | Outcome::Pruned | Outcome::Failed => false,
            };
            if is_of && written.is_some_and(|done| is_there(done.outcome)) {
                made.push(position);
            }
        }
        // Owners first: owned objects copy the marker from them.
        made.sort_by_key(|position| self.spool.entry(*position).map(|e| e.rank));
        for position in made {
            if let Some(finding) = self.unpause_one(position).await? {
                findings.push(finding);
            }
        }
        Ok(())
    }

    async fn unpause_one(&self, position: usize) -> Result<Option<Finding>, RecoverError> {
        let Some(entry) = self.spool.entry(position) else {
            return Ok(None);
        };
        let Some(marker) = pause::marker(&entry.path.resource) else {
            return Ok(None);
        };
        if entry.flaw.is_some() {
            return Ok(None);
        }
        let wanted = self.spool.value(entry)?;
        if pause::is_paused(marker, &wanted) {
            return Ok(None);
        }
        let live = match self.target.get(&entry.path, None).await {
            Ok(Some(live)) => live,
            Ok(None) => return Ok(None),
            Err(e) if self.target.is_of_the_server(&e).await => return Err(e.into()),
            Err(e) => {
                return Ok(Some(Finding::error(
                    entry.path.to_string(),
                    format!("whether it is still paused cannot be read: {}", e.line()),
                    "continue with `restore-cli resume`",
                )));
            }
        };
        if !pause::is_paused(marker, &live) {
            return Ok(None);
        }
        let written = self.journal.state.written.get(&entry.path.to_string());
        let made = written.is_some_and(|done| done.outcome == Outcome::Created);
        if !(pause::is_ours(marker, &live) || made && matches!(marker, PauseMarker::Field(_))) {
            // Somebody else set the marker; that is reported unless this restore created the object.
            return Ok((!made).then(|| pause::stays(marker, &entry.path, &wanted)));
        }
        if live.pointer("/metadata/deletionTimestamp").is_some() {
            return Ok(Some(Finding::error(
                entry.path.to_string(),
                "it is being deleted, so its pause marker stays on",
                "without the marker, what it represents would be deleted; the runbook says \
                 how to save a control plane",
            )));
        }
        let mut patch = pause::unpause(marker, &wanted);
        let version = live.pointer("/metadata/resourceVersion");
        super::super::overlay(
            &mut patch,
            &json!({ "metadata": { "resourceVersion": version } }),
        );
        match self.target.patch(&entry.path, &patch, false).await {
            Ok(_) => Ok(None),
            Err(e) if e.is_of_the_server() => Err(RecoverError::Target(e)),
            Err(e) => Ok(Some(Finding::error(
                entry.path.to_string(),
                format!("it is still paused: {}", e.line()),
                "continue with `restore-cli resume`",
            ))),
        }
    }
}

fn role_of(resource: &str, group: &str) -> Option<PlatformRole> {
    match (resource, group) {
        (
            "tenantcontrolplanes.steward.butlerlabs.dev"
            | "stewardcontrolplanes.controlplane.cluster.x-k8s.io",
            _,
        ) => Some(PlatformRole::Steward),
        (_, group) if pause::is_cluster_api(group) => Some(PlatformRole::ClusterApi),
        (_, "butler.butlerlabs.dev") => Some(PlatformRole::Butler),
        (_, group) if group.ends_with("toolkit.fluxcd.io") => Some(PlatformRole::Flux),
        _ => None,
    }
}
