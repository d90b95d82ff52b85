//! Findings of a restore point about watches that do not receive changes.

use backup_core::format::manifest::Finding;
use backup_core::id::ComponentName;

use super::status::{ClusterView, WatchStatus, WatchView};

/// Largest number of kinds that are listed one by one.
const TOLD: usize = 20;

/// Returns a finding for each watch that concerns one of `wanted` (empty for everything) and receives no
/// changes.
pub(crate) fn findings(view: &ClusterView, wanted: &[ComponentName]) -> Vec<Finding> {
    let concerns = |watch: &WatchView| {
        wanted.is_empty() || watch.components.iter().any(|name| wanted.contains(name))
    };
    let deaf = view
        .watches
        .iter()
        .filter(|(_, watch)| watch.state != WatchStatus::Watching && concerns(watch));
    let deaf: Vec<_> = deaf.collect();
    let told = deaf
        .iter()
        .take(TOLD)
        .map(|(kind, watch)| finding(kind, watch));
    let mut findings: Vec<Finding> = told.collect();
    let more = deaf.len().saturating_sub(TOLD);
    if more > 0 {
        findings.push(Finding::warning(
            "watches",
            format!("{more} more kinds are not watched"),
            "see `watches` in the daemon's /v1/status",
        ));
    }
    findings
}

fn finding(kind: &str, watch: &WatchView) -> Finding {
    let problem = watch.problem.as_deref().unwrap_or("no answer yet");
    let (state, remedy) = match watch.state {
        WatchStatus::Refused => (
            "cannot be watched",
            "apply deploy/rbac.yaml, or grant the verb `watch`; until then its changes wait for the \
             cron of the component",
        ),
        _ => (
            "is not watched just now",
            "nothing, if that passes: what it missed is taken when it is back; see `watches` in the \
             daemon's /v1/status",
        ),
    };
    Finding::warning(
        // The kind alone would be ambiguous: some components have the name of a kind.
        format!("watch of {kind}"),
        format!("when this was taken, {kind} {state}: {problem}"),
        remedy,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::queue::Queue;
    use crate::daemon::shard::Shard;
    use crate::daemon::status::StatusBoard;
    use jiff::Timestamp;
    use std::sync::Arc;

    fn told(
        watches: &[(&str, WatchStatus, ComponentName)],
        wanted: &[ComponentName],
    ) -> Vec<String> {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let board = StatusBoard::new(now, Shard::ALL);
        let config = backup_cli::config::Config::load(&Default::default(), now).unwrap();
        let name = "mgmt".parse().unwrap();
        board.add(name, Arc::new(Queue::default()), Arc::new(config));
        let findings = board.with(&"mgmt".parse().unwrap(), |cluster| {
            for (kind, state, component) in watches {
                let watch = WatchView {
                    components: vec![component.clone()],
                    state: *state,
                    since: now,
                    heard: None,
                    problem: Some("forbidden".to_owned()),
                };
                cluster.view.watches.insert((*kind).to_owned(), watch);
            }
            findings(&cluster.view, wanted)
        });
        findings.unwrap().into_iter().map(|f| f.object).collect()
    }

    #[test]
    fn only_those_that_hear_nothing_of_what_is_taken_are_told() {
        let (secrets, crds) = (ComponentName::secrets(), ComponentName::crds());
        let watches = [
            ("secrets", WatchStatus::Refused, secrets.clone()),
            ("configmaps", WatchStatus::Watching, secrets.clone()),
            (
                "customresourcedefinitions",
                WatchStatus::Broken,
                crds.clone(),
            ),
        ];
        assert_eq!(told(&watches, &[secrets]), ["watch of secrets"]);
        assert_eq!(
            told(&watches, &[crds]),
            ["watch of customresourcedefinitions"]
        );
        assert_eq!(told(&watches, &[]).len(), 2);
        assert!(told(&watches, &[ComponentName::etcd()]).is_empty());
    }

    #[test]
    fn many_are_told_as_a_number() {
        let names: Vec<String> = (0..30).map(|n| format!("kind-{n:02}")).collect();
        let resources = ComponentName::resources();
        let watches: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), WatchStatus::Broken, resources.clone()))
            .collect();
        let told = told(&watches, &[]);
        assert_eq!((told.len(), told.last().unwrap().as_str()), (21, "watches"));
    }
}
