//! Runner of a program to its end, with a time limit and nothing of this process' environment.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::task::JoinHandle;

/// Time limit: no command of a test or a show takes this long, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);
/// Interval between repeated signals: time enough for a program to handle each.
const IMPATIENCE: Duration = Duration::from_millis(100);
/// Largest output. More is a fault of the program.
const MAX_OUTPUT: u64 = 64 << 20;

/// Program with its arguments and its environment.
#[derive(Debug, Clone)]
pub struct Command {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    folder: Option<PathBuf>,
    limit: Duration,
}

/// Exit code and output of a program.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Text on standard output.
    pub stdout: String,
    /// Text on standard error.
    pub stderr: String,
}

impl Command {
    /// Makes a command for `program` without arguments, with `PATH` alone in its environment.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let path = std::env::var_os("PATH").map(|path| ("PATH".into(), path));
        Self {
            program: program.into(),
            args: Vec::new(),
            env: path.into_iter().collect(),
            folder: None,
            limit: LIMIT,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let args = args.into_iter().map(|arg| arg.as_ref().to_owned());
        self.args.extend(args);
        self
    }

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let pair = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.env.push(pair);
        self
    }

    /// Adds variables.
    #[must_use]
    pub fn envs<N, V>(mut self, env: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        for (name, value) in env {
            self = self.env(name, value);
        }
        self
    }

    /// Runs it in `folder`.
    #[must_use]
    pub fn in_folder(self, folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: Some(folder.into()),
            ..self
        }
    }

    /// Runs the command by `sh` with `script` before it, such as `ulimit -f 1`.
    #[must_use]
    pub fn after_sh(self, script: &str) -> Self {
        let mut args: Vec<OsString> = vec!["-c".into(), format!("{script}\nexec \"$@\"").into()];
        args.extend(["sh".into(), self.program.into_os_string()]);
        args.extend(self.args);
        Self {
            program: "sh".into(),
            args,
            ..self
        }
    }

    /// Returns the command as a person would type it, without folders before the program.
    #[must_use]
    pub fn shown(&self) -> String {
        let name = self.program.file_name().unwrap_or_default();
        let words = std::iter::once(name).chain(self.args.iter().map(OsString::as_os_str));
        let words: Vec<_> = words.map(|word| quoted(&word.to_string_lossy())).collect();
        words.join(" ")
    }

    /// Runs it to its end; kills it when that takes too long.
    ///
    /// # Errors
    /// It cannot be started, or did not end in time. An exit code other than 0 is not an error.
    pub async fn output(&self) -> Result<Output> {
        self.start()?.ended().await
    }

    /// Runs it to its end, which must be with `code`.
    ///
    /// # Errors
    /// It ends otherwise.
    pub async fn ended_with(&self, code: i32) -> Result<Output> {
        self.output().await?.ended_with(code)
    }

    /// Runs it to its end, which must be a success; parses its standard output.
    ///
    /// # Errors
    /// It ends otherwise, or its output is not JSON.
    pub async fn json(&self) -> Result<serde_json::Value> {
        self.ended_with(0).await?.json()
    }

    /// Starts it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self) -> Result<Running> {
        let mut command = tokio::process::Command::new(&self.program);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let mut child = command
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", self.program.display()))?;
        let stdout = child.stdout.take().context("no standard output")?;
        let stderr = child.stderr.take().context("no standard error")?;
        Ok(Running {
            shown: self.shown(),
            limit: self.limit,
            child,
            stdout: tokio::spawn(read(stdout)),
            stderr: tokio::spawn(read(stderr)),
        })
    }
}

/// Running program; it is killed when this drops.
#[derive(Debug)]
pub struct Running {
    shown: String,
    limit: Duration,
    child: Child,
    stdout: JoinHandle<Result<String>>,
    stderr: JoinHandle<Result<String>>,
}

