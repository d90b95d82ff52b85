//! Terminal that writes data to stdout and everything else to stderr.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::sync::Arc;

use anyhow::Context as _;
use backup_core::progress::{Progress, SilentProgress};
use cluster_restore::orchestrate::Reporter;
use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::clean;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format, Report};
use crate::progress::{BarProgress, LineProgress};

/// Output of a command. Clones print to the same place.
#[derive(Debug, Clone)]
pub struct Terminal {
    format: Format,
    quiet: bool,
    interactive: bool,
    stderr_is_terminal: bool,
    draw: MultiProgress,
}

impl Terminal {
    /// Uses the process's own stdin, stdout and stderr. `quiet` leaves warnings, errors and data.
    #[must_use]
    pub fn of_process(format: Format, quiet: bool) -> Self {
        let stderr_is_terminal = io::stderr().is_terminal();
        let target = if stderr_is_terminal && !quiet {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            format,
            quiet,
            interactive: stderr_is_terminal && io::stdin().is_terminal(),
            stderr_is_terminal,
            draw: MultiProgress::with_draw_target(target),
        }
    }

    /// Reports whether stderr is a terminal, where colours help.
    #[must_use]
    pub fn stderr_is_terminal(&self) -> bool {
        self.stderr_is_terminal
    }

    /// Writes a command's data to stdout. A reader that went away is not an error.
    ///
    /// # Errors
    /// Fails when the report has no such form, or stdout cannot be written.
    pub fn emit<R: Report>(&self, report: &R) -> Result<(), Failure> {
        let stdout = io::stdout();
        let width = stdout.is_terminal().then(terminal_width).flatten();
        self.emit_text(&output::render(report, self.format, width)?)
    }

    /// Writes data that has its own form to stdout, lines of text. A reader that went away is not an error.
    ///
    /// # Errors
    /// Fails when stdout cannot be written.
    pub fn emit_text(&self, text: &str) -> Result<(), Failure> {
        let text = clean::lines(text);
        let mut stdout = io::stdout().lock();
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush());
        match written {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => Ok(written.context("write to stdout")?),
        }
    }

    /// Returns the requested form.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// Writes the current or completed work to stderr; silent with `--quiet`.
    pub fn status(&self, line: &str) {
        if !self.quiet {
            self.stderr(line);
        }
    }

    /// Writes a warning to stderr, also with `--quiet`.
    pub fn warn(&self, line: &str) {
        self.stderr(&format!("warning: {line}"));
    }

    /// Writes text to stderr without tearing the progress bar.
    pub(crate) fn stderr(&self, text: &str) {
        let text = clean::lines(text.trim_end());
        self.draw.suspend(|| {
            // There is nowhere left to report that stderr is gone.
            drop(writeln!(io::stderr().lock(), "{text}"));
        });
    }

    /// Writes bytes of the log to stderr without tearing the progress bar.
    pub(crate) fn log(&self, bytes: &[u8]) -> io::Result<()> {
        self.draw.suspend(|| io::stderr().lock().write_all(bytes))
    }

    /// Returns the progress display for long work: a bar on a terminal, lines elsewhere, nothing with
    /// `--quiet`.
    #[must_use]
    pub fn progress(&self) -> Arc<dyn Progress> {
        if self.quiet {
            return Arc::new(SilentProgress);
        }
        let terminal = self.clone();
        if self.stderr_is_terminal {
            return Arc::new(BarProgress::new(self.draw.clone(), terminal));
        }
        Arc::new(LineProgress::new(move |line| terminal.status(line)))
    }

    /// Removes what progress has drawn.
    pub(crate) fn clear(&self) {
        // A terminal that is gone needs no clearing.
        drop(self.draw.clear());
    }

    /// Asks `question` where a person can answer. Refuses elsewhere, and for any answer but yes. `flag` is
    /// the way to say yes on the command line.
    ///
    /// # Errors
    /// Returns [`Exit::Refused`] unless the answer is yes; also fails when stdin cannot be read.
    pub fn confirm(&self, question: &str, flag: &str) -> Result<(), Failure> {
        if !self.interactive {
            let refused = format!("not done, because nobody can confirm it here: {question}");
            return Err(
                Failure::message(Exit::Refused, refused).hint(format!("confirm it with {flag}"))
            );
        }
        let question = clean::lines(question);
        let answer = self.draw.suspend(|| {
            write!(io::stderr().lock(), "{question} [y/N] ")?;
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer)?;
            io::Result::Ok(answer)
        });
        let answer = answer.context("ask for a yes")?;
        if ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()) {
            return Ok(());
        }
        Err(Failure::message(
            Exit::Refused,
            "stopped, nothing was changed",
        ))
    }

    /// Asks a person to type `wanted`, letter by letter. Refuses where no person can answer, and for any
    /// other text. `flags` is the way to say it on the command line.
    ///
    /// # Errors
    /// Returns [`Exit::Refused`] unless the text was typed; also fails when stdin cannot be read.
    pub fn confirm_by_name(
        &self,
        question: &str,
        wanted: &str,
        flags: &str,
    ) -> Result<(), Failure> {
        if !self.interactive {
            let refused = format!("not done, because nobody can confirm it here: {question}");
            return Err(
                Failure::message(Exit::Refused, refused).hint(format!("confirm it with {flags}"))
            );
        }
        let (question, shown) = (clean::lines(question), clean::line(wanted));
        let answer = self.draw.suspend(|| {
            write!(
                io::stderr().lock(),
                "{question}\nType {shown} to continue, anything else to stop: "
            )?;
            let mut answer = String::new();
            io::stdin().lock().read_line(&mut answer)?;
            io::Result::Ok(answer)
        });
        if answer.context("ask for the name")?.trim() == wanted {
            return Ok(());
        }
        Err(Failure::message(
            Exit::Refused,
            "stopped, nothing was changed",
        ))
    }
}

impl Reporter for Terminal {
    fn status(&self, line: &str) {
        Self::status(self, line);
    }

    fn warn(&self, line: &str) {
        Self::warn(self, line);
    }

    fn progress(&self) -> Arc<dyn Progress> {
        Self::progress(self)
    }
}

fn terminal_width() -> Option<u16> {
    comfy_table::Table::new().width()
}
