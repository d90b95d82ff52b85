//! Removal of a plan's orphans, a few at a time, with a check of the manifests before each batch.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Orphan, OrphanError, RemovalPlan, RemovalRules, Tally, findings};
use crate::audit::NeededObjects;
use crate::catalog::{Catalog, CatalogError};
use crate::crypt::Verdict;
use crate::format::layout::ObjectKind;
use crate::format::manifest::Finding;
use crate::num::to_u64;
use crate::store::{Store, StoreError};

/// Orphans removed after one check of the manifests: some seconds of work, in which no run commits objects
/// that old.
const BATCH: usize = 500;
/// Deletes at the same time: hides round trips, and leaves the store to the runs.
const IN_FLIGHT: usize = 8;
/// Number of failures that stop the removal: the store is unavailable, or refuses deletes.
const ERRORS: u64 = 5;
/// Time limit for one removal; at ten a second, ten thousand need less.
const LIMIT: Duration = Duration::from_mins(20);
/// Time limit for the deletes in progress after a stop.
const WIND_DOWN: Duration = Duration::from_secs(5);

/// Result of a removal.
#[derive(Debug, Default)]
pub struct RemovalReport {
    /// Objects that were removed.
    pub removed: Tally,
    /// Number of objects that were spared, because a newer restore point names them.
    pub spared: u64,
    /// Number of objects that could not be removed.
    pub errors: u64,
    /// Whether the whole plan was processed; else the removal was cancelled, or a finding has the reason.
    pub complete: bool,
    /// Faults and notes.
    pub findings: Vec<Finding>,
}

/// Removes the orphans of `plan`, which may be some minutes old, unless a rule holds the plan. Ends early,
/// and soon, when `cancel` is set.
///
/// # Errors
/// If the manifests cannot be listed or read again; nothing more is removed then, and the log names the
/// objects that were removed.
pub async fn remove(
    store: &Arc<dyn Store>,
    rules: &RemovalRules,
    plan: &RemovalPlan,
    cancel: &CancellationToken,
) -> Result<RemovalReport, OrphanError> {
    let mut result = RemovalReport::default();
    if !plan.removes() {
        result.complete = !plan.held;
        return Ok(result);
    }
    let deadline = Instant::now() + LIMIT;
    let mut failed: Option<StoreError> = None;
    let mut spared = SparedObjects::new(store, rules, plan);
    let mut gone_through = 0_usize;
    for batch in plan.orphans.chunks(BATCH) {
        let looked = tokio::select! {
            looked = spared.look() => looked?,
            () = cancel.cancelled() => break,
        };
        if let Some(finding) = looked {
            result.findings.push(finding);
            break;
        }
        let stop = cancel.child_token();
        // Not a closure: the compiler could not prove that the future is `Send`.
        let mut wanted = Vec::with_capacity(batch.len());
        for orphan in batch {
            if !spared.has(orphan) {
                wanted.push(delete(store.as_ref(), orphan, &stop));
            }
        }
        let kept = batch.len().saturating_sub(wanted.len());
        result.spared = result.spared.saturating_add(to_u64(kept));
        let mut deletes = futures::stream::iter(wanted).buffer_unordered(IN_FLIGHT);
        let mut late = std::pin::pin!(async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep_until(deadline) => stop.cancel(),
            }
            sleep(WIND_DOWN).await;
        });
        loop {
            let (orphan, deleted) = tokio::select! {
                biased;
                next = deletes.next() => match next {
                    Some(next) => next,
                    None => break,
                },
                () = &mut late => break,
            };
            match deleted {
                None => {}
                Some(Ok(())) => {
                    result.removed.add(orphan.bytes);
                    let (key, bytes) = (orphan.key.as_str(), orphan.bytes);
                    tracing::info!(key, bytes, put = %orphan.put, "a leftover was removed");
                }
                Some(Err(error)) => {
                    result.errors = result.errors.saturating_add(1);
                    if result.errors >= ERRORS || !may_do_others(&error) {
                        stop.cancel();
                    }
                    failed.get_or_insert(error);
                }
            }
        }
        if stop.is_cancelled() {
            break;
        }
        gone_through = gone_through.saturating_add(batch.len());
    }
    result.complete = gone_through == plan.orphans.len();
    if let Some(error) = &failed {
        result.findings.push(findings::not_removed(
            error,
            result.errors,
            !result.complete,
        ));
    } else if !result.complete && Instant::now() >= deadline {
        let done = result.removed.objects.saturating_add(result.spared);
        let all = to_u64(plan.orphans.len());
        result
            .findings
            .push(findings::late(all.saturating_sub(done)));
    }
    Ok(result)
}

/// Deletes one orphan, unless `stop` was set before.
async fn delete<'l>(
    store: &dyn Store,
    orphan: &'l Orphan,
    stop: &CancellationToken,
) -> (&'l Orphan, Option<Result<(), StoreError>>) {
    if stop.is_cancelled() {
        return (orphan, None);
    }
    (orphan, Some(store.delete(&orphan.key).await))
}

/// Whether other objects may be removed although this one cannot.
fn may_do_others(error: &StoreError) -> bool {
    !matches!(
        error,
        StoreError::Forbidden { .. }
            | StoreError::Credentials { .. }
            | StoreError::NoCredentials { .. }
            | StoreError::NoBucket { .. }
    )
}

/// Objects named by restore points that were committed after the plan was made.
struct SparedObjects<'p> {
    catalog: Catalog,
    rules: &'p RemovalRules,
    plan: &'p RemovalPlan,
    seen: HashSet<crate::digest::Digest>,
    needs: NeededObjects,
}

impl<'p> SparedObjects<'p> {
    fn new(store: &Arc<dyn Store>, rules: &'p RemovalRules, plan: &'p RemovalPlan) -> Self {
        Self {
            catalog: Catalog::new(Arc::clone(store)),
            rules,
            plan,
            seen: plan.known.clone(),
            needs: NeededObjects::default(),
        }
    }

    /// Reads the new restore points; returns a finding if nothing more may be removed.
    async fn look(&mut self) -> Result<Option<Finding>, OrphanError> {
        let entries = self.catalog.list().await?;
        let there: HashSet<_> = entries.iter().map(|e| e.digest).collect();
        if let Some(gone) = self.plan.known.iter().find(|known| !there.contains(known)) {
            return Ok(Some(findings::vanished(&gone.to_string())));
        }
        for entry in entries {
            if self.seen.contains(&entry.digest) {
                continue;
            }
            let point = match self.catalog.trusted(&entry, &self.rules.trust).await {
                Ok(point) => point,
                Err(CatalogError::Distrusted { id, verdict }) => {
                    let why = format!("is {verdict}");
                    return Ok(Some(findings::distrusted_meanwhile(&id, &why)));
                }
                Err(error @ CatalogError::Store { .. }) => return Err(error.into()),
                Err(error) => return Ok(Some(findings::unreadable_meanwhile(&error))),
            };
            if point.verdict != Verdict::Trusted {
                let why = format!("is {}", point.verdict);
                return Ok(Some(findings::distrusted_meanwhile(&entry.id, &why)));
            }
            self.needs.point(&point);
            self.needs.manifest(&entry);
            self.seen.insert(entry.digest);
        }
        Ok(None)
    }

    /// Whether a new restore point needs the object, or has it as a signature.
    fn has(&self, orphan: &Orphan) -> bool {
        let kind = ObjectKind::of(&orphan.key);
        kind.is_none_or(|kind| self.needs.has(&kind))
    }
}
