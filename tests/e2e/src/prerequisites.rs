//! Check of the programs that must be installed before anything is built, each named with how to get it.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::paths;

/// Runs the check that `make` runs first; the error lists all that is missing.
///
/// # Errors
/// Something is missing or too old.
pub fn check() -> Result<()> {
    check_with(None)
}

/// Runs [`check`] with another search path if one is given.
fn check_with(path: Option<&str>) -> Result<()> {
    let script = paths::sources().join("prerequisites.sh");
    let mut command = Command::new("/bin/sh");
    command.arg(&script).stdin(Stdio::null());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let output = command
        .output()
        .with_context(|| format!("running {}", script.display()))?;
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "not everything is there to build with:\n{}",
        String::from_utf8_lossy(&output.stderr).trim_end()
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn everything_missing_is_named_with_its_remedy() {
        let text = check_with(Some("/nonexistent")).unwrap_err().to_string();
        for word in ["cargo", "rustup.rs", "cc", "make", "git", "go.dev"] {
            assert!(text.contains(word), "{word} is not in: {text}");
        }
    }

    #[test]
    fn an_old_go_is_refused_and_a_new_one_taken() {
        let folder = tempfile::tempdir().unwrap();
        let program = |name: &str, says: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\necho {says}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        for name in ["cargo", "cc", "make", "git"] {
            program(name, "fine");
        }
        let path = folder.path().to_str().unwrap();
        for (version, taken) in [
            ("go1.9", false),
            ("go1.25.3", false),
            ("go1.26", true),
            ("go1.26.8", true),
            ("go1.31rc1", true),
            ("go1.100.1", true),
            ("go2.0", true),
        ] {
            program("go", version);
            assert_eq!(check_with(Some(path)).is_ok(), taken, "{version}");
        }
    }
}
