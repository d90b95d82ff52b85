use super::*;

#[test]
fn a_path_stays_one_word_of_the_shell_and_of_ssh() {
    let access = Access {
        ssh_key: Some("/a b/it's 5%".into()),
        known_hosts: Some("/hosts".into()),
        ..Access::default()
    };
    let all = command(&access);
    let end = " -o 'IdentityFile=\"/a b/it'\\''s 5%%\"' -o 'UserKnownHostsFile=\"/hosts\"'";
    assert!(all.ends_with(end), "{all}");
    assert!(all.contains("BatchMode=yes") && all.contains("StrictHostKeyChecking=yes"));
    // Without key and hosts, nothing of the user who runs this is used.
    let none = command(&Access::default());
    let end = " -o 'IdentityFile=\"none\"' -o 'UserKnownHostsFile=\"/dev/null\"'";
    assert!(none.ends_with(end), "{none}");
    check_path(Path::new("/a b/it's 5%")).unwrap();
    for odd in ["/a\"b", "/a\\b", "/${HOME}/key", "/a\nb"] {
        assert_eq!(check_path(Path::new(odd)), Err(SshFileError::Name), "{odd}");
    }
}

#[test]
fn a_key_is_private_and_without_a_passphrase() {
    let text = |bytes: &'static [u8]| std::str::from_utf8(bytes).unwrap();
    check_key(text(include_bytes!(
        "../../../../backup-core/tests/fixtures/ssh/ed25519"
    )))
    .unwrap();
    check_key(text(include_bytes!(
        "../../../../backup-core/tests/fixtures/ssh/rsa"
    )))
    .unwrap();
    let protected = text(include_bytes!(
        "../../../../backup-core/tests/fixtures/ssh/protected"
    ));
    assert_eq!(check_key(protected), Err(SshFileError::Passphrase));
    let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n";
    assert_eq!(check_key(old), Err(SshFileError::Passphrase));
    for none in [
        include_str!("../../../../backup-core/tests/fixtures/ssh/ed25519.pub"),
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n!\n-----END OPENSSH PRIVATE KEY-----\n",
    ] {
        assert_eq!(check_key(none), Err(SshFileError::NoKey), "{none}");
    }
}

#[test]
fn what_ssh_says_is_told_as_what_to_do() {
    let access = Access {
        ssh_key: Some("/k/key".into()),
        known_hosts: Some("/k/hosts".into()),
        ..Access::default()
    };
    let told = |repository: &str, said: &str| {
        let (what, said) = ("push".to_owned(), said.to_owned());
        explain(repository, &access, GitError::Failed { what, said }).to_string()
    };
    let changed = "Host key for [h]:22 has changed and you have requested strict checking.; \
                   Host key verification failed.";
    let changed = told("ssh://git@h:2222/fleet.git", changed);
    for part in [
        "h (port 2222)",
        "another key than /k/hosts",
        "ssh-keyscan -p 2222 h",
    ] {
        assert!(changed.contains(part), "{part}: {changed}");
    }
    let unknown = "No ED25519 host key is known for h; Host key verification failed.";
    let unknown = told("git@h:fleet.git", unknown);
    assert!(unknown.contains("/k/hosts has no key for it"), "{unknown}");
    let denied = told("git@h:fleet.git", "git@h: Permission denied (publickey).");
    assert!(
        denied.contains("ssh-keygen -y -f /k/key") && denied.contains("`git`"),
        "{denied}"
    );
    let open = "Load key \"/k/key\": bad permissions; git@h: Permission denied (publickey).";
    let open = told("git@h:fleet.git", open);
    assert!(open.contains("`chmod 600 /k/key`"), "{open}");
    // An unknown error stays as it is, and so does an error that is not from ssh.
    assert_eq!(told("git@h:fleet.git", "no route"), "cannot push: no route");
    let web = told("https://h/fleet.git", "Permission denied (x)");
    assert_eq!(web, "cannot push: Permission denied (x)");
}

#[test]
fn the_host_is_taken_out_of_an_address() {
    for (address, shown) in [
        ("ssh://git@git.example.org/fleet.git", "git.example.org"),
        (
            "ssh://git.example.org:2222/~/a@b.git",
            "git.example.org (port 2222)",
        ),
        ("ssh://git@[::1]:2222/fleet.git", "::1 (port 2222)"),
        ("ssh://git@[::1]/fleet.git", "::1"),
        ("git@git.example.org:a/b:c.git", "git.example.org"),
        ("git@[::1]:fleet.git", "::1"),
    ] {
        assert_eq!(Host::of(address).unwrap().shown(), shown, "{address}");
    }
    for other in [
        "https://git.example.org/fleet.git",
        "/a/b.git",
        "a/b:c",
        "file:///a",
    ] {
        assert_eq!(Host::of(other), None, "{other}");
    }
}
