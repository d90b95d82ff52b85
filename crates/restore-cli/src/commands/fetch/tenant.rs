//! Command `restore-cli fetch --tenant`, which writes one tenant's kubeconfig to a file.

use anyhow::Context as _;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::catalog::RestorePoint;
use backup_core::crypt::Identities;
use backup_core::digest::Digest;
use backup_core::format::export::TenantFacts;
use backup_core::newfile::{self, OverwritePolicy};
use backup_core::num::to_u64;
use backup_core::read::Kubeconfig;
use backup_core::shortlist::and_more;

use super::{Args, FetchReport};
use crate::commands::{OpenedStore, ReadSettings, read_failure};

/// Largest number of tenants that are named in place of an unknown one.
const NAMED: usize = 10;

/// Tenant's kubeconfig to fetch, with the means to fetch it.
pub(super) struct TenantRequest<'a> {
    pub(super) tenant: &'a str,
    pub(super) point: &'a RestorePoint,
    pub(super) identities: &'a Identities,
    /// Treatment of an existing file.
    pub(super) existing: OverwritePolicy,
}

pub(super) async fn run(
    args: &Args,
    wanted: &TenantRequest<'_>,
    opened: &OpenedStore,
    frame: &Frame,
) -> Result<Exit, Failure> {
    let point = wanted.point;
    let tenant = find(point, wanted.tenant)?;
    let reading = ReadSettings {
        scratch: frame.environment.temp.clone(),
        progress: frame.terminal.progress(),
    };
    let reader = opened
        .reader(point, wanted.identities, &reading, frame)
        .await?;
    let found = reader.kubeconfig(tenant).await.map_err(read_failure)?;
    drop((reader, reading));
    let kubeconfig = found.ok_or_else(|| none(point, tenant))?;
    newfile::write(&args.to, kubeconfig.bytes(), wanted.existing)
        .with_context(|| format!("write {}", args.to.display()))?;
    frame.terminal.emit(&FetchReport {
        restore_point: point.entry.id.to_string(),
        component: args.component.to_string(),
        kubeconfig: Some(kubeconfig.origin.clone()),
        file: args.to.display().to_string(),
        bytes: to_u64(kubeconfig.bytes().len()),
        sha256: Digest::of(kubeconfig.bytes()).to_string(),
        lacks: Vec::new(),
    })?;
    frame.terminal.status(&format!(
        "Try it with `kubectl --kubeconfig {} get nodes`. It opens the tenant's cluster as its \
         administrator: delete it after use.",
        args.to.display()
    ));
    Ok(Exit::Complete)
}

/// Finds the tenant by name or by namespace and name.
fn find<'p>(point: &'p RestorePoint, wanted: &str) -> Result<&'p TenantFacts, Failure> {
    let tenants = point.manifest.kubernetes.iter().flat_map(|k| &k.tenants);
    let tenants: Vec<&TenantFacts> = tenants.collect();
    let meant: Vec<&TenantFacts> = tenants
        .iter()
        .filter(|t| t.name == wanted || full(t) == wanted)
        .copied()
        .collect();
    let names = |tenants: &[&TenantFacts]| {
        let names = tenants.iter().take(NAMED);
        names.map(|t| full(t)).collect::<Vec<_>>().join(", ")
    };
    let id = &point.entry.id;
    match meant.as_slice() {
        [one] => Ok(one),
        [] => {
            let unknown = format!("restore point {id} knows no tenant `{wanted}`");
            let failure = Failure::message(Exit::NotFound, unknown);
            Err(if tenants.is_empty() {
                failure.hint(
                    "it knows no tenants at all; `restore-cli resources ls secrets` shows what \
                     kubeconfigs it has",
                )
            } else {
                let known = names(&tenants);
                let more = and_more(tenants.len().saturating_sub(NAMED));
                failure.hint(format!("it knows {known}{more}"))
            })
        }
        several => {
            let ambiguous = format!("`{wanted}` is several tenants: {}", names(several));
            Err(Failure::message(Exit::Usage, ambiguous).hint("name the namespace, too"))
        }
    }
}

fn full(tenant: &TenantFacts) -> String {
    format!("{}/{}", tenant.namespace, tenant.name)
}

fn none(point: &RestorePoint, tenant: &TenantFacts) -> Failure {
    let looked = Kubeconfig::places(tenant).join(" or ");
    let none = format!(
        "restore point {} has no kubeconfig of tenant {}: neither {looked} is in component \
         `kubeconfigs`",
        point.entry.id,
        full(tenant)
    );
    Failure::message(Exit::NotFound, none)
        .hint("`restore-cli resources ls secrets` shows what there is")
}
