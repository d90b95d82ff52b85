//! Command `lab down`, which asks the running lab to end and waits until it has.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::wait;

use crate::say;
use crate::state::State;

/// Time limit. The lab kills its programs, so it is quick; its folder may be some hundred megabytes.
const WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn run(path: &Path) -> Result<ExitCode> {
    let Some(state) = State::read(path)? else {
        say("no lab is up");
        return Ok(ExitCode::SUCCESS);
    };
    if e2e::folder::is_alive(&state.folder) {
        let down = state.down_file();
        std::fs::write(&down, b"").with_context(|| format!("writing {}", down.display()))?;
        wait::until("the end of the lab", WITHIN, async || {
            ensure!(!e2e::folder::is_alive(&state.folder), "it still runs");
            Ok(())
        })
        .await?;
        say("the lab has ended");
    } else {
        // Its programs ended with it; only its files are left.
        if state.folder.exists() {
            std::fs::remove_dir_all(&state.folder)
                .with_context(|| format!("removing {}", state.folder.display()))?;
        }
        say("the lab was dead already; its files are removed");
    }
    if path.exists() {
        std::fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
