//! Tests of watches that are forbidden.

use anyhow::{Context as _, Result};
use e2e::kube_apiserver::KubeApiserver;
use serde_json::{Value, json};

use super::super::running::Daemon;
use super::{Cluster, RBAC, TEAMS, settled, team};

/// Gives `user` the rights `rules`.
async fn may(server: &KubeApiserver, user: &str, rules: &Value) -> Result<()> {
    let role = json!({ "metadata": { "name": user }, "rules": rules });
    server
        .create(&format!("{RBAC}/clusterroles"), &role)
        .await?;
    let binding = json!({
        "metadata": { "name": user },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user,
        },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    });
    server
        .create(&format!("{RBAC}/clusterrolebindings"), &binding)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_the_project_are_enough_and_a_forbidden_watch_is_told_and_goes_by_cron()
-> Result<()> {
    let cluster = Cluster::audited().await?;
    let server = &cluster.server;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/rbac.yaml");
    let text = std::fs::read_to_string(file)?;
    let mut documents = serde_saphyr::from_multiple::<Value>(&text)?.into_iter();
    let role = documents.find(|document| document["kind"] == "ClusterRole");
    let rules = role.context("no ClusterRole")?["rules"].clone();
    may(server, "exact", &rules).await?;
    let all = [
        "crds",
        "resources",
        "sealed-secrets",
        "kubeconfigs",
        "secrets",
    ];
    let exact = server.kubeconfig_for("exact", None)?;
    let daemon = cluster.daemon(&exact, &all).await?;
    let watches = settled(&daemon).await?["watches"].clone();
    for kind in [
        "secrets",
        "configmaps",
        "namespaces",
        "teams.butler.butlerlabs.dev",
    ] {
        assert_eq!(watches[kind]["state"], "watching", "{watches}");
    }
    daemon.stop().await?.ended_with(0)?;

    // The same without the right to watch Secrets and Namespaces.
    const FORBIDDEN: [&str; 2] = ["secrets", "namespaces"];
    let mut less = rules;
    let rules = less.as_array_mut().context("no rules")?;
    for rule in rules.iter_mut() {
        let resources = rule["resources"].as_array_mut().context("no resources")?;
        resources.retain(|resource| !FORBIDDEN.iter().any(|kind| resource == kind));
    }
    rules.push(json!({ "apiGroups": [""], "resources": FORBIDDEN, "verbs": ["get", "list"] }));
    may(server, "less", &less).await?;
    let kubeconfig = server.kubeconfig_for("less", None)?;
    let config = format!(
        "kubernetes: {{ kubeconfig: {} }}\n\
         runs: {{ on-change: {{ quiet: 1s, longest: 5s }} }}\ncomponents:\n  \
           secrets: {{ on-change: true, cron: '* * * * *' }}\n  \
           resources: {{ on-change: true }}\n",
        kubeconfig.display()
    );
    let daemon = Daemon::start(&cluster.site, &config, &[]).await?;
    let refused = |c: &Value| {
        let refused = |kind: &&str| c["watches"][kind]["state"] == "refused";
        FORBIDDEN.iter().all(refused)
    };
    let told = daemon.until("refused watches", refused).await?;
    let problem = told["watches"]["secrets"]["problem"].as_str();
    let problem = problem.context("no problem")?;
    for word in ["cannot watch resource \"secrets\"", "deploy/rbac.yaml"] {
        assert!(problem.contains(word), "{problem}");
    }
    assert_eq!(
        daemon
            .metric("butler_backup_watches{cluster=\"test\",state=\"refused\"}")
            .await?,
        2.0,
    );
    // Other watches go on.
    server.create(TEAMS, &team("payments")).await?;
    let path = "resources/teams.butler.butlerlabs.dev/cluster/payments.json";
    cluster.has("resources", path).await?;
    // A Secret is not noticed, and is taken with the next minute.
    let secret = json!({
        "metadata": { "name": "credentials-kubeconfig-not", "namespace": "kube-system" },
        "type": "helm.sh/release.v1",
    });
    server
        .create("/api/v1/namespaces/kube-system/secrets", &secret)
        .await?;
    let path = "resources/secrets/namespaces/kube-system/credentials-kubeconfig-not.json";
    let point = cluster.has("secrets", path).await?;
    assert_eq!(point["reason"], "schedule", "{point}");
    // The restore point says that only the schedule took it; the one of the other components does not.
    let id = point["id"].as_str().context("no id")?;
    let shown = cluster
        .site
        .restore_cli("show")
        .args([id, "--output", "json"]);
    let shown = shown.json().await?;
    let findings = shown["findings"].as_array().context("no findings")?;
    let of = |object: &str| findings.iter().find(|f| f["object"] == object);
    let told = of("watch of secrets").with_context(|| shown.to_string())?;
    let cause = told["cause"].as_str().unwrap_or_default();
    assert!(
        cause.contains("cannot watch resource \"secrets\""),
        "{told}"
    );
    assert!(of("watch of configmaps").is_none(), "{shown:#}");
    let output = daemon.stop().await?.ended_with(0)?;
    // Logged once for each kind, although the watch is tried repeatedly.
    let lines = output.stderr.lines();
    let lines = lines.filter(|line| line.contains("it cannot be watched"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 2, "{}", output.stderr);
    Ok(())
}
