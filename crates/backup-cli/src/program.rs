//! Frame that every command runs in: logs, signals, errors and the exit code.

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

/// Time that work may take to end after a signal: enough for the objects in flight.
pub const GRACE: Duration = Duration::from_secs(20);
/// Time that blocking work may take to end after that: one object compressed, one buffer written.
const WIND_DOWN: Duration = Duration::from_secs(5);
/// Time that the process may take to end on its own after `drops` is cancelled.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Time that stderr may take for one message.
const TELL: Duration = Duration::from_millis(500);

/// Inputs of a command.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Terminal for its output.
    pub terminal: Terminal,
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// Environment of the process.
    pub environment: Environment,
    /// Token that Ctrl-C or SIGTERM cancels.
    pub cancel: CancellationToken,
}

impl Frame {
    /// Runs `work`, which only waits and reads, and ends it as soon as the command is cancelled. Work that
    /// writes takes [`Frame::cancel`] itself and cleans up.
    ///
    /// # Errors
    /// Returns the errors of `work`, and [`Exit::Interrupted`].
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

/// Runs one command to its end, or until Ctrl-C or SIGTERM, and returns the process's exit code.
///
/// A signal cancels the command and gives it some seconds to end. A second signal, or the end of those
/// seconds, drops the command where it waits, and ends the process if it does not wait at all. Even then
/// nothing is left half-written: objects are put whole, the manifest comes last, and files get their name
/// when they are complete.
pub fn run<C, F>(flags: &CommonFlags, command: C) -> ExitCode
where
    C: FnOnce(Frame) -> F,
    F: Future<Output = Result<Exit, Failure>>,
{
    run_within(flags, GRACE, command)
}

/// Runs one command as [`run`] does, with `grace` as the time that it may take to end after a signal.
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
                    // Success in spite of the signal stays a success; any error becomes an interruption.
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

/// Size of a thread's stack; only the used part takes memory. Objects are nested down to
/// [`backup_core::archive::MAX_DEPTH`] levels, and each level takes some stack.
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

/// Starts listening for signals. The first signal cancels `cancel`. The second signal, or the end of `grace`,
/// cancels `drops`; if the process does not end then, it is ended.
///
/// The listener has its own thread and runtime. Work that never waits, or that waits for a stderr which
/// nobody reads, blocks only its own threads.
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

/// Writes `text` to stderr, and gives up after [`TELL`].
fn tell(terminal: &Terminal, text: String) {
    let (told, wait) = std::sync::mpsc::channel();
    let terminal = terminal.clone();
    let thread = std::thread::Builder::new().spawn(move || {
        terminal.clear();
        terminal.stderr(&text);
        // The receiver may have stopped waiting.
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

/// Signals that ask the process to end. After `listen` they no longer kill it at once.
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

    /// Waits for the next signal and returns its name.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
