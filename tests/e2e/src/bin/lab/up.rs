//! `lab up`: everything runs until Ctrl-C, SIGTERM or `lab down`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::Folder;
use e2e::butler::Butler;
use tokio::signal::unix::{SignalKind, signal};

use crate::state::State;
use crate::{print, say};

/// How often the lab looks whether `lab down` asked for its end.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(crate) async fn run(path: &Path) -> Result<ExitCode> {
    if let Some(state) = State::of_a_live_lab(path)? {
        bail!(
            "a lab is up in {}; end it with `lab down` first",
            state.folder.display()
        );
    }
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let folder = Folder::new()?;
    let lab = tokio::select! {
        lab = Butler::start(&folder, &say) => lab?,
        _ = interrupt.recv() => bail!("interrupted before the lab was up"),
        _ = terminate.recv() => bail!("terminated before the lab was up"),
    };
    let state = State::of(&lab, &folder)?;
    state.write(path)?;
    print(&state.to_string())?;
    say("the lab is up; Ctrl-C or `lab down` ends it");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = asked_to_end(&state) => {}
    }
    say("ending the lab");
    let removed = std::fs::remove_file(path);
    drop(lab);
    removed.with_context(|| format!("removing {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

async fn asked_to_end(state: &State) {
    while !state.down_file().exists() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
