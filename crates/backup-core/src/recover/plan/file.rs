//! A plan as a file: written for its owner alone, and read back as it was made.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::super::{RecoverError, TOOL};
use super::Plan;

/// A plan names what it touches; this is more than half a million objects take.
const MAX_PLAN: u64 = 256 << 20;

impl Plan {
    /// Writes it to a new file that only its owner reads.
    ///
    /// # Errors
    /// When it cannot be written, or is there already.
    pub fn write(&self, path: &Path) -> Result<(), RecoverError> {
        let failed = |source: std::io::Error| RecoverError::PlanFile {
            operation: "write",
            file: path.display().to_string(),
            source,
        };
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| failed(e.into()))?;
        text.push(b'\n');
        let part = path.with_extension("part");
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&part)
            .map_err(failed)?;
        file.write_all(&text)
            .and_then(|()| file.sync_all())
            .and_then(|()| std::fs::rename(&part, path))
            .map_err(failed)
    }

    /// Reads one, and sees that nobody changed it.
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
