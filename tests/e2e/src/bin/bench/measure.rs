//! Runner that measures the time, processor time and largest memory of real programs.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Interval between two samples of a running program. The kernel keeps its largest memory, so only an
/// increase in its last moments is missed.
const PAUSE: Duration = Duration::from_millis(4);

/// Cost of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Took {
    /// Time from start to end.
    pub(crate) wall: Duration,
    /// Processor time of all its threads, in user space and in the kernel.
    pub(crate) cpu: Duration,
    /// Largest resident memory, in bytes; of a pipe the sum of its programs.
    pub(crate) peak: u64,
    /// Time from the start until the restored data is on the disk, by whichever program syncs it; only of a
    /// restore.
    pub(crate) on_disk: Duration,
}

/// Runs programs as a pipe: each reads the output of the previous one.
///
/// # Errors
/// One cannot be started or ends badly; its last words are in the error.
pub(crate) fn run(commands: Vec<Command>) -> Result<Took> {
    let began = Instant::now();
    let mut running: Vec<Running> = Vec::new();
    let count = commands.len();
    for (i, mut command) in commands.into_iter().enumerate() {
        let name = command.get_program().to_string_lossy().into_owned();
        let before = running.last_mut().and_then(|r| r.child.stdout.take());
        command.stdin(before.map_or_else(Stdio::null, Stdio::from));
        if i + 1 < count {
            command.stdout(Stdio::piped());
        } else if command.get_envs().all(|(key, _)| key != OWN_STDOUT) {
            command.stdout(Stdio::null());
        }
        command.env_remove(OWN_STDOUT).stderr(Stdio::piped());
        let child = command
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        running.push(Running {
            name,
            child,
            cpu: Duration::ZERO,
            peak: 0,
        });
    }
    while running.iter_mut().any(Running::look) {
        std::thread::sleep(PAUSE);
    }
    let wall = began.elapsed();
    let mut took = Took {
        wall,
        ..Took::default()
    };
    for one in running {
        took.cpu += one.cpu;
        took.peak = took.peak.saturating_add(one.peak);
        let output = one.child.wait_with_output().context("waiting")?;
        let words = String::from_utf8_lossy(&output.stderr);
        let words = words.trim();
        ensure!(
            output.status.success(),
            "{} ended with {}: {words}",
            one.name,
            output.status
        );
    }
    Ok(took)
}

/// Variable that makes [`run`] leave a command's output where its caller sent it, because a [`Command`]
/// cannot be queried. The program does not see the variable.
const OWN_STDOUT: &str = "BENCH_OWN_STDOUT";

/// Sends the output of `command` to the new file `path`.
///
/// # Errors
/// The file cannot be made.
pub(crate) fn to_file(mut command: Command, path: &std::path::Path) -> Result<Command> {
    let file = std::fs::File::create(path).with_context(|| format!("making {}", path.display()))?;
    command.stdout(file).env(OWN_STDOUT, "1");
    Ok(command)
}

struct Running {
    name: String,
    child: Child,
    cpu: Duration,
    peak: u64,
}

impl Running {
    /// Samples the process; returns false once it has ended and its exit status is ready.
    fn look(&mut self) -> bool {
        let folder = format!("/proc/{}", self.child.id());
        if let Some(peak) = peak(&folder) {
            self.peak = self.peak.max(peak);
        }
        let Some((ended, cpu)) = state(&folder) else {
            return false;
        };
        self.cpu = cpu;
        !ended
    }
}

fn peak(folder: &str) -> Option<u64> {
    memory(folder, "VmHWM:")
}

fn memory(folder: &str, which: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("{folder}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(which))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Returns the resident memory of the process `id`, and its largest value so far or since [`forget_peak`].
pub(crate) fn resident(id: u32) -> Option<(u64, u64)> {
    let folder = format!("/proc/{id}");
    Some((memory(&folder, "VmRSS:")?, peak(&folder)?))
}

/// Resets the kernel's record of the largest memory of the process `id`.
pub(crate) fn forget_peak(id: u32) -> Result<()> {
    let file = format!("/proc/{id}/clear_refs");
    std::fs::write(&file, "5").with_context(|| format!("writing {file}"))
}

/// Returns the processor time of the process `id` so far.
pub(crate) fn cpu(id: u32) -> Option<Duration> {
    state(&format!("/proc/{id}")).map(|(_, cpu)| cpu)
}

/// Reports whether the process has ended, and its processor time so far.
fn state(folder: &str) -> Option<(bool, Duration)> {
    /// Length of one tick in /proc: the same on every Linux that we run on.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("{folder}/stat")).ok()?;
    // The name stands in brackets and may contain anything, brackets too.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X");
    let mut ticks = fields.skip(10).map(str::parse::<u32>);
    let (user, system) = (ticks.next()?.ok()?, ticks.next()?.ok()?);
    Some((ended, TICK * user.saturating_add(system)))
}
