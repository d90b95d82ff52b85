//! Tests that nothing that a test started outlives the test's process.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::process::{Process, Program, Signal};
use e2e::{Folder, wait};

const LIMIT: Duration = Duration::from_secs(30);

/// Variable for the copy of this test that starts a program and is killed.
const CHILD_FOLDER: &str = "LAB_TEST_CHILD_FOLDER";

fn sleeper(folder: &Path) -> Result<Process> {
    Process::start(&Program {
        name: "sleeper",
        path: Path::new("sleep"),
        args: vec!["600".to_owned()],
        env: Vec::new(),
        folder,
    })
}

fn runs(pid: u32) -> bool {
    Command::new("kill")
        .args(["-0", &pid.to_string()])
        .output()
        .is_ok_and(|out| out.status.success())
}

async fn gone(pid: u32) -> Result<()> {
    wait::until("the end of the program", LIMIT, async || {
        ensure!(!runs(pid), "{pid} still runs");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_program_ends_with_its_handle() -> Result<()> {
    let folder = Folder::new()?;
    let process = sleeper(folder.path())?;
    let pid = process.pid().await?;
    assert!(runs(pid));
    drop(process);
    assert!(!runs(pid));
    Ok(())
}

#[tokio::test]
async fn a_frozen_program_ends_with_its_handle_too() -> Result<()> {
    let folder = Folder::new()?;
    let mut process = sleeper(folder.path())?;
    let pid = process.pid().await?;
    process.signal(Signal::Stop)?;
    drop(process);
    assert!(!runs(pid));
    Ok(())
}

#[tokio::test]
async fn a_program_that_ends_early_is_reported_with_its_last_words() -> Result<()> {
    let folder = Folder::new()?;
    let mut process = Process::start(&Program {
        name: "failing",
        path: Path::new("sh"),
        args: vec![
            "-c".to_owned(),
            "echo the disk is made of cheese; exit 3".to_owned(),
        ],
        env: Vec::new(),
        folder: folder.path(),
    })?;
    let error = process
        .ready(LIMIT, async || anyhow::bail!("not yet"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("made of cheese") && text.contains("exit status: 3"),
        "{text}"
    );
    Ok(())
}

#[tokio::test]
#[ignore = "the half of a_program_ends_with_a_killed_test that is killed"]
async fn child_that_is_killed() -> Result<()> {
    let folder = std::env::var_os(CHILD_FOLDER).context("only its other half runs this")?;
    let folder = std::path::PathBuf::from(folder);
    let _process = sleeper(&folder)?;
    tokio::time::sleep(Duration::from_secs(600)).await;
    Ok(())
}

#[tokio::test]
async fn a_program_ends_with_a_killed_test() -> Result<()> {
    let folder = Folder::new()?;
    let mut test = Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact", "lab::death::child_that_is_killed"])
        .env(CHILD_FOLDER, folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()?;
    let pid_file = folder.join("sleeper.pid");
    let pid: u32 = wait::until("the start of the program", LIMIT, async || {
        std::fs::read_to_string(&pid_file)?
            .trim()
            .parse()
            .context("half a pid")
    })
    .await?;
    assert!(runs(pid));
    test.kill()?; // SIGKILL
    test.wait()?;
    gone(pid).await
}

#[test]
fn the_folder_of_a_live_process_is_known_as_such() -> Result<()> {
    let folder = Folder::new()?;
    assert!(e2e::folder::is_alive(folder.path()));
    let path = folder.path().to_owned();
    drop(folder);
    assert!(!path.exists() && !e2e::folder::is_alive(&path));
    Ok(())
}
