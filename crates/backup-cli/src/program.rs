//! The frame that every command runs in: logs, signals, errors and the exit code.

use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use backup_core::clock::{Clock, SystemClock};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::flags::CommonFlags;
use crate::logging;
use crate::terminal::Terminal;

/// How long work may take to end after it was asked to: enough for the objects in flight.
pub const GRACE: Duration = Duration::from_secs(20);
/// How long blocking work may take to end after that: one object compressed, one buffer written.
const WIND_DOWN: Duration = Duration::from_secs(5);
/// How long the process may take to end by itself once it is to end at once.
const AT_ONCE: Duration = Duration::from_secs(1);
/// How long stderr may take for one message.
const TELL: Duration = Duration::from_millis(500);

/// What a command is given.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Where it prints.
    pub terminal: Terminal,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What the environment says.
    pub environment: Environment,
    /// Cancelled by Ctrl-C or SIGTERM.
    pub cancel: CancellationToken,
}

impl Frame {
    /// Ends `work`, which only waits and reads, as soon as the command is cancelled. Work that
    /// writes takes [`Frame::cancel`] itself and cleans up.
    ///
    /// # Errors
    /// Those of `work`, and [`Exit::Interrupted`].
    pub async fn or_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            ended = work => ended,
            () = self.cancel.cancelled() => Err(interrupted()),
        }
    }
}

fn interrupted() -> Failure {
    Failure::message(
        Exit::Interrupted,
        "interrupted; nothing is left half-written",
    )
}

/// Runs one command to its end, or until Ctrl-C or SIGTERM, and gives the process's exit code.
///
/// A signal cancels the command and gives it some seconds to end; a second one, or the end of
/// those seconds, drops it where it waits, and ends the process if it does not wait at all. That too
/// leaves nothing half-written: objects are put whole, the manifest comes last, and files get their name
/// when they are complete.
pub fn run<C, F>(flags: &CommonFlags, command: C) -> ExitCode
where
    C: FnOnce(Frame) -> F,
    F: Future<Output = Result<Exit, Failure>>,
{
    run_within(flags, GRACE, command)
}

/// The same with another time that the command may take to end after a signal.
pub fn run_within<C, F>(flags: &CommonFlags, grace: Duration, command: C) -> ExitCode
where
    C: FnOnce(Frame) -> F,
    F: Future<Output = Result<Exit, Failure>>,
{
    let terminal = Terminal::of_process(flags.output, flags.quiet);
    logging::start(&flags.log_level, flags.log_format, &terminal);
    // A command may cancel its own work. Only a signal makes its error an interruption.
    let (signalled, drops) = (CancellationToken::new(), CancellationToken::new());
    let frame = Frame {
        terminal: terminal.clone(),
        clock: Arc::new(SystemClock),
        environment: Environment::of_process(),
        cancel: signalled.child_token(),
    };
    let ended =
        heed_signals(signalled.clone(), drops.clone(), terminal.clone(), grace).and_then(|()| {
            in_runtime(async {
                let mut work = pin!(command(frame));
                tokio::select! {
                    // What was done in spite of the signal is done; anything else was interrupted.
                    ended = &mut work => ended.map_err(|failure| match failure.exit() {
                        Exit::Interrupted => failure,
                        _ if signalled.is_cancelled() => failure.because_of(Exit::Interrupted),
                        _ => failure,
                    }),
                    () = drops.cancelled() => Err(interrupted()),
                }
            })
        });
    terminal.clear();
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            terminal.stderr(&failure.text());
            failure.exit().into()
        }
    }
}

/// A thread's stack, of which only what is used takes memory. Objects are nested down to
/// [`backup_core::archive::MAX_DEPTH`] levels, and each level takes some of it.
const STACK: usize = 8 << 20;

fn in_runtime<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK)
        .enable_all()
        .build()
        .context("start the threads that do the work")?;
    let ended = runtime.block_on(work);
    runtime.shutdown_timeout(WIND_DOWN);
    ended
}

/// Listens for signals from here on. The first cancels `cancel`; with the second, or when `grace` is over,
/// `drops` is cancelled, and the process ended if that does not end it.
///
/// This has a thread and a runtime of its own: work that never waits, or waits for a stderr that nobody
/// reads, holds up its own threads and not this one.
fn heed_signals(
    cancel: CancellationToken,
    drops: CancellationToken,
    terminal: Terminal,
    grace: Duration,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the thread that listens for signals")?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::listen()?
    };
    let heed = async move {
        let name = signals.next().await;
        cancel.cancel();
        tell(
            &terminal,
            format!("warning: {name}: stopping; once more stops at once"),
        );
        tokio::select! {
            _ = signals.next() => {}
            () = tokio::time::sleep(grace) => {}
        }
        drops.cancel();
        tokio::select! {
            _ = signals.next() => {}
            () = tokio::time::sleep(AT_ONCE) => {}
        }
        tell(&terminal, interrupted().text());
        end(Exit::Interrupted);
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    let thread = thread.spawn(move || runtime.block_on(heed));
    thread.context("start the thread that listens for signals")?;
    Ok(())
}

/// Says `text` on stderr, if that takes it.
fn tell(terminal: &Terminal, text: String) {
    let (told, wait) = std::sync::mpsc::channel();
    let terminal = terminal.clone();
    let thread = std::thread::Builder::new().spawn(move || {
        terminal.clear();
        terminal.stderr(&text);
        // Nobody waits any more.
        told.send(()).ok();
    });
    if thread.is_ok() {
        wait.recv_timeout(TELL).ok();
    }
}

/// Ends the process, whatever its threads do.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "work that does not yield is ended in no other way"
)]
fn end(exit: Exit) {
    std::process::exit(exit.code().into());
}

/// The signals that ask the process to end. From here on they no longer kill it at once.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listen for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
        })
    }

    /// The name of the next one.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
