//! Scenario that all tests of a program share.

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::oneshot;

use super::Butler;
use crate::Folder;
use crate::site::Common;
use crate::tools::say_on_stderr;

/// Scenario that several tests use. No test may stop or change what another one reads. It lives while a test
/// holds it, so tests that run long without it belong into another program. Fields drop in order: the folder
/// after what writes to it, and then the runtime goes.
pub struct Shared {
    /// The scenario.
    pub butler: Butler,
    _folder: Folder,
    _end: oneshot::Sender<()>,
}

static SHARED: Common<Shared> = Common::unused();

impl Shared {
    /// Returns the scenario that other tests use now, or a new one.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn get() -> Result<Arc<Self>> {
        SHARED.get(Self::start).await
    }

    /// Starts a scenario for one test, which may break it.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn own() -> Result<Arc<Self>> {
        Ok(Arc::new(Self::start().await?))
    }

    /// Starts a scenario on a thread and a runtime of its own: each test has a runtime, and tasks that the
    /// first test spawned would end with it.
    async fn start() -> Result<Self> {
        let (started, wait) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let serve = move || {
            let runtime = match tokio::runtime::Runtime::new() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let error = anyhow::Error::new(error).context("making a runtime");
                    return drop(started.send(Err(error)));
                }
            };
            runtime.block_on(async {
                // The caller may be gone; then the scenario is dropped.
                drop(started.send(Self::start_here().await));
                // An error means that the other end was dropped, which is the sign to end.
                drop(ended.await);
            });
        };
        std::thread::Builder::new()
            .name("butler".to_owned())
            .spawn(serve)
            .context("starting a thread for the scenario")?;
        let (butler, folder) = wait.await.context("the scenario's thread is gone")??;
        Ok(Self {
            butler,
            _folder: folder,
            _end: end,
        })
    }

    async fn start_here() -> Result<(Butler, Folder)> {
        let folder = Folder::new()?;
        let butler = Butler::start(&folder, &say_on_stderr).await?;
        Ok((butler, folder))
    }
}
