//! Programs that only tests and benchmarks use, listed in `programs.txt`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

const LIST: &str = include_str!("../programs.txt");
/// Folder of servers, which not everybody has on the path.
const SERVERS: &str = "/usr/sbin";
/// Script that Debian's packages run before they start a server.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Program of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program {
    /// Name of the executable.
    pub name: &'static str,
    /// Debian package of the executable.
    pub package: &'static str,
    /// Tests and benchmarks that need it.
    pub needed_by: &'static str,
}

/// Returns every program of the list.
pub fn all() -> impl Iterator<Item = Program> {
    LIST.lines().filter_map(|line| {
        let mut fields = line.split('#').next()?.split('|').map(str::trim);
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some(Program {
            name,
            package: fields.next()?,
            needed_by: fields.next()?,
        })
    })
}

/// Returns the path of `name`, or `None`. A test that needs it and gets `None` reports that by [`left_out`];
/// `make test` names it in its last lines, and fails with `CI=true` before a test runs.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .chain([PathBuf::from(SERVERS)])
        .map(|folder| folder.join(name))
        .find(|path| is_executable(path))
}

/// Reports whether `name` can be run.
#[must_use]
pub fn have(name: &str) -> bool {
    find(name).is_some()
}

/// Returns the programs of the list that cannot be run.
#[must_use]
pub fn missing() -> Vec<Program> {
    all().filter(|program| !have(program.name)).collect()
}

/// Reports whether all of `needed` are there; prints which are missing, and what is left out for each.
///
/// # Errors
/// One is missing, and `CI=true`.
pub fn are_there(needed: &[&str]) -> Result<bool> {
    let missing = missing().into_iter();
    let missing: Vec<_> = missing.filter(|p| needed.contains(&p.name)).collect();
    if missing.is_empty() {
        return Ok(true);
    }
    let text = left_out(&missing);
    anyhow::ensure!(std::env::var("CI").as_deref() != Ok("true"), "{text}");
    // Written to the process's stderr directly, because the test runner swallows the output of a test that
    // passes.
    writeln!(std::io::stderr(), "{text}")?;
    Ok(false)
}

/// Returns the text that names the missing programs and what is left out for each.
#[must_use]
pub fn left_out(missing: &[Program]) -> String {
    let lines: Vec<_> = missing
        .iter()
        .map(
            |Program {
                 name,
                 package,
                 needed_by,
             }| {
                format!(
                    "  {name} is missing (Debian: apt-get install {package}); left out: {needed_by}"
                )
            },
        )
        .collect();
    lines.join("\n")
}

/// Installs `missing` by apt-get, if it is there and may be used; does nothing if not.
///
/// # Errors
/// apt-get failed.
pub fn install(missing: &[Program], say: &dyn Fn(&str)) -> Result<()> {
    if missing.is_empty() || !have("apt-get") || !is_root()? {
        return Ok(());
    }
    let mut packages: Vec<_> = missing.iter().map(|program| program.package).collect();
    packages.dedup();
    let _quiet = NoServers::begin()?;
    say(&format!("installing by apt-get: {}", packages.join(" ")));
    apt_get(&["-qq", "update"])?;
    let mut install = vec!["-qq", "install", "--yes", "--no-install-recommends"];
    install.extend(packages);
    apt_get(&install)
}

/// Guard during which no package starts the server that it brings: tests start their own.
struct NoServers {
    is_ours: bool,
}

impl NoServers {
    fn begin() -> Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut new = std::fs::File::options();
        let mut policy = match new.write(true).create_new(true).mode(0o755).open(POLICY) {
            Ok(policy) => policy,
            // An existing policy is somebody's decision and stays.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Ok(Self { is_ours: false });
            }
            Err(error) => return Err(error).with_context(|| format!("making {POLICY}")),
        };
        let own = Self { is_ours: true };
        policy.write_all(b"#!/bin/sh\nexit 101\n")?;
        Ok(own)
    }
}

impl Drop for NoServers {
    fn drop(&mut self) {
        if self.is_ours {
            drop(std::fs::remove_file(POLICY));
        }
    }
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let output = Command::new("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(std::process::Stdio::null())
        .output()
        .context("running apt-get")?;
    anyhow::ensure!(
        output.status.success(),
        "apt-get {} ended with {}\n{}",
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

fn is_root() -> Result<bool> {
    let output = Command::new("id")
        .arg("-u")
        .output()
        .context("running id -u")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

fn is_executable(path: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_list_is_read_and_nothing_else() {
        let lines = LIST
            .lines()
            .filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        assert_eq!(all().count(), lines.count());
        assert!(all().all(|program| !program.package.is_empty() && !program.needed_by.is_empty()));
        assert!(all().any(|program| program.name == "restic"));
    }

    #[test]
    fn a_missing_program_is_named_with_what_it_costs() {
        let program = Program {
            name: "nothing",
            package: "void",
            needed_by: "the sound of one hand",
        };
        assert!(!have(program.name));
        let text = left_out(&[program]);
        assert!(text.contains("nothing") && text.contains("void") && text.contains("one hand"));
    }

    #[test]
    fn a_program_on_the_path_is_found() {
        assert!(have("sh"));
    }
}
