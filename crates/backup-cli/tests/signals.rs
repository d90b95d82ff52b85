//! Tests for signals to a process whose work never waits. The process is this test's own program, run again.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot start has failed"
)]
use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use backup_cli::flags::CommonFlags;
use backup_cli::program;
use clap::Parser;

/// Time limit: far more than the test should take, far less than the grace time.
const LIMIT: Duration = Duration::from_secs(12);

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    common: CommonFlags,
}

/// Does the work that the environment names, as the child process of the other tests.
#[test]
fn the_other_process() {
    let Ok(work) = std::env::var("SIGNALS_TEST") else {
        return;
    };
    let flags = Flags::parse_from(["test"]).common;
    let ended = program::run(&flags, |frame| async move {
        if work == "mute" {
            // Writes more than the pipe holds, and nobody reads from it.
            loop {
                frame.terminal.warn(&"begun ".repeat(10_000));
            }
        }
        frame.terminal.warn("begun");
        if work == "waits" {
            frame.cancel.cancelled().await;
            return std::future::pending().await;
        }
        loop {
            std::hint::spin_loop();
        }
    });
    panic!("the command ended: {ended:?}");
}

fn start(work: &str) -> Child {
    let mut other = Command::new(std::env::current_exe().unwrap());
    other.args(["--exact", "the_other_process", "--nocapture"]);
    other.env("SIGNALS_TEST", work);
    other.stdout(Stdio::null()).stderr(Stdio::piped());
    other.spawn().unwrap()
}

fn signal(child: &Child) {
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
}

/// Interrupts the process twice, and returns its exit code and the rest of its stderr.
fn interrupted_twice(mut child: Child) -> (Option<i32>, String) {
    signal(&child);
    std::thread::sleep(Duration::from_secs(1));
    assert!(
        child.try_wait().unwrap().is_none(),
        "it did not wait for its work"
    );
    signal(&child);
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("it did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut said).unwrap();
    (status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Waits for the first word of the process.
fn until_begun(child: &mut Child) {
    let stderr = child.stderr.as_mut().unwrap();
    let mut first = [0; 5];
    stderr.read_exact(&mut first).unwrap();
}

#[test]
fn a_second_ctrl_c_ends_work_that_never_waits() {
    for work in ["waits", "spins"] {
        let mut child = start(work);
        until_begun(&mut child);
        let (code, said) = interrupted_twice(child);
        // Work that waits is dropped, and the command ends with its code.
        let dropped = work == "waits" && said.contains("unix_exit_status(130)");
        assert!(dropped || code == Some(130), "{work}: {code:?}: {said}");
        assert!(said.contains("once more stops at once"), "{work}: {said}");
        assert!(said.contains("error: interrupted"), "{work}: {said}");
    }
}

#[test]
fn a_second_ctrl_c_ends_a_process_whose_stderr_nobody_reads() {
    let mut child = start("mute");
    until_begun(&mut child);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(interrupted_twice(child).0, Some(130));
}
