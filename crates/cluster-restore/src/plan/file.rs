//! Plan as a file: written for its owner only, and verified when it is read.

use std::path::Path;

use super::super::{RecoverError, TOOL};
use super::Plan;
use backup_core::newfile::{self, OverwritePolicy};

/// Size limit of a plan file; more than half a million objects need.
const MAX_PLAN: u64 = 256 << 20;

impl Plan {
    /// Writes the plan to a file that only its owner can read, and replaces an older plan.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), RecoverError> {
        let failed = |source: std::io::Error| RecoverError::PlanFile {
            operation: "write",
            file: path.display().to_string(),
            source,
        };
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        newfile::write(path, &text, OverwritePolicy::Replace).map_err(failed)
    }

    /// Reads a plan and checks that nobody changed it.
    ///
    /// # Errors
    /// When it cannot be read, was changed, or is of another version.
    pub fn read(path: &Path) -> Result<Self, RecoverError> {
        use std::io::Read as _;
        let file = || path.display().to_string();
        let failed = |source: std::io::Error| RecoverError::PlanFile {
            operation: "read",
            file: file(),
            source,
        };
        let opened = std::fs::File::open(path).map_err(failed)?;
        let mut bytes = Vec::new();
        opened
            .take(MAX_PLAN)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let plan: Self = serde_json::from_slice(&bytes).map_err(|e| RecoverError::NoPlan {
            file: file(),
            what: e.to_string(),
        })?;
        if plan.version != 1 || plan.tool != TOOL {
            return Err(RecoverError::PlanOfOtherTool {
                file: file(),
                made_by: plan.tool,
            });
        }
        if plan.computed()? != plan.digest {
            return Err(RecoverError::PlanChanged { file: file() });
        }
        Ok(plan)
    }
}
