//! Tests of `restore-cli` as a process: exit codes, signals, pipes, stdout and stderr.

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};

use assert_cmd::cargo::cargo_bin;
use tempfile::TempDir;

/// Returns the command `restore-cli` without this machine's environment.
fn restore_cli(args: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("restore-cli"));
    command.env_clear().stdin(Stdio::null()).args(args);
    command
}

fn run(args: &[&str]) -> Output {
    restore_cli(args).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn url(folder: &TempDir) -> String {
    format!("file://{}", folder.path().display())
}

#[test]
fn an_empty_store_lists_nothing_and_has_no_latest() {
    let folder = TempDir::new().unwrap();
    let store = url(&folder);
    let reading = ["--store", &store, "--trust", "none"];
    let output = run(&[&["list", "--output", "json"], &reading[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["version"], 1);
    assert_eq!(list["restorePoints"], serde_json::json!([]));
    assert!(stderr(&output).contains("warning: signatures are not checked"));

    for command in ["show", "verify"] {
        let output = run(&[&[command, "latest"], &reading[..]].concat());
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        assert!(output.stdout.is_empty());
        assert!(
            stderr(&output).contains("has no restore point `latest`"),
            "{output:?}"
        );
    }
    let output = run(&[&["audit"], &reading[..]].concat());
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("no restore point")
    );
}

#[test]
fn nothing_that_is_told_steers_the_terminal() {
    let hostile = "a\u{1b}[2J\u{1b}]0;title\u{7}b\u{9b}1Agr\u{202e}nepo\u{200f}\u{2066}";
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join(hostile);
    let store = format!("file://{}", missing.display());
    for log in ["text", "json"] {
        for form in ["table", "json", "yaml"] {
            let output = run(&[
                "list",
                "--store",
                &store,
                "--trust",
                "none",
                "--output",
                form,
                "--log-level",
                "trace",
                "--log-format",
                log,
            ]);
            assert_ne!(output.status.code(), Some(0));
            let told = stderr(&output);
            assert!(told.contains("error: "), "{told}");
            let steers =
                |c: char| (c.is_control() && c != '\n') || "\u{202e}\u{200f}\u{2066}".contains(c);
            assert!(!told.contains(steers), "{told:?}");
        }
    }
}

#[test]
fn what_cannot_be_done_has_its_own_code() {
    let folder = TempDir::new().unwrap();
    let store = url(&folder);
    let gone = format!("{store}/gone");
    let file = folder.path().join("there");
    std::fs::write(&file, "precious").unwrap();
    let file = file.to_str().unwrap();
    let reading = ["--trust", "none", "--store"];
    for (args, code, told) in [
        (&["list"][..], 2, "2 problems"),
        (
            &["list", "--store", &store],
            2,
            "whose signatures to believe",
        ),
        (
            &["list", "--store", "http://x", "--trust", "none"],
            2,
            "--store: store URL",
        ),
        (&["list", "--trust", "none", "--store", &gone], 1, "gone"),
        (
            &[
                &["fetch", "latest", "--component", "etcd", "--to", file],
                &reading[..],
                &[&store],
            ]
            .concat(),
            6,
            "confirm it with --force",
        ),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?} {output:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(
            stderr(&output).contains(told),
            "{args:?} {}",
            stderr(&output)
        );
    }
    assert_eq!(std::fs::read(file).unwrap(), b"precious");
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let folder = TempDir::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = restore_cli(&[
        "list",
        "--quiet",
        "--trust",
        "none",
        "--store",
        &url(&folder),
    ])
    .stdout(writer)
    .output()
    .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(!stderr(&output).contains("error"), "{output:?}");
}

#[test]
fn ctrl_c_ends_it_with_130() {
    // A server that accepts the connection and never answers.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let store = format!(
        "s3://bucket/prefix?endpoint=http://{}&region=r&path-style=true",
        server.local_addr().unwrap()
    );
    let child = restore_cli(&["list", "--trust", "none", "--store", &store])
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let connection = server.accept().unwrap();
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(output.stdout.is_empty());
    assert!(
        stderr(&output).contains("interrupted; nothing is left half-written"),
        "{output:?}"
    );
    drop(connection);
}
