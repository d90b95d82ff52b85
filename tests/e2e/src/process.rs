//! Process of a real program that cannot outlive the test that started it.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::wait;

/// Script that runs `"$@"` and kills it when its own input ends; the kernel ends the input when this process
/// dies in any way. Lines on the input are signals to pass on. `$0` is the file for the pid.
const SUPERVISOR: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null &
child=$!
echo "$child" >"$0"
{
  while read -r signal <&3; do kill -s "$signal" "$child"; done
  kill -s KILL "$child"
} 2>/dev/null >/dev/null &
watch=$!
exec 3<&-
wait "$child"
code=$?
kill -s KILL "$watch" 2>/dev/null
exit "$code"
"#;

/// Number of log lines in an error.
const TAIL_LINES: usize = 15;
/// Number of bytes read for the last lines: enough for any log.
const TAIL_BYTES: usize = 32 * 1024;

/// Signals that a test sends to a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Asks it to end.
    Term,
    /// Asks it to end, as Ctrl-C does.
    Int,
    /// Ends it at once.
    Kill,
    /// Freezes it: connections stay open and silent.
    Stop,
    /// Lets it go on after [`Signal::Stop`].
    Continue,
    /// Does what the program defines for it: sealed-secrets renews its key.
    User1,
}

impl Signal {
    fn word(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
            Self::User1 => "USR1",
        }
    }
}

/// Program to run: its path, arguments, environment, and the folder for its log.
#[derive(Debug)]
pub struct Program<'a> {
    /// Name for the log file and the errors.
    pub name: &'a str,
    /// Executable.
    pub path: &'a Path,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables in addition to this process' own environment.
    pub env: Vec<(String, String)>,
    /// Folder of its log (`NAME.log`) and pid file (`NAME.pid`).
    pub folder: &'a Path,
}

/// Running program; it is killed when this drops.
#[derive(Debug)]
pub struct Process {
    name: String,
    supervisor: Child,
    control: Option<ChildStdin>,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Process {
    /// Starts `program`; output of an earlier run under the same name stays in the log.
    ///
    /// # Errors
    /// The log cannot be made or the shell that watches over the program cannot be started.
    pub fn start(program: &Program<'_>) -> Result<Self> {
        let log = program.folder.join(format!("{}.log", program.name));
        let pid_file = program.folder.join(format!("{}.pid", program.name));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening the log {}", log.display()))?;
        if pid_file.exists() {
            std::fs::remove_file(&pid_file)
                .with_context(|| format!("removing the old {}", pid_file.display()))?;
        }
        let mut supervisor = Command::new("sh")
            .arg("-c")
            .arg(SUPERVISOR)
            .arg(&pid_file)
            .arg(program.path)
            .args(&program.args)
            .envs(program.env.iter().map(|(name, value)| (name, value)))
            .current_dir(program.folder)
            .stdin(Stdio::piped())
            .stdout(output.try_clone().context("opening the log twice")?)
            .stderr(output)
            // Ctrl-C in a terminal is for the lab, which then ends its programs in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {} by sh", program.path.display()))?;
        let control = supervisor.stdin.take();
        Ok(Self {
            name: program.name.to_owned(),
            supervisor,
            control,
            log,
            pid_file,
        })
    }

    /// Returns the program's process id (not that of the shell that watches over it).
    ///
    /// # Errors
    /// The pid file is not there within five seconds, or is not a number.
    pub async fn pid(&self) -> Result<u32> {
        wait::until("the pid file", Duration::from_secs(5), async || {
            let text = std::fs::read_to_string(&self.pid_file)
                .with_context(|| format!("reading {}", self.pid_file.display()))?;
            text.trim()
                .parse()
                .with_context(|| format!("{text:?} is not a process id"))
        })
        .await
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The program has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        let control = self
            .control
            .as_mut()
            .context("the program was stopped before")?;
        writeln!(control, "{}", signal.word())
            .with_context(|| format!("sending {signal:?} to {}", self.name))
    }

    /// Returns its exit status, or `None` while it runs.
    ///
    /// # Errors
    /// The system does not report it.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.supervisor
            .try_wait()
            .with_context(|| format!("asking whether {} runs", self.name))
    }

    /// Waits for `ready` at most `limit`, and gives up at once when the program ends.
    /// The error shows the last lines of its log.
    ///
    /// # Errors
    /// The program ended, or was not ready in time.
    pub async fn ready<F, Fut>(&mut self, limit: Duration, mut ready: F) -> Result<()>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<()>>,
    {
        let end = tokio::time::Instant::now() + limit;
        let pause = Duration::from_millis(50);
        loop {
            if let Some(status) = self.ended()? {
                bail!(
                    "{} ended with {status} before it was ready\n{}",
                    self.name,
                    self.tail()
                );
            }
            let error = match tokio::time::timeout(Duration::from_secs(5), ready()).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error,
                Err(late) => anyhow::Error::new(late).context("no answer to the readiness check"),
            };
            if tokio::time::Instant::now() >= end {
                return Err(error).with_context(|| {
                    format!(
                        "{} was not ready within {limit:?}\n{}",
                        self.name,
                        self.tail()
                    )
                });
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks it to end (SIGTERM), waits at most `limit`, then kills it.
    ///
    /// # Errors
    /// It could not be asked, or had to be killed.
    pub async fn stop(mut self, limit: Duration) -> Result<()> {
        if self.ended()?.is_none() {
            self.signal(Signal::Term)?;
        }
        let end = tokio::time::Instant::now() + limit;
        while self.ended()?.is_none() {
            if tokio::time::Instant::now() >= end {
                bail!(
                    "{} did not end within {limit:?} after SIGTERM\n{}",
                    self.name,
                    self.tail()
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Kills it (SIGKILL) and returns when it is gone, its ports free.
    pub fn kill(self) {
        drop(self);
    }

    /// Returns its log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Returns the last lines of its log, under a heading, for errors.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input makes the supervisor kill the program; the supervisor ends right after.
        drop(self.control.take());
        drop(self.supervisor.wait());
    }
}

/// Returns the last lines of the file `path`, under a heading that names it.
#[must_use]
pub fn tail(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let end = bytes
        .get(bytes.len().saturating_sub(TAIL_BYTES)..)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(end);
    let lines: Vec<_> = text.lines().collect();
    let shown = lines
        .get(lines.len().saturating_sub(TAIL_LINES)..)
        .unwrap_or_default();
    format!(
        "last lines of {}:\n    {}",
        path.display(),
        shown.join("\n    ")
    )
}