impl Running {
    /// Waits for its end; kills it when that takes too long.
    ///
    /// # Errors
    /// It did not end in time.
    pub async fn ended(mut self) -> Result<Output> {
        let status = match tokio::time::timeout(self.limit, self.child.wait()).await {
            Ok(status) => status.with_context(|| format!("waiting for {}", self.shown))?,
            Err(late) => {
                self.child.kill().await.context("killing it")?;
                let told = self.stderr.await??;
                return Err(anyhow::Error::new(late)).with_context(|| {
                    format!("{} did not end within {:?}\n{told}", self.shown, self.limit)
                });
            }
        };
        Ok(Output {
            code: status.code(),
            stdout: self.stdout.await??,
            stderr: self.stderr.await??,
        })
    }

    /// Kills it, as a power cut would, and waits until it is gone.
    ///
    /// # Errors
    /// The system refused.
    pub async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("killing a program")
    }

    /// Sends it SIGINT, as Ctrl-C does.
    ///
    /// # Errors
    /// It has ended.
    pub async fn interrupt(&self) -> Result<()> {
        interrupt(self.child.id().context("it has ended already")?).await
    }

    /// Sends it a signal by its name, such as `TERM` or `HUP`.
    ///
    /// # Errors
    /// It has ended.
    pub async fn signal(&self, name: &str) -> Result<()> {
        signal(self.child.id().context("it has ended already")?, name).await
    }

    /// Returns its process id, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends it SIGINT repeatedly, as an impatient person does, until it ends.
    ///
    /// # Errors
    /// It did not end in time.
    pub async fn interrupted_until_it_ends(self) -> Result<Output> {
        let id = self.child.id().context("it has ended already")?;
        let impatience = async {
            loop {
                // A failure means that it has ended, which the other side sees.
                drop(interrupt(id).await);
                tokio::time::sleep(IMPATIENCE).await;
            }
        };
        tokio::select! {
            ended = self.ended() => ended,
            () = impatience => anyhow::bail!("impatience has no end"),
        }
    }
}

impl Output {
    /// Returns this output if the program ended with `code`; if not, an error with all its output.
    ///
    /// # Errors
    /// Another code, or a signal.
    pub fn ended_with(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == Some(code),
            "ended with {:?} instead of {code}\n{}\n{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// Parses its standard output as JSON.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {}", self.stdout))
    }
}

/// Checks that the program's standard error contains all of `words`.
#[expect(
    clippy::print_stdout,
    reason = "shown where a test fails, or with --nocapture"
)]
pub fn tells(output: &Output, words: &[&str]) {
    println!("--- code {:?}\n{}", output.code, output.stderr);
    for word in words {
        let (told, stdout) = (&output.stderr, &output.stdout);
        assert!(told.contains(word), "{word:?} is not in:\n{told}\n{stdout}");
    }
}

async fn interrupt(id: u32) -> Result<()> {
    signal(id, "INT").await
}

async fn signal(id: u32, name: &str) -> Result<()> {
    let sent = tokio::process::Command::new("kill")
        .args(["-s", name, &id.to_string()])
        .stderr(Stdio::null())
        .status()
        .await
        .context("running kill")?;
    ensure!(sent.success(), "kill ended with {sent}");
    Ok(())
}

async fn read(stream: impl AsyncRead + Unpin) -> Result<String> {
    let mut bytes = Vec::new();
    let mut bounded = stream.take(MAX_OUTPUT);
    let read = bounded.read_to_end(&mut bytes).await;
    read.context("reading a program's output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_sees_no_variable_that_was_not_given() {
        let output = Command::new("env").env("A", "b c").output().await.unwrap();
        let mut names: Vec<_> = output
            .stdout
            .lines()
            .filter_map(|l| l.split('=').next())
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["A", "PATH"]);
    }

    #[tokio::test]
    async fn a_program_that_takes_too_long_is_killed() {
        let mut command = Command::new("sleep").arg("60");
        command.limit = Duration::from_millis(100);
        let error = command.output().await.unwrap_err();
        assert!(format!("{error:#}").contains("sleep 60 did not end within 100ms"));
    }

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let command = Command::new("/a/b/ls").arg("it's").arg("-l").after_sh(":");
        assert_eq!(
            command.shown(),
            "sh -c ':\nexec \"$@\"' sh /a/b/ls 'it'\\''s' -l"
        );
    }
}
