//! Command `lab reset`, the worst night for practice: the running lab loses its etcd.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::wait;

use crate::say;
use crate::state::State;

/// Time limit: its programs are ended and three small folders emptied.
const WITHIN: Duration = Duration::from_secs(60);

pub(crate) async fn run(path: &Path) -> Result<ExitCode> {
    let Some(state) = State::of_a_live_lab(path)? else {
        say("no lab is up; start one with `make lab`");
        return Ok(ExitCode::FAILURE);
    };
    let reset = state.reset_file();
    std::fs::write(&reset, b"").with_context(|| format!("writing {}", reset.display()))?;
    wait::until("the loss of etcd", WITHIN, async || {
        ensure!(!reset.exists(), "it is still there");
        Ok(())
    })
    .await?;
    say(
        "etcd is gone on all nodes, and with it the cluster; the talosconfig of os:admin can \
         bring it back",
    );
    Ok(ExitCode::SUCCESS)
}
