//! Kit of an earlier restore point, which a run without a kit names again.

use super::CarriedComponent;
use crate::backup::Run;
use crate::catalog::RestorePoint;
use crate::causes;
use crate::format::layout;
use crate::format::manifest::{Component, Epoch, Finding, Severity};
use crate::id::ComponentName;
use crate::store::{Access, StoreError};

/// Returns the kit of `point`, if this run can name it again; else adds a finding with the reason.
pub(super) fn carry_kit(
    run: &Run,
    point: RestorePoint,
    findings: &mut Vec<Finding>,
) -> Option<CarriedComponent> {
    let mut component = point.manifest.component(&ComponentName::kit())?.clone();
    let epochs = point.manifest.epochs().to_vec();
    let recipients = run.protection.recipients();
    if recipients.is_empty() != epochs.is_empty() {
        let from = component.carried_from.unwrap_or(point.entry.id);
        let cause = format!(
            "it was stored under another encryption configuration, and is only in restore point {from} and \
             those before this one"
        );
        run.finding(findings, again(Severity::Error, cause));
        return None;
    }
    let last = u64::try_from(epochs.len().saturating_sub(1)).unwrap_or(0);
    if !epochs.is_empty() {
        component.recipe_epoch.get_or_insert(last);
    }
    let needed = component.packs.iter().map(|pack| pack.epoch);
    let needed = needed.chain(component.recipe_epoch);
    let needed = needed.filter_map(|e| epochs.get(usize::try_from(e).ok()?));
    let needed: Vec<&Epoch> = needed.collect();
    let added = recipients.iter();
    let added = added.filter(|r| needed.iter().any(|e| !e.recipients.contains(r)));
    let added: Vec<String> = added.map(ToString::to_string).collect();
    if !added.is_empty() {
        let cause = format!(
            "it was stored before these became recipients: {}",
            added.join(", ")
        );
        run.finding(findings, again(Severity::Warning, cause));
    }
    component.carried_from.get_or_insert(point.entry.id);
    Some(CarriedComponent { component, epochs })
}

/// Checks whether the objects of a kit exist and can be read at once. They are few, and nothing else checks
/// them before a restore.
pub(super) async fn check_kit(run: &Run, component: &Component, findings: &mut Vec<Finding>) {
    let packs = component.packs.iter();
    let packs = packs.map(|pack| (layout::pack(pack.sha256), pack.bytes));
    let recipes = component.recipes.iter();
    let recipes = recipes.map(|recipe| (layout::recipe(recipe.sha256), recipe.bytes));
    for (key, bytes) in packs.chain(recipes) {
        let fault = match run.store.head(&key).await {
            Ok(info) if info.size != bytes => Some((Severity::Error, "has another size")),
            Ok(info) => match info.access {
                Access::AtOnce | Access::Tiered => None,
                Access::Archived(_) => Some((
                    Severity::Warning,
                    "is archived and cannot be read immediately",
                )),
            },
            Err(StoreError::NotFound { .. }) => Some((Severity::Error, "is gone")),
            // The kit is already stored, so a failure here must not fail the run.
            Err(error) => {
                let cause = format!("its {key} cannot be looked at: {}", causes::line(&error));
                let remedy =
                    "check that this daemon may read the store, then run `restore-cli audit`";
                run.finding(findings, finding(Severity::Warning, cause, remedy));
                continue;
            }
        };
        if let Some((severity, fault)) = fault {
            run.finding(findings, again(severity, format!("its {key} {fault}")));
        }
    }
}

fn again(severity: Severity, cause: String) -> Finding {
    finding(
        severity,
        cause,
        "add its files again: `backupd kit add --replace FILE…`",
    )
}

fn finding(severity: Severity, cause: String, remedy: &str) -> Finding {
    Finding::new(severity, ComponentName::kit().to_string(), cause, remedy)
}
