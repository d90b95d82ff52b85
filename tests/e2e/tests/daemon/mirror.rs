//! The Git mirror: real `git` on both sides, and a host that wants a token.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::Folder;
use e2e::butler::define;
use e2e::etcd::Etcd;
use e2e::git::{GitHost, everything, git};
use e2e::kube_apiserver::KubeApiserver;
use e2e::wait::until;
use http::StatusCode;
use serde_json::{Value, json};

use super::bed::Bed;
use super::running::{Daemon, configure};

const LIMIT: Duration = Duration::from_secs(90);
const API: &str = "/apis/butler.butlerlabs.dev/v1alpha1";
const TEAM: &str = "clusters/management/resources/teams.butler.butlerlabs.dev";
/// A password in the clear, as a DataStore may hold it.
const INLINE: &str = "Y2FuYXJ5LW9mLWEtZGF0YXN0b3Jl";
const TOKEN: &str = "canary-of-the-token-of-git";

struct Cluster {
    bed: Bed,
    folder: Folder,
    server: KubeApiserver,
    _etcd: Etcd,
}

impl Cluster {
    async fn new() -> Result<Self> {
        let bed = Bed::new().await?;
        let folder = Folder::new()?;
        let etcd = Etcd::start(&folder, "etcd-of-the-api").await?;
        let server = KubeApiserver::start(&folder, "kube-apiserver", &etcd).await?;
        until("kube-system", LIMIT, async || {
            let path = "/api/v1/namespaces/kube-system";
            server.read(path).await.map(drop)
        })
        .await?;
        for kind in [
            "teams.butler.butlerlabs.dev",
            "datastores.steward.butlerlabs.dev",
            "sealedsecrets.bitnami.com",
        ] {
            define(&server, kind).await?;
        }
        let cluster = Self {
            bed,
            folder,
            server,
            _etcd: etcd,
        };
        cluster.team("payments", "Payments").await?;
        cluster.team("search", "Search").await?;
        Ok(cluster)
    }

    async fn team(&self, name: &str, shown: &str) -> Result<()> {
        let team = json!({
            "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
            "metadata": {
                "name": name,
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "canary-last-applied",
                    "note": "0644",
                },
            },
            "spec": { "displayName": shown },
        });
        self.server
            .create(&format!("{API}/teams"), &team)
            .await
            .map(drop)
    }

    async fn rename(&self, name: &str, shown: &str) -> Result<()> {
        let path = format!("{API}/teams/{name}");
        let mut team = self.server.read(&path).await?;
        team["spec"]["displayName"] = json!(shown);
        self.server.replace(&path, &team).await.map(drop)
    }

    /// What must not be in Git, and what may.
    async fn secrets(&self) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s", "namespace": "default" },
            "stringData": { "password": "canary-of-a-secret" },
        });
        self.server
            .create("/api/v1/namespaces/default/secrets", &secret)
            .await?;
        let store = json!({
            "apiVersion": "steward.butlerlabs.dev/v1alpha1", "kind": "DataStore",
            "metadata": { "name": "db" },
            "spec": {
                "driver": "PostgreSQL", "endpoints": ["db.example.org:5432"],
                "basicAuth": { "username": { "content": "dXNlcg==" }, "password": { "content": INLINE } },
            },
        });
        self.server
            .create("/apis/steward.butlerlabs.dev/v1alpha1/datastores", &store)
            .await?;
        let sealed = json!({
            "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
            "metadata": { "name": "sealed", "namespace": "default" },
            "spec": {
                "encryptedData": { "password": "AgBsealedsealedsealed" },
                "template": { "data": { "user": "canary-of-a-template" } },
            },
        });
        let path = "/apis/bitnami.com/v1alpha1/namespaces/default/sealedsecrets";
        self.server.create(path, &sealed).await?;
        Ok(())
    }

    fn config(&self, repository: &str) -> String {
        format!(
            "kubernetes: {{ kubeconfig: {} }}\n\
             components:\n  crds: {{ cron: 0 3 29 2 * }}\n  resources: {{ cron: 0 3 29 2 * }}\n\
             git-mirror:\n  repository: {repository}\n  folder: mirror\n{}",
            self.server.kubeconfig().display(),
            if repository.starts_with("http") {
                "  token-file: token\n"
            } else {
                ""
            },
        )
    }

    fn token(&self, token: &str) -> Result<()> {
        let path = self.bed.folder.join("token");
        std::fs::write(&path, token)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(())
    }
}

