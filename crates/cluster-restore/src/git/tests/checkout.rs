//! Tests of what is read from a commit or a folder, and in which limits.

use super::*;

/// Reads a folder of files like a checkout of the cluster `mgmt`, without kustomize.
async fn checked_out(tree: &Path, most: ReadLimits) -> Result<DocumentSet, GitError> {
    let place = documents::CheckoutFolders {
        home: tree,
        tree,
        root: tree,
        without: None,
    };
    documents::read(place, most).await
}

fn files(tree: &Path, all: &[(&str, String)]) {
    for (file, text) in all {
        let file = tree.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
}

fn team(name: &str) -> String {
    json!({ "apiVersion": "a.io/v1", "kind": "Team", "metadata": { "name": name } }).to_string()
}

#[tokio::test]
async fn as_much_is_read_as_a_mirror_writes() {
    assert_eq!(
        (ReadLimits::ALL.objects, ReadLimits::ALL.bytes),
        (MAX_OBJECTS, MAX_TEXT)
    );
    const { assert!(tree::MAX_FILES >= MAX_OBJECTS && tree::MAX_BYTES >= MAX_TEXT) };
    let tree = tempfile::tempdir().unwrap();
    for n in 0..20_001 {
        files(
            tree.path(),
            &[(&format!("{}/{n}.yaml", n % 50), "# nothing\n".to_owned())],
        );
    }
    checked_out(tree.path(), ReadLimits::ALL).await.unwrap();

    let tree = tempfile::tempdir().unwrap();
    let three = ["a", "b", "c"].map(|n| (format!("{n}.yaml"), team(n)));
    for (file, text) in &three {
        files(tree.path(), &[(file, text.clone())]);
    }
    let bytes = three.iter().map(|(_, text)| text.len()).sum::<usize>();
    let bytes = u64::try_from(bytes).unwrap();
    let most = ReadLimits { objects: 3, bytes };
    assert_eq!(
        checked_out(tree.path(), most)
            .await
            .unwrap()
            .documents
            .len(),
        3
    );
    for most in [
        ReadLimits { objects: 2, bytes },
        ReadLimits {
            objects: 3,
            bytes: bytes - 1,
        },
    ] {
        let refused = checked_out(tree.path(), most).await.err().unwrap();
        assert!(matches!(refused, GitError::TooMuch { .. }), "{refused}");
    }
}

#[tokio::test]
async fn what_an_export_did_not_write_is_not_gone() {
    let path = |name: &str| ObjectPath {
        resource: "teams.a.io".into(),
        namespace: None,
        name: name.to_owned(),
    };
    let folder = std::env::temp_dir();
    let mut archive = ObjectSpool::create(&folder, 0).unwrap();
    for name in ["written", "taken-out", "failed", "never"] {
        archive.add(&path(name), team(name).as_bytes()).unwrap();
    }
    let select = Selection::new(&Options::default(), &[]).unwrap();
    let item = |name: &str| {
        format!("{{apiVersion: a.io/v1, kind: Team, name: {name}, path: {name}.yaml}}")
    };
    let report = |more: &str| {
        let (written, out) = (item("written"), item("taken-out"));
        format!(
            "captured: [{written}, {out}]\ndiscoveryFailures:\n- {{group: a.io, kind: Team, name: failed, \
             error: forbidden}}\n- {{group: a.io, kind: Team, name: new, error: forbidden}}\n{more}"
        )
    };
    for (report, doubt) in [
        (None, false),
        (Some(report("")), false),
        (
            Some(report(
                "- {group: b.io, kind: Other, name: x, error: gone}\n",
            )),
            true,
        ),
        (
            Some(report(
                "kustomizationObservations:\n- {name: x, skipped: true, skipReason: new}\n",
            )),
            true,
        ),
        (Some("captured: [\n".to_owned()), true),
    ] {
        let tree = tempfile::tempdir().unwrap();
        files(
            tree.path(),
            &[
                ("written.yaml", team("written")),
                ("values.yaml", "replicas: 1\n".to_owned()),
            ],
        );
        if let Some(report) = &report {
            files(tree.path(), &[("coverage.yaml", report.clone())]);
        }
        let mut read = checked_out(tree.path(), ReadLimits::ALL).await.unwrap();
        let kinds = kinds::Kinds::new(&archive, &read, None).unwrap();
        let mut findings = std::mem::take(&mut read.findings);
        let laid = overlay::overlay_spool(&archive, &read, &kinds, &select, &folder, &mut findings)
            .unwrap();
        assert_eq!(
            laid.doubted().is_some(),
            doubt,
            "{report:?}: {:?}",
            laid.doubted()
        );
        let told = |cause: &str, name: &str| {
            let found = findings.iter().filter(|f| f.cause.contains(cause));
            let mut found = found.filter(|f| f.cause.contains(name) || f.object.contains(name));
            found.next().is_some()
        };
        let understood = report.as_ref().is_some_and(|r| r.contains("taken-out"));
        // Whatever Git contains, nothing of the archive is lost.
        assert_eq!(laid.entries().len(), 4);
        assert_eq!(told("in the archive, not in Git", "failed"), !understood);
        assert_eq!(
            told("written by Butler's export, and not read", "taken-out"),
            understood
        );
        assert_eq!(told("export did not write", "never"), understood);
        assert_eq!(
            told("the export could not read it: forbidden", "failed"),
            understood
        );
        // An object that is newer than the archive, and that the export could not read.
        assert_eq!(laid.holds(&path("new")), understood);
        assert!(!laid.holds(&path("of-others")));
    }
}

#[tokio::test]
async fn a_folder_is_read_without_its_settings_and_in_all_its_forms() {
    let home = tempfile::tempdir().unwrap();
    let (fleet, mark) = (home.path().join("fl\"eet"), home.path().join("mark"));
    let own = async |folder: &Path, args: &[&str]| {
        let mut git = runner::git(folder);
        git.args([
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "-c",
            "safe.directory=*",
        ])
        .args(args);
        runner::run(git, "prepare", CallLimits::LOCAL)
            .await
            .unwrap()
    };
    files(
        &fleet,
        &[
            ("clusters/management/a.yaml", team("a")),
            (".gitattributes", "* filter=x\n".to_owned()),
        ],
    );
    own(&fleet, &["init", "--quiet", "--initial-branch=main"]).await;
    own(&fleet, &["add", "."]).await;
    own(&fleet, &["commit", "--quiet", "-m", "one"]).await;
    own(
        &fleet,
        &["worktree", "add", "--quiet", "-b", "side", "../linked"],
    )
    .await;
    own(&fleet, &["clone", "--quiet", "--bare", ".", "../bare.git"]).await;
    let program = format!("touch {}", mark.display());
    for setting in [
        "filter.x.clean",
        "filter.x.smudge",
        "core.fsmonitor",
        "core.sshCommand",
    ] {
        own(&fleet, &["config", setting, &program]).await;
    }
    files(&fleet, &[("clusters/management/a.yaml", team("b"))]);
    let cluster = "mgmt".parse().unwrap();
    let take = async |repository: String| {
        let source = GitSource::parse(&repository);
        source
            .checkout(&cluster, home.path(), &Proxies::default())
            .await
    };
    let shown = |name: &str| home.path().join(name).display().to_string();
    let head = own(&fleet, &["rev-parse", "HEAD"]).await;
    let head = String::from_utf8(head).unwrap().trim().to_owned();
    for (repository, changed) in [
        (shown("fl\"eet"), 1),
        (shown("fl\"eet") + "#main", 1),
        (shown("fl\"eet") + "#" + &head, 1),
        (format!("file://{}", shown("linked")), 0),
        (shown("linked") + "#side", 0),
        (shown("bare.git"), 0),
    ] {
        let taken = take(repository.clone()).await.unwrap();
        assert_eq!(
            (&taken.commit, taken.path.as_str()),
            (&head, BUTLERS),
            "{repository}"
        );
        assert_eq!(
            taken.findings.len(),
            changed,
            "{repository}: {:?}",
            taken.findings
        );
        let file = taken.root().join("a.yaml");
        assert_eq!(
            std::fs::read_to_string(file).unwrap(),
            team("a"),
            "{repository}"
        );
    }
    assert!(!mark.exists(), "a program of the repository ran");
    let none = take(shown("")).await.unwrap_err().to_string();
    assert!(none.contains("find a repository in"), "{none}");
}

#[tokio::test]
async fn a_commit_that_is_too_large_is_not_written() {
    let home = tempfile::tempdir().unwrap();
    let (fleet, into) = (home.path().join("fleet"), home.path().join("into"));
    files(
        &fleet,
        &[
            ("a.yaml", "a: b\n".repeat(40)),
            ("b.yaml", "a: b\n".to_owned()),
        ],
    );
    for args in [
        &["init", "--quiet"][..],
        &["add", "."],
        &[
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@b",
            "commit",
            "--quiet",
            "-m",
            "one",
        ],
    ] {
        let mut git = runner::git(&fleet);
        git.args(args);
        runner::run(git, "prepare", CallLimits::LOCAL)
            .await
            .unwrap();
    }
    let own = home.path().join("git");
    let commit = commit::borrow(&own, &fleet, "HEAD").await.unwrap();
    for (most, what) in [
        (
            tree::TreeLimits {
                files: 1,
                bytes: 1000,
            },
            "1 files",
        ),
        (
            tree::TreeLimits {
                files: 2,
                bytes: 204,
            },
            "204 bytes of files",
        ),
    ] {
        let refused = tree::write(&commit, "fleet", &into, most)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains(what), "{refused}");
        assert!(!into.exists());
    }
    let most = tree::TreeLimits {
        files: 2,
        bytes: 205,
    };
    tree::write(&commit, "fleet", &into, most).await.unwrap();
    assert_eq!(into.join("b.yaml").metadata().unwrap().len(), 5);
}
