//! What is compiled in: one TLS, and it is not OpenSSL.

use std::process::Command;

#[test]
fn there_is_no_openssl_and_no_second_cryptography() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--workspace",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args([
            "--format",
            "{p}",
            "--target",
            "all",
            "--offline",
            "--locked",
        ])
        .current_dir(e2e::paths::workspace())
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names: Vec<_> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    for wanted in ["rustls", "ring", "backup-core"] {
        assert!(names.contains(&wanted), "{wanted} is not in:\n{tree}");
    }
    for unwanted in [
        "openssl",
        "openssl-sys",
        "native-tls",
        "aws-lc-rs",
        "aws-lc-sys",
    ] {
        assert!(
            !names.contains(&unwanted),
            "{unwanted} is in the tree: `cargo tree -i {unwanted}`"
        );
    }
}
