//! Receiver of the status lines and warnings of a restore.

use std::fmt::Debug;
use std::sync::Arc;

use backup_core::progress::Progress;

/// Receiver of what a restore reports while it works. Calls are cheap and may come from any thread.
pub trait Reporter: Debug + Send + Sync {
    /// Reports the current or completed work.
    fn status(&self, line: &str);
    /// Reports something that a person should see even where status lines are not shown.
    fn warn(&self, line: &str);
    /// Returns the receiver for one piece of long work; dropping it ends its last step.
    fn progress(&self) -> Arc<dyn Progress>;
}
