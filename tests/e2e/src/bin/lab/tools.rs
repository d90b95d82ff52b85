//! Command `lab tools`, which finds or builds every component, one after another.

use std::process::ExitCode;

use anyhow::Result;
use e2e::tools::{self, Origin, Tool};

use crate::say;

pub(crate) fn run() -> Result<ExitCode> {
    for tool in Tool::ALL {
        let found = tools::ensure(*tool, &say)?;
        let version = found.version.as_deref().unwrap_or("of unknown version");
        let origin = match found.origin {
            Origin::Assets => "from KUBEBUILDER_ASSETS",
            Origin::Cache => "from the cache",
            Origin::Built => "built now",
        };
        say(&format!(
            "{} {version}, {origin}: {}",
            tool.name(),
            found.path.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}
