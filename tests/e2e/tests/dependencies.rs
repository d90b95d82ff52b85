//! Test of the compiled dependencies: one TLS, and it is not OpenSSL.
/// The lock file names everything that any target and any feature may bring, and reading it needs no network.
#[test]
fn there_is_no_openssl_and_no_second_cryptography() {
    let lock = std::fs::read_to_string(e2e::paths::workspace().join("Cargo.lock")).unwrap();
    let names: Vec<_> = lock
        .lines()
        .filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
        .collect();
    for wanted in ["rustls", "ring", "backup-core"] {
        assert!(names.contains(&wanted), "{wanted} is not in Cargo.lock");
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
            "{unwanted} is in Cargo.lock: `cargo tree -i {unwanted}`"
        );
    }
}
