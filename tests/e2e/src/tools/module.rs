//! Tools module: the go.mod that pins a tool, and the key under which its builds are cached.

use std::path::PathBuf;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::Tool;
use crate::paths;

/// Flags of every build: small, and the same on every machine.
pub(super) const FLAGS: &[&str] = &["-mod=readonly", "-trimpath", "-buildvcs=false"];
/// Flags of the linker: without symbol table and debug information.
const LINKER_FLAGS: &str = "-s -w";

/// Tools module of one tool.
pub(super) struct Module {
    pub(super) folder: PathBuf,
    version: String,
    key: String,
    linker_flags: String,
}

impl Module {
    /// Reads the module that pins `tool`.
    pub(super) fn read(tool: Tool) -> Result<Self> {
        let folder = paths::sources().join("tools").join(tool.module());
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
        };
        let go_mod = read("go.mod")?;
        let version = required_version(&go_mod, tool.go_module())
            .with_context(|| {
                format!(
                    "no version of {} in {}/go.mod",
                    tool.go_module(),
                    folder.display()
                )
            })?
            .to_owned();
        let variables = tool
            .version_variables()
            .iter()
            .map(|variable| format!(" -X {variable}={version}"))
            .collect::<String>();
        let linker_flags = format!("{LINKER_FLAGS}{variables}");

        let mut digest = Sha256::new();
        let mut parts = vec![
            go_mod,
            read("go.sum")?,
            FLAGS.join(" "),
            linker_flags.clone(),
        ];
        for source in tool.sources() {
            parts.push(read(source)?);
        }
        for part in parts {
            digest.update(part);
            digest.update([0]);
        }
        let short: String = hex::encode(digest.finalize()).chars().take(12).collect();
        let key = format!("{}-{version}-{short}", tool.name());
        Ok(Self {
            folder,
            version,
            key,
            linker_flags,
        })
    }

    /// Returns the pinned version, such as `v3.6.16`.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Returns the name of its build's folder: tool, version, and a digest over everything that determines
    /// the result.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Returns the value for `-ldflags`.
    pub(super) fn linker_flags(&self) -> &str {
        &self.linker_flags
    }
}

/// Returns the version that a `require` line of go.mod gives for `module`.
fn required_version<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| *word == "require");
        (words.next()? == module).then(|| words.next()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_require_are_read() {
        let text = "require a.example/x v1.2.3\nrequire (\n\ta.example/y v4.5.6\n)\n";
        assert_eq!(required_version(text, "a.example/x"), Some("v1.2.3"));
        assert_eq!(required_version(text, "a.example/y"), Some("v4.5.6"));
        assert_eq!(required_version(text, "a.example/z"), None);
    }
}