/// Takes a restore point, and waits until its mirroring has ended; gives its id and the mirror.
async fn mirrored(daemon: &Daemon) -> Result<(String, Value)> {
    let before = daemon.cluster().await?["mirror"].clone();
    let body = r#"{"components":["crds","resources"],"reason":"a\nreason"}"#;
    let (status, text) = daemon.post("", &[], body).await?;
    ensure!(status == StatusCode::OK, "{status}: {text}");
    let last: Value = serde_json::from_str(text.lines().last().context("nothing")?)?;
    let id = last["restorePoint"]
        .as_str()
        .with_context(|| text.clone())?;
    let told = |mirror: &Value| {
        (
            mirror["lastSuccess"].clone(),
            mirror["problem"]["at"].clone(),
        )
    };
    let cluster = daemon
        .until("an end of the mirror", |c| {
            told(&c["mirror"]) != told(&before)
        })
        .await?;
    Ok((id.to_owned(), cluster["mirror"].clone()))
}

async fn show(bare: &Path, what: &str) -> Result<String> {
    Ok(git(bare, &["show", what]).await?.stdout)
}

async fn commits(bare: &Path) -> Result<usize> {
    let count = git(bare, &["rev-list", "--count", "main"]).await?;
    Ok(count.stdout.trim().parse()?)
}

async fn files(bare: &Path) -> Result<Vec<String>> {
    let files = git(
        bare,
        &[
            "diff-tree",
            "-r",
            "--root",
            "--no-commit-id",
            "--name-status",
            "main",
        ],
    );
    Ok(files.await?.stdout.lines().map(ToOwned::to_owned).collect())
}

