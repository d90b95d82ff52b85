//! Captured object with the field values that the operator fills in, and the schema of its kind.

use serde_json::Value;

use super::ObjectWriter;
use crate::RecoverError;
use crate::crds::DEFINITIONS;
use crate::spool::{Entry, ObjectSpool};
use backup_core::archive::{ObjectPath, ResourceName, Schema};

impl ObjectWriter<'_> {
    /// Reads the captured object and applies `--fill` to it.
    pub(crate) fn value(&self, entry: &Entry) -> Result<Value, RecoverError> {
        let resource = &entry.path.resource;
        let mut value = self.spool.value(entry)?;
        let fills = self.options.fill.iter();
        let fills: Vec<_> = fills.filter(|f| f.field(resource).is_some()).collect();
        if fills.is_empty() {
            return Ok(value);
        }
        let schema = schema_of(self.spool, resource, &entry.api_version)?;
        for fill in fills {
            fill.apply(resource, &mut value, schema.as_ref());
        }
        Ok(value)
    }
}

/// Reads the schema of a kind from the definition in the archive; `None` if it has none.
pub(crate) fn schema_of(
    spool: &ObjectSpool,
    resource: &ResourceName,
    api_version: &str,
) -> Result<Option<Schema>, RecoverError> {
    let definition = ObjectPath {
        resource: DEFINITIONS.into(),
        namespace: None,
        name: resource.to_string(),
    };
    let entry = spool.by_path(&definition).and_then(|at| spool.entry(at));
    let Some(entry) = entry else {
        return Ok(None);
    };
    let version = api_version.rsplit('/').next().unwrap_or_default();
    Ok(Schema::of_definition(&spool.value(entry)?, version))
}
