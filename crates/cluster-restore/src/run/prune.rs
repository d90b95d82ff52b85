//! Deletion of objects that the archive does not have, if the plan asks for it.

use super::super::RecoverError;
use super::super::journal::{Outcome, Record};
use super::Recovery;
use backup_core::archive::ObjectPath;

impl Recovery {
    /// Deletes the objects that the plan lists, each only in the version that is read just before.
    pub(super) async fn prune(&mut self) -> Result<(), RecoverError> {
        let pruned = self
            .plan
            .objects
            .iter()
            .filter(|o| o.outcome == Outcome::Pruned);
        let pruned: Vec<String> = pruned.map(|o| o.object.clone()).collect();
        for object in pruned {
            let Ok(path) = object.parse::<ObjectPath>() else {
                continue;
            };
            if self.cancel.is_cancelled() {
                return Err(RecoverError::Cancelled);
            }
            let read = match self.target.get(&path, None).await {
                Err(e) if !self.target.is_of_the_server(&e).await => {
                    self.pruned(object, Outcome::Failed, Some(e.line()))?;
                    continue;
                }
                read => read?,
            };
            let Some(live) = read else {
                // A deletion that was begun, of an object that is gone: this restore deleted it.
                if self.journal.state.open.contains(&object) {
                    self.pruned(object, Outcome::Pruned, None)?;
                }
                continue;
            };
            let text = |pointer: &str| live.pointer(pointer).and_then(|v| v.as_str());
            let (Some(uid), Some(version)) =
                (text("/metadata/uid"), text("/metadata/resourceVersion"))
            else {
                continue;
            };
            self.journal.write(vec![Record::Writing {
                object: object.clone(),
            }])?;
            let (outcome, why) = match self.target.delete(&path, uid, version).await {
                Ok(()) => (Outcome::Pruned, None),
                Err(e) if e.is_of_the_server() => return Err(RecoverError::Target(e)),
                Err(e) => (Outcome::Failed, Some(e.line())),
            };
            self.pruned(object, outcome, why)?;
        }
        Ok(())
    }

    fn pruned(
        &mut self,
        object: String,
        outcome: Outcome,
        why: Option<String>,
    ) -> Result<(), RecoverError> {
        self.journal.write(vec![Record::Written {
            object,
            outcome,
            uid: None,
            why,
        }])
    }
}
