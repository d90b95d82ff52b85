//! Tests of the Prometheus rules: Prometheus' own program tests them, and each rule has an existing metric
//! and a section that says what to do.
use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use e2e::folder::mode;
use e2e::programs;
use e2e::run::Command;

use crate::chain::site::ChainSite;

fn read(path: &str) -> Result<String> {
    let path = e2e::paths::workspace().join(path);
    std::fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// Returns the names in `text` that begin as metrics do.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("butler_backup_"));
    names.map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn the_rules_fire_when_they_should_and_only_then() -> Result<()> {
    if !programs::are_there(&["promtool"])? {
        return Ok(());
    }
    let schedules = e2e::paths::workspace().join("schedules");
    let run = Command::new("promtool").in_folder(schedules);
    let check = run.clone().args(["check", "rules", "alerts.yaml"]);
    println!("{}", check.ended_with(0).await?.stdout);
    let test = run.args(["test", "rules", "alerts.test.yaml"]);
    println!("{}", test.ended_with(0).await?.stdout);
    Ok(())
}

#[test]
fn each_rule_stands_on_metrics_that_there_are_and_leads_to_what_to_do() -> Result<()> {
    let (rules, tests) = (
        read("schedules/alerts.yaml")?,
        read("schedules/alerts.test.yaml")?,
    );
    let known = metrics(&read("docs/METRICS.md")?);
    for metric in metrics(&rules) {
        assert!(
            known.contains(&metric),
            "{metric} is not in docs/METRICS.md"
        );
    }
    let book = read("docs/ALERTS.md")?;
    let mut alerts = 0;
    for name in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        alerts += 1;
        assert!(
            book.contains(&format!("\n## {name}\n")),
            "{name} is not in docs/ALERTS.md"
        );
        let link = format!("docs/ALERTS.md#{}", name.to_lowercase());
        assert!(rules.contains(&link), "{name} has no link");
        let fires = format!("alertname: {name}\n        exp_alerts:\n          - exp_labels");
        assert!(tests.contains(&fires), "no test in which {name} fires");
    }
    assert!(alerts > 10, "{alerts}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_reads_the_metrics_of_an_audit() -> Result<()> {
    if !programs::are_there(&["promtool"])? {
        return Ok(());
    }
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    let audit = site.restore_cli("audit");
    let audit = audit.args(["--prometheus", "audit.prom"]);
    audit.ended_with(0).await?;
    let file = site.folder.join("audit.prom");
    assert_eq!(mode(&file)?, 0o644, "the exporter is another user");
    let text = std::fs::read_to_string(&file)?;
    let points = text
        .lines()
        .find(|line| line.starts_with("butler_backup_audit_restore_points{"));
    assert!(points.is_some_and(|line| line.ends_with("} 1")), "{text}");
    let check = Command::new("sh").args(["-c", "promtool check metrics < \"$0\""]);
    check.arg(&file).ended_with(0).await?;
    Ok(())
}
