//! Lookup of restore points by name.

use super::{Catalog, CatalogEntry, CatalogError};
use crate::crypt::Trust;

impl Catalog {
    /// Returns the restore point that `wanted` names: an id, or the beginning of exactly one. Of several
    /// matches it returns the only trusted one, so that an added untrusted name does not hide it.
    ///
    /// # Errors
    /// If no restore point or several match, or the store cannot be listed.
    pub async fn named(&self, wanted: &str, trust: &Trust) -> Result<CatalogEntry, CatalogError> {
        let mut entries = self.list().await?;
        entries.retain(|e| !wanted.is_empty() && e.id.as_str().starts_with(wanted));
        let (first, second) = match entries.as_slice() {
            [] => return Err(self.no_such(wanted, "; `restore-cli list` shows what it has")),
            [one] => return Ok(one.clone()),
            [first, second, ..] => (first.clone(), second.clone()),
        };
        let count = entries.len();
        let ambiguous = |first: &CatalogEntry, second: &CatalogEntry| CatalogError::Ambiguous {
            wanted: wanted.to_owned(),
            count,
            first: first.id.clone(),
            second: second.id.clone(),
        };
        if matches!(trust, Trust::Anyone) {
            return Err(ambiguous(&first, &second));
        }
        let mut only: Option<CatalogEntry> = None;
        for entry in entries {
            match (self.trusted(&entry, trust).await, &only) {
                (Err(CatalogError::Distrusted { .. }), _) => {}
                // One that cannot be read may also be meant.
                (_, Some(only)) => return Err(ambiguous(only, &entry)),
                (_, None) => only = Some(entry),
            }
        }
        only.ok_or_else(|| ambiguous(&first, &second))
    }

    /// Returns the error for a name that no restore point has. `hint` ends its sentence.
    #[must_use]
    pub fn no_such(&self, wanted: &str, hint: &str) -> CatalogError {
        CatalogError::NoSuch {
            store: self.store.describe(),
            wanted: wanted.to_owned(),
            hint: hint.to_owned(),
        }
    }
}