/// Somebody else's commit on the branch: `text` in `file`.
async fn somebody_else(folder: &Path, bare: &Path, file: &str, text: &str) -> Result<()> {
    let clone: PathBuf = folder.join("clone");
    if !clone.exists() {
        let from = bare.display().to_string();
        git(folder, &["clone", "--quiet", &from, "clone"]).await?;
    }
    git(&clone, &["pull", "--quiet", "--rebase"]).await?;
    let path = clone.join(file);
    std::fs::create_dir_all(path.parent().context("no folder")?)?;
    std::fs::write(&path, text)?;
    git(&clone, &["add", "."]).await?;
    git(&clone, &["commit", "--quiet", "-m", "By hand"]).await?;
    git(&clone, &["push", "--quiet"]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_restore_point_that_changes_something_is_one_commit() -> Result<()> {
    let cluster = Cluster::new().await?;
    cluster.secrets().await?;
    cluster.token(TOKEN)?;
    let folder = cluster.folder.make("git")?;
    let host = GitHost::start(&folder, Some(TOKEN)).await?;
    let bare = host.bare("fleet.git").await?;
    let flags = ["--log-level", "trace"];
    let daemon = Daemon::start(
        &cluster.bed,
        &cluster.config(&host.url("fleet.git")),
        &flags,
    )
    .await?;

    // What was never taken is taken at once.
    let first = daemon
        .until("a first commit", |c| c["mirror"]["commits"] == 1)
        .await?;
    assert_eq!(first["mirror"]["unpushed"], 0, "{first:#}");
    assert!(first["mirror"]["problem"].is_null(), "{first:#}");
    assert_eq!(first["mirror"]["leftOutFields"], 3, "{first:#}");
    assert_eq!(commits(&bare).await?, 1);
    let written = files(&bare).await?;
    for file in [
        format!("A\t{TEAM}/payments.yaml"),
        "A\tclusters/management/crds/teams.butler.butlerlabs.dev.yaml".to_owned(),
        "A\tclusters/management/resources/sealedsecrets.bitnami.com/default/sealed.yaml".to_owned(),
    ] {
        assert!(written.contains(&file), "{file}: {written:?}");
    }
    let custom = |file: &String| {
        file.contains("/crds/") || file.contains("butlerlabs") || file.contains("bitnami")
    };
    assert!(written.iter().all(custom), "{written:?}");
    let team = show(&bare, &format!("main:{TEAM}/payments.yaml")).await?;
    let team: Value = serde_yaml_ng::from_str(&team)?;
    let expected = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
        "metadata": { "name": "payments", "annotations": { "note": "0644" } },
        "spec": { "displayName": "Payments" },
    });
    assert_eq!(team, expected);
    let id = first["mirror"]["restorePoint"].as_str().context("no id")?;
    let message = git(&bare, &["log", "-1", "--format=%an%n%B", "main"])
        .await?
        .stdout;
    for told in [
        "butler-backup\n",
        &format!("Restore point {id}\n"),
        "Cluster: test\n",
        "Reason: schedule, missed and made up for\n",
    ] {
        assert!(message.contains(told), "{told}: {message}");
    }

    // Nothing changed: a restore point, and no commit.
    let (_, mirror) = mirrored(&daemon).await?;
    assert_eq!((commits(&bare).await?, &mirror["commits"]), (1, &json!(1)));

    cluster.rename("payments", "Payments and more").await?;
    let (id, mirror) = mirrored(&daemon).await?;
    assert_eq!(mirror["restorePoint"], json!(id));
    assert_eq!(files(&bare).await?, [format!("M\t{TEAM}/payments.yaml")]);
    let trailers = ["log", "-1", "--format=%(trailers:only)", "main"];
    let trailers = git(&bare, &trailers).await?.stdout;
    let told = format!("Restore-Point: {id}\nCluster: test\nReason: a reason\n");
    assert_eq!(trailers.trim(), told.trim());

    // Others may write beside it.
    somebody_else(&folder, &bare, "README.md", "By hand").await?;
    cluster
        .server
        .delete(&format!("{API}/teams/search"))
        .await?;
    mirrored(&daemon).await?;
    assert_eq!(files(&bare).await?, [format!("D\t{TEAM}/search.yaml")]);
    assert_eq!(show(&bare, "main:README.md").await?, "By hand");
    assert_eq!(commits(&bare).await?, 4);
    let metric = daemon
        .metric("butler_backup_mirror_commits_total{cluster=\"test\"}")
        .await?;
    assert_eq!(metric, 3.0);

    // A token that the host does not take.
    cluster.token("canary-of-another-token")?;
    cluster.rename("payments", "Payments").await?;
    let (_, mirror) = mirrored(&daemon).await?;
    let cause = mirror["problem"]["cause"].as_str().context("no problem")?;
    assert!(cause.contains("ask the remote"), "{cause}");

    let mode = cluster
        .bed
        .folder
        .join("mirror/test")
        .metadata()?
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    let all = everything(&bare).await?;
    assert!(all.contains("AgBsealedsealedsealed") && all.contains("displayName"));
    for canary in ["canary", INLINE, "dXNlcg=="] {
        assert!(!all.contains(canary), "{canary} is in Git");
    }
    let store = "main:clusters/management/resources/datastores.steward.butlerlabs.dev/db.yaml";
    let store = show(&bare, store).await?;
    assert!(
        store.contains("# Left out, as it may be secret: spec.basicAuth."),
        "{store}"
    );
    assert!(store.contains("db.example.org:5432"), "{store}");
    let output = daemon.stop().await?.ended_with(0)?;
    assert!(!output.stderr.contains("canary"), "a canary is in the log");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_remote_that_is_away_or_went_on_costs_no_restore_point() -> Result<()> {
    let cluster = Cluster::new().await?;
    cluster.token(TOKEN)?;
    let folder = cluster.folder.make("git")?;
    let mut host = GitHost::start(&folder, Some(TOKEN)).await?;
    let bare = host.bare("fleet.git").await?;
    let config = cluster.config(&host.url("fleet.git"));
    let daemon = Daemon::start(&cluster.bed, &config, &[]).await?;
    daemon
        .until("a first commit", |c| c["mirror"]["commits"] == 1)
        .await?;

    host.stop().await;
    cluster.rename("payments", "Ours").await?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert_eq!(
        (&mirror["unpushed"], &mirror["commits"]),
        (&json!(1), &json!(2)),
        "{mirror:#}"
    );
    let failed = "butler_backup_mirror_failed{cluster=\"test\"}";
    assert_eq!(daemon.metric(failed).await?, 1.0);
    assert_eq!(commits(&bare).await?, 1);

    // Somebody writes something else meanwhile: ours is laid on top of it, as it is.
    somebody_else(&folder, &bare, "README.md", "By hand").await?;
    host.again().await?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert_eq!(
        (&mirror["unpushed"], &mirror["givenUp"]),
        (&json!(0), &json!(0)),
        "{mirror:#}"
    );
    assert!(mirror["problem"].is_null(), "{mirror:#}");
    assert_eq!(daemon.metric(failed).await?, 0.0);
    assert_eq!(commits(&bare).await?, 3);
    let team = format!("main:{TEAM}/payments.yaml");
    assert!(show(&bare, &team).await?.contains("Ours"));

    // Somebody writes the same lines: what was not pushed is given up, and made anew on top.
    host.stop().await;
    cluster.rename("payments", "Ours again").await?;
    mirrored(&daemon).await?;
    somebody_else(
        &folder,
        &bare,
        &format!("{TEAM}/payments.yaml"),
        "spec: theirs\n",
    )
    .await?;
    let theirs = git(&bare, &["rev-parse", "main"]).await?.stdout;
    host.again().await?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert_eq!(
        (&mirror["unpushed"], &mirror["givenUp"]),
        (&json!(0), &json!(1)),
        "{mirror:#}"
    );
    assert!(show(&bare, &team).await?.contains("Ours again"));
    // Theirs is in the history: nothing was forced.
    git(
        &bare,
        &["merge-base", "--is-ancestor", theirs.trim(), "main"],
    )
    .await?;

    // Its work folder may be lost, or broken.
    let work = cluster.bed.folder.join("mirror/test/repository");
    std::fs::write(work.join(".git/index.lock"), "")?;
    std::fs::write(work.join(".git/HEAD"), "broken")?;
    cluster.rename("payments", "Ours at last").await?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert!(mirror["problem"].is_null(), "{mirror:#}");
    assert!(show(&bare, &team).await?.contains("Ours at last"));
    let cluster = daemon.cluster().await?;
    assert_eq!(cluster["totals"]["failed"], 0, "{cluster:#}");
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_git_and_a_folder_of_others_are_told() -> Result<()> {
    let cluster = Cluster::new().await?;
    let folder = cluster.folder.make("git")?;
    git(
        &folder,
        &[
            "init",
            "--quiet",
            "--bare",
            "--initial-branch=main",
            "fleet.git",
        ],
    )
    .await?;
    let bare = folder.join("fleet.git");
    let config = cluster.config(&bare.display().to_string());
    configure(&cluster.bed, &config)?;
    let empty = cluster.folder.make("empty")?;
    let command = cluster.bed.backupd("run").env("PATH", &empty);
    let daemon = Daemon::start_with(command).await?;
    let told = daemon
        .until("a problem", |c| c["mirror"]["problem"].is_object())
        .await?;
    let cause = told["mirror"]["problem"]["cause"]
        .as_str()
        .context("no cause")?;
    assert!(cause.contains("cannot start `git`"), "{cause}");
    assert_eq!(told["totals"]["committed"], 1);
    daemon.stop().await?.ended_with(0)?;

    // What is not a mirror's file stays, whatever its name is.
    let daemon = Daemon::start(&cluster.bed, &config, &[]).await?;
    mirrored(&daemon).await?;
    let (own, theirs) = (
        format!("{TEAM}/payments.yaml"),
        format!("{TEAM}/theirs.yaml"),
    );
    somebody_else(&folder, &bare, &theirs, "a: b\n").await?;
    cluster
        .server
        .delete(&format!("{API}/teams/payments"))
        .await?;
    mirrored(&daemon).await?;
    assert_eq!(files(&bare).await?, [format!("D\t{own}")]);
    assert_eq!(show(&bare, &format!("main:{theirs}")).await?, "a: b\n");
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}
