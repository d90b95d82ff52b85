//! Logger that writes to stderr, with levels by module, as text or JSON lines.

use std::io;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry};

use crate::clean;
use crate::terminal::Terminal;

/// Module of the Kubernetes client that logs errors which the client also returns.
const NOISY: &str = "kube_client::client::builder";

/// Log level, or levels by module, as in `info,backup_core::store=debug`.
#[derive(Debug, Clone, PartialEq)]
pub struct LogLevel(Targets);

impl LogLevel {
    /// Returns the level `info`, which logs the daemon's work step by step.
    #[must_use]
    pub fn info() -> Self {
        Self(Targets::new().with_default(LevelFilter::INFO))
    }
}

/// Error for text that is not a log level.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{text}` is not a log level: want off, error, warn, info, debug or trace, or such levels by \
     module as in `info,backup_core::store=debug`"
)]
pub struct ParseLogLevelError {
    text: String,
}

impl FromStr for LogLevel {
    type Err = ParseLogLevelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseLogLevelError {
            text: text.to_owned(),
        };
        // The library takes an unknown word for a module name; here it is a misspelt level.
        for part in text.split(',') {
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            match level.trim().parse::<LevelFilter>() {
                Ok(_) if !level.trim().is_empty() => {}
                _ => return Err(error()),
            }
        }
        text.parse().map(Self).map_err(|_| error())
    }
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging to stderr. Only the first call has an effect.
pub fn start(level: &LogLevel, format: LogFormat, terminal: &Terminal) {
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(LogWriter {
            terminal: terminal.clone(),
            format,
        })
        .with_ansi(terminal.stderr_is_terminal());
    let layer = match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().boxed(),
    };
    // The Kubernetes client logs every failed request as an error, even if it is tried again; we report our
    // own errors.
    let level = level.0.clone().with_target(NOISY, LevelFilter::OFF);
    // A second start in one process, as in tests, keeps the first.
    drop(
        Registry::default()
            .with(layer.with_filter(level))
            .try_init(),
    );
}

struct LogWriter {
    terminal: Terminal,
    format: LogFormat,
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        LogLine(self)
    }
}

struct LogLine<'a>(&'a LogWriter);

impl io::Write for LogLine<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(buf);
        let text = match self.0.format {
            LogFormat::Text if self.0.terminal.stderr_is_terminal() => clean::coloured(&text),
            LogFormat::Text => clean::lines(&text),
            LogFormat::Json => clean::json(&text),
        };
        self.0.terminal.log(text.as_bytes())?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_levels_are_refused() {
        for good in [
            "info",
            "WARN",
            "off",
            "info,backup_core::store=debug",
            "backupd=trace",
        ] {
            assert!(good.parse::<LogLevel>().is_ok(), "{good}");
        }
        for bad in ["", "verbose", "info,verbose", "backup_core=loud", "=,"] {
            assert!(bad.parse::<LogLevel>().is_err(), "{bad}");
        }
    }
}
