//! Tests of the whole restore in place, killed at many points: it always goes on, ends like one that was not
//! killed, and does nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::butler::{SYSTEM, Shared};
use e2e::etcd::rpc::RangeRequest;
use e2e::run::Command;
use e2e::site::{ButlerSite, journal_in};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::compare::same;
use super::in_place::{changes, newest};

const TEAMS: &str = "/apis/butler.butlerlabs.dev/v1alpha1/teams";
/// Number of teams that come after the snapshot: a batch and a half.
const MANY: usize = 140;
/// Time limit. No point is this late, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Killer that kills the restore of a site repeatedly.
struct Killer {
    restore: Command,
    resume: Command,
    folder: PathBuf,
    /// For each kill its point and the last line of the journal.
    kills: Vec<(String, String)>,
}

impl Killer {
    /// Returns the journal, once there is one.
    fn journal(&self) -> Result<Option<String>> {
        let journal = journal_in(&self.folder)?;
        Ok(journal.map(std::fs::read_to_string).transpose()?)
    }

    /// Runs it, and kills it `after` milliseconds after a written line has all of `words`.
    async fn at(&mut self, words: &[&str], after: u64) -> Result<()> {
        let before = self.journal()?.map(|text| text.len());
        let command = if before.is_some() {
            &self.resume
        } else {
            &self.restore
        };
        let running = command.start()?;
        let began = Instant::now();
        loop {
            let text = self.journal()?.unwrap_or_default();
            let mut new = text.get(before.unwrap_or(0)..).unwrap_or_default().lines();
            if new.any(|line| words.iter().all(|word| line.contains(word))) {
                break;
            }
            let gone = running.id().is_none_or(|id| !is_alive(id));
            if gone || began.elapsed() > LIMIT {
                running.interrupt().await.ok();
                let ended = running.ended().await?;
                bail!("no line with {words:?}\n{text}\n{}", ended.stderr);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(after)).await;
        running.kill().await?;
        let text = self.journal()?.context("no journal")?;
        ensure!(
            !text.contains("\"ended\""),
            "it came to its end before {words:?}"
        );
        let last = text.lines().last().unwrap_or_default().to_owned();
        self.kills.push((format!("{words:?} and {after} ms"), last));
        Ok(())
    }
}

/// Reports whether a process of ours exists and has not ended.
fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Returns how often each key of etcd below these prefixes was written since it was made.
async fn writes(site: &ButlerSite, prefixes: &[&str]) -> Result<BTreeMap<String, i64>> {
    let client = site.shared.butler.etcd.client().await?;
    let mut writes = BTreeMap::new();
    for prefix in prefixes {
        let request = RangeRequest {
            key: format!("/registry/{prefix}/").into_bytes(),
            range_end: format!("/registry/{prefix}0").into_bytes(),
            keys_only: true,
            ..Default::default()
        };
        for kv in client.kv().range(request).await?.into_inner().kvs {
            writes.insert(String::from_utf8(kv.key)?, kv.version);
        }
    }
    Ok(writes)
}

/// Prefixes of the checked keys: all kinds of tenants and teams.
const PREFIXES: [&str; 4] = [
    "butler.butlerlabs.dev",
    "steward.butlerlabs.dev",
    "cluster.x-k8s.io",
    "controlplane.cluster.x-k8s.io",
];

/// Makes a webhook that has to be parked, and whose server is never called.
async fn webhook(site: &ButlerSite) -> Result<()> {
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "butler-webhooks" },
        "webhooks": [{
            "name": "never.butlerlabs.dev", "failurePolicy": "Fail", "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "clientConfig": { "service": { "namespace": SYSTEM, "name": "butler-webhooks" } },
            "rules": [{
                "apiGroups": ["butler.butlerlabs.dev"], "apiVersions": ["*"],
                "operations": ["DELETE"], "resources": ["*"],
            }],
        }],
    });
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    site.shared
        .butler
        .kube_apiserver
        .create(path, &object)
        .await?;
    Ok(())
}

