//! Command `lab up`, which runs everything until Ctrl-C, SIGTERM or `lab down`; `lab reset` takes etcd away.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::Folder;
use e2e::butler::Butler;
use tokio::signal::unix::{SignalKind, signal};

use crate::state::State;
use crate::{print, say};

/// Interval at which the lab checks for requests of `lab down` or `lab reset`, and for etcd's return.
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
    let mut lab = tokio::select! {
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
        ended = serve(&mut lab, &state) => ended?,
    }
    say("ending the lab");
    let removed = std::fs::remove_file(path);
    drop(lab);
    removed.with_context(|| format!("removing {}", path.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Does what other calls of `lab` request, until one requests the end.
async fn serve(lab: &mut Butler, state: &State) -> Result<()> {
    let mut lost = false;
    while !state.down_file().exists() {
        let reset = state.reset_file();
        if reset.exists() {
            lab.lose_etcd().await?;
            lost = true;
            say("etcd is lost; its nodes wait until one of them is bootstrapped from a snapshot");
            std::fs::remove_file(&reset)
                .with_context(|| format!("removing {}", reset.display()))?;
        }
        if lost && lab.talos.etcd_runs() {
            say("etcd runs again; starting kube-apiserver and controllers");
            lab.resume().await?;
            lost = false;
            say("the cluster is back");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
