//! Tests that each policy in `deploy/iam` lets its user do its work, and nothing more.

use anyhow::{Context as _, Result};
use e2e::run::Command;
use e2e::s3::Keys;
use serde_json::{Value, json};

use super::site::{ChainSite, PREFIX};

/// Object of somebody else in the same bucket.
const FOREIGN: &str = "clusters/other/claim.json";

/// Site with a restore point, and a user who may do what one of the policies says.
struct PolicySite {
    site: ChainSite,
    user: Keys,
}

/// Rights that a user turned out to have, tried without our programs.
#[derive(Debug, PartialEq, Eq)]
struct Rights {
    read: bool,
    add_pack: bool,
    add_journal: bool,
    remove: bool,
    /// Anything beside the prefix.
    beside: bool,
}

impl PolicySite {
    /// Makes a site whose user has the policy `deploy/iam/NAME.json`.
    async fn new(name: &str) -> Result<Self> {
        let site = ChainSite::new().await?;
        site.snapshot().await?;
        let foreign = site.client()?.put_object().bucket(&site.bucket);
        foreign.key(FOREIGN).body(vec![1].into()).send().await?;
        let user = site.s3.user(&format!("iam-{name}")).await?;
        let path = e2e::paths::workspace().join(format!("deploy/iam/{name}.json"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let text = text
            .replace("BUCKET", &site.bucket)
            .replace("PREFIX", PREFIX);
        let mut policy: Value = serde_json::from_str(&text)?;
        // A policy of a bucket names its users; one of a user does not.
        let statements = policy["Statement"]
            .as_array_mut()
            .context("no statements")?;
        for statement in statements {
            statement["Principal"] = json!({ "AWS": [&user.access] });
        }
        let put = site.client()?.put_bucket_policy().bucket(&site.bucket);
        put.policy(policy.to_string()).send().await?;
        Ok(Self { site, user })
    }

    /// Returns `command` with the user's credentials.
    fn as_user(&self, command: Command) -> Command {
        let command = self.site.without_credentials(command);
        command.envs(self.user.env())
    }

    fn restore_cli(&self, arguments: &[&str]) -> Command {
        self.as_user(self.site.programs.restore_cli().args(arguments))
    }

    async fn rights(&self) -> Result<Rights> {
        let client = self.site.s3.client_as(&self.user)?;
        let bucket = &self.site.bucket;
        let get = async |key: String| {
            let get = client.get_object().bucket(bucket).key(key);
            get.send().await.is_ok()
        };
        let put = async |key: String| {
            let put = client.put_object().bucket(bucket).key(key);
            put.body(vec![2].into()).send().await.is_ok()
        };
        let delete = async |key: String| {
            let delete = client.delete_object().bucket(bucket).key(key);
            delete.send().await.is_ok()
        };
        let beside = get(FOREIGN.to_owned()).await
            || put(FOREIGN.to_owned()).await
            || delete(FOREIGN.to_owned()).await;
        Ok(Rights {
            read: get(format!("{PREFIX}/claim.json")).await,
            add_pack: put(format!("{PREFIX}/packs/{}", "0".repeat(64))).await,
            add_journal: put(format!("{PREFIX}/journals/test/0")).await,
            remove: delete(format!("{PREFIX}/packs/{}", "0".repeat(64))).await,
            beside,
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemons_policy_adds_restore_points_and_removes_nothing() -> Result<()> {
    let site = PolicySite::new("daemon").await?;
    site.site.change().await?;
    let snapshot = site.as_user(site.site.programs.backupd().arg("snapshot"));
    snapshot.ended_with(0).await?;
    assert_eq!(site.site.listed().await?.len(), 2);
    site.site.verified("latest").await?;
    let expected = Rights {
        read: true,
        add_pack: true,
        add_journal: true,
        remove: false,
        beside: false,
    };
    assert_eq!(site.rights().await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweeps_policy_removes_below_its_prefix_alone() -> Result<()> {
    let site = PolicySite::new("sweep").await?;
    let sweep = site.as_user(site.site.programs.backupd().arg("sweep"));
    sweep.ended_with(0).await?;
    let expected = Rights {
        read: true,
        add_pack: true,
        add_journal: true,
        remove: true,
        beside: false,
    };
    assert_eq!(site.rights().await?, expected);
    site.site.verified("latest").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_who_restores_reads_and_adds_journals_alone() -> Result<()> {
    let site = PolicySite::new("restore").await?;
    site.restore_cli(&["list"]).ended_with(0).await?;
    site.restore_cli(&["verify", "latest"])
        .ended_with(0)
        .await?;
    let fetch = ["fetch", "latest", "--component", "etcd", "--to", "etcd.db"];
    site.restore_cli(&fetch).ended_with(0).await?;
    let expected = Rights {
        read: true,
        add_pack: false,
        add_journal: true,
        remove: false,
        beside: false,
    };
    assert_eq!(site.rights().await?, expected);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_auditors_policy_reads_alone() -> Result<()> {
    let site = PolicySite::new("audit").await?;
    site.restore_cli(&["audit"]).ended_with(0).await?;
    site.restore_cli(&["audit", "--deep"]).ended_with(0).await?;
    let expected = Rights {
        read: true,
        add_pack: false,
        add_journal: false,
        remove: false,
        beside: false,
    };
    assert_eq!(site.rights().await?, expected);
    Ok(())
}