async fn teams(site: &ButlerSite) -> Result<()> {
    let server = &site.shared.butler.kube_apiserver;
    for number in 0..MANY {
        let name = format!("later-{number:03}");
        let team = json!({
            "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
            "metadata": { "name": &name },
            "spec": { "displayName": &name, "access": {} },
        });
        let mut made = server.create(TEAMS, &team).await?;
        made["status"] = json!({ "phase": "Ready", "namespace": name });
        let path = format!("{TEAMS}/{name}/status");
        server.replace(&path, &made).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_in_place_that_is_killed_anywhere_ends_as_any_other() -> Result<()> {
    let mut site = ButlerSite::saved_on(Shared::own().await?, "killed-in-place").await?;
    webhook(&site).await?;
    site.backupd("snapshot").ended_with(0).await?;
    let first = newest(&site).await?;
    let snapshot = writes(&site, &PREFIXES).await?;
    changes(&site).await?;
    teams(&site).await?;
    let later = "crds,resources,sealed-secrets,kubeconfigs,secrets";
    let later = site.backupd("snapshot").args(["--component", later]);
    later.ended_with(0).await?;
    let kubeconfig = site.shared.butler.kubeconfig();
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.lose_etcd().await?;
    let plan = site.restore_cli("plan");
    let plan = plan.args([&first, "--forward-to", "latest", "--output", "json"]);
    let plan = plan.json().await?;

    let resume = site.restore_cli("resume");
    let mut killer = Killer {
        restore: site.restore(&kubeconfig).args(["--settle", "1"]),
        resume: resume
            .args(["--settle", "1", "--output", "json"])
            .arg("--kubeconfig")
            .arg(&kubeconfig),
        folder: site.folder.join("butler-restores"),
        kills: Vec::new(),
    };
    // Nodes that boot accept the upload and refuse the bootstrap.
    for node in site.shared.butler.talos.nodes() {
        node.fault(|faults| faults.booting = true);
    }
    killer.at(&["begun"], 0).await?;
    killer.at(&["phaseBegun", "etcd"], 0).await?;
    killer.at(&["phaseBegun", "etcd"], 10).await?;
    killer.at(&["uploading"], 0).await?;
    killer.at(&["waiting: "], 0).await?;
    for node in site.shared.butler.talos.nodes() {
        node.heal();
    }
    killer.at(&["bootstrap accepted"], 0).await?;
    // The node restores on its own. The API server is not there yet.
    killer.at(&["phaseBegun", "etcd"], 0).await?;
    killer.at(&["phaseBegun", "etcd"], 100).await?;
    killer.at(&["phaseDone", "etcd"], 0).await?;
    killer.at(&["resumed"], 700).await?;
    let calls = |name: &str| {
        let seen = site.shared.butler.talos.seen();
        seen.iter().filter(|call| call.method == name).count()
    };
    // Uploads that were cut off, and the one that counted.
    let uploads = calls("EtcdRecover");
    assert!((1..=3).contains(&uploads), "{uploads}");
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    e2e::wait::until("etcd", LIMIT, async || {
        ensure!(shared.butler.talos.etcd_runs(), "not yet");
        Ok(())
    })
    .await?;
    shared.butler.resume().await?;

    killer.at(&["phaseBegun", "quiesce"], 0).await?;
    killer.at(&["parking"], 0).await?;
    killer.at(&["phaseDone", "quiesce"], 0).await?;
    killer.at(&["phaseBegun", "crds"], 5).await?;
    killer.at(&["phaseDone", "crds"], 0).await?;
    killer.at(&["phaseBegun", "objects"], 0).await?;
    for after in [0, 2, 5, 10, 20, 40, 60, 80] {
        killer.at(&["writing", "later-"], after).await?;
    }
    for _ in 0..2 {
        killer.at(&["written", "created", "later-"], 0).await?;
    }
    killer.at(&["phaseDone", "objects"], 0).await?;
    killer.at(&["phaseBegun", "link"], 0).await?;
    killer.at(&["phaseBegun", "settle"], 0).await?;
    killer.at(&["phaseBegun", "settle"], 500).await?;
    killer.at(&["phaseDone", "settle"], 0).await?;
    killer.at(&["phaseBegun", "resume"], 0).await?;
    killer.at(&["unparked"], 0).await?;
    killer.at(&["phaseBegun", "verify"], 0).await?;
    killer.at(&["phaseBegun", "verify"], 20).await?;
    for (point, last) in &killer.kills {
        println!("{point}: {}", last.get(..90).unwrap_or(last));
    }
    assert!(killer.kills.len() >= 30, "{}", killer.kills.len());

    let ran = killer.resume.json().await?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    assert_eq!(ran["tenants"]["connected"], 2, "{ran:#}");
    assert_eq!(ran["objects"]["created"], MANY + 2, "{ran:#}");
    assert_eq!(ran["objects"]["changed"], 1, "{ran:#}");
    assert_eq!(ran["objects"].get("failed"), None, "{ran:#}");
    assert_eq!(ran["stillStopped"], json!([]), "{ran:#}");
    // Findings of the first step are reported, however often the run was cut off since.
    assert!(
        ran["findings"].to_string().contains("kubelet restart"),
        "{ran:#}"
    );
    let skipped: BTreeSet<String> = super::rebuild::skipped(&plan);
    same(&site, &kubeconfig, &skipped).await?;
    nothing_twice(&site, &killer, &snapshot).await
}

/// Checks the writes of each key, as etcd counts them.
async fn nothing_twice(
    site: &ButlerSite,
    killer: &Killer,
    snapshot: &BTreeMap<String, i64>,
) -> Result<()> {
    let journal = killer.journal()?.context("no journal")?;
    let lines: Vec<Value> = journal
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let count = |text: &str| journal.lines().filter(|line| line.contains(text)).count();
    assert_eq!(count("bootstrap accepted"), 1);
    let parked: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["parked"]["path"].as_str())
        .collect();
    assert!(!parked.is_empty());
    assert_eq!(
        parked.len(),
        parked.iter().collect::<BTreeSet<_>>().len(),
        "something was stopped twice: {parked:?}"
    );
    let mut wrong = Vec::new();
    for (key, now) in writes(site, &PREFIXES).await? {
        let before = snapshot.get(&key).copied();
        let object = key.rsplit('/').next().unwrap_or_default();
        let is_parked = parked
            .iter()
            .any(|path| path.ends_with(&format!("/{object}.json")));
        let wanted = match before {
            // Its create, and its status.
            None => 2,
            // Its spec, and its status.
            Some(before) if key.contains("/tenantclusters/") && object == "alpha" => before + 2,
            // Stopped, and put back.
            Some(before) if is_parked && key.contains("/clusters/") => before + 2,
            Some(before) if is_parked && key.contains("/managementaddons/") => before + 2,
            Some(before) => before,
        };
        if now != wanted {
            wrong.push(format!(
                "{key} was written {now} times; wanted {wanted}, at first {before:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}
