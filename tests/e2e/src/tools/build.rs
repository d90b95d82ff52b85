//! Builder of a tool into the cache, once, for any number of callers at a time.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::module::{FLAGS, Module};
use super::{Origin, Tool};
use crate::{paths, prerequisites};

/// Shortest interval between two lines of progress.
const SAY_EVERY: Duration = Duration::from_secs(15);
/// Number of lines of the compiler's output in an error.
const OUTPUT_LINES: usize = 40;

/// Returns the executable in `folder`; builds it if it is missing.
pub(super) fn ensure(
    tool: Tool,
    module: &Module,
    folder: &Path,
    say: &dyn Fn(&str),
) -> Result<(PathBuf, Origin)> {
    let target = folder.join(tool.name());
    if target.is_file() {
        return Ok((target, Origin::Cache));
    }
    prerequisites::check()?;
    let _lock = lock(say)?;
    // Another process may have built it while this one waited.
    if target.is_file() {
        return Ok((target, Origin::Cache));
    }
    std::fs::create_dir_all(folder)
        .with_context(|| format!("making the folder {}", folder.display()))?;
    build(tool, module, folder, &target, say)?;
    Ok((target, Origin::Built))
}

/// Takes the lock of builds. One runs at a time: two would only take each other's cores and memory.
fn lock(say: &dyn Fn(&str)) -> Result<File> {
    let path = paths::cache()?.join("build.lock");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    if file.try_lock().is_err() {
        say("another process builds the lab's components; waiting for it");
        file.lock()
            .with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}

fn build(
    tool: Tool,
    module: &Module,
    folder: &Path,
    target: &Path,
    say: &dyn Fn(&str),
) -> Result<()> {
    let name = tool.name();
    let started = Instant::now();
    say(&format!(
        "building {name} {} (once; {} on two cores)",
        module.version(),
        tool.build_time()
    ));
    // Go writes here; only a whole executable gets the real name.
    let half = tempfile::Builder::new()
        .prefix(".building-")
        .tempdir_in(folder)
        .with_context(|| format!("making a folder for the build in {}", folder.display()))?;
    let output = half.path().join(name);

    let mut go = Command::new("go")
        .arg("build")
        .args(FLAGS)
        .args(["-v", "-ldflags", module.linker_flags(), "-o"])
        .arg(&output)
        .arg(tool.package())
        .current_dir(&module.folder)
        // Neither variable may change what these pinned modules build.
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting go")?;
    let mut lines: Vec<String> = Vec::new();
    let mut said = Instant::now();
    let mut packages: u64 = 0;
    for line in go
        .stderr
        .take()
        .map(BufReader::new)
        .into_iter()
        .flat_map(BufReader::lines)
    {
        let line = line.context("reading the output of go")?;
        packages += u64::from(!line.contains(' '));
        if lines.len() == OUTPUT_LINES {
            drop(lines.remove(0));
        }
        lines.push(line);
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            say(&format!(
                "  {name}: {packages} packages so far, {}",
                seconds(started.elapsed())
            ));
        }
    }
    let status = go.wait().context("waiting for go")?;
    if !status.success() {
        bail!(
            "go build {} in {} ended with {status}:\n{}",
            tool.package(),
            module.folder.display(),
            lines.join("\n")
        );
    }
    std::fs::rename(&output, target).with_context(|| format!("naming {}", target.display()))?;
    say(&format!(
        "built {name} {} in {}",
        module.version(),
        seconds(started.elapsed())
    ));
    Ok(())
}

/// Formats a time as `3 min 10 s`, without fractions.
fn seconds(time: Duration) -> String {
    match (time.as_secs() / 60, time.as_secs() % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}
