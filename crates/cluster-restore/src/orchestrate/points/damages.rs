//! Consequences of damaged objects in a restore point, and the older restore points without them.

use std::path::Path;
use std::sync::Arc;

use backup_core::catalog::RestorePoint;
use backup_core::causes;
use backup_core::crypt::Identities;
use backup_core::read::{Assessor, Damage, RestoreError};

use super::PointFinder;

impl PointFinder {
    /// Returns the consequences of a failure to read `point` for its components, or, without an error, of
    /// missing objects. Empty without damage. Also empty, with a warning, if the damage cannot be determined.
    pub async fn damages(
        &self,
        error: Option<&RestoreError>,
        (point, identities): (&RestorePoint, &Identities),
        scratch: &Path,
    ) -> Vec<Damage> {
        let progress = self.reporter.progress();
        let assessor = Assessor {
            store: Arc::clone(&self.store),
            point: Arc::new(point.clone()),
            view: self.view.clone(),
            scratch: scratch.to_owned(),
            progress: Arc::clone(&progress),
            cancel: self.cancel.clone(),
        };
        match assessor.assess(error, identities).await {
            Ok(damages) => damages,
            Err(other) => {
                let why = causes::line_once(&other);
                let warning = format!("what is lost could not be found out: {why}");
                self.reporter.warn(&warning);
                Vec::new()
            }
        }
    }
}
