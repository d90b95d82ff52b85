//! Reader that puts the objects of a restore point into the spool.

use std::ops::ControlFlow;

use super::RecoverError;
use super::select::Selection;
use super::spool::ObjectSpool;
use backup_core::id::ComponentName;
use backup_core::read::{ObjectReader, RestoreError};

/// Puts the selected objects of a restore point into a spool, from every component that
/// contains objects.
///
/// # Errors
/// When the restore point cannot be read, contains no objects, or the scratch file cannot be
/// written.
pub async fn read_archive(
    reader: &ObjectReader,
    select: &Selection,
) -> Result<ObjectSpool, RecoverError> {
    let manifest = &reader.point.manifest;
    let names = [
        ComponentName::crds(),
        ComponentName::sealed_secrets(),
        ComponentName::resources(),
        ComponentName::secrets(),
        ComponentName::kubeconfigs(),
    ];
    let there: Vec<_> = names
        .iter()
        .filter_map(|name| manifest.component(name))
        .collect();
    if there.is_empty() {
        return Err(RecoverError::NoObjects {
            id: reader.point.entry.id.clone(),
        });
    }
    let bytes = there
        .iter()
        .map(|c| c.plain_bytes)
        .fold(0_u64, u64::saturating_add);
    let mut spool = ObjectSpool::create(&reader.scratch, bytes)?;
    for component in there {
        let title = format!("reading {} of {}", component.name, reader.point.entry.id);
        reader.progress.step(&title, Some(component.plain_bytes));
        let select = select.clone();
        let state = (spool, None);
        let (filled, failed) = reader
            .fold(&component.name, state, move |(spool, failed), object| {
                if !select.keeps(&object.path, object.json()) {
                    spool.pass_over(object.path.clone());
                    return ControlFlow::Continue(());
                }
                match spool.take(&object) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(e) => {
                        *failed = Some(e);
                        ControlFlow::Break(())
                    }
                }
            })
            .await?;
        if let Some(error) = failed {
            return Err(error);
        }
        spool = filled;
    }
    Ok(spool)
}

impl From<RestoreError> for RecoverError {
    fn from(source: RestoreError) -> Self {
        Self::Archive(Box::new(source))
    }
}
