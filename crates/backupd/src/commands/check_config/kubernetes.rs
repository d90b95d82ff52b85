//! Part of the checked configuration for the Kubernetes API: access and selection.

use std::collections::BTreeSet;

use backup_cli::config::Config;
use backup_cli::environment::Environment;
use backup_cli::human;
use backup_cli::open::kube_options;
use backup_cli::output::Page;
use backup_core::causes;
use cluster_client::kube::{NOISE, Selection};
use jiff::SignedDuration;
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kubernetes {
    /// Whether a kubeconfig or a pod gives access to the API.
    configured: bool,
    /// `None` for the service account of the pod.
    kubeconfig: Option<String>,
    context: Option<String>,
    server: Option<String>,
    timeout_seconds: u64,
    keep_kubeconfigs: Vec<String>,
    selection: SelectionReport,
}

/// Selection of objects.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SelectionReport {
    include_namespaces: BTreeSet<String>,
    exclude_namespaces: BTreeSet<String>,
    include_resources: BTreeSet<String>,
    exclude_resources: BTreeSet<String>,
    selector: Option<String>,
    cluster_resources: bool,
}

impl Kubernetes {
    /// Reads the kubeconfig, if one is named; a problem with it is a warning.
    pub(super) fn of(
        config: &Config,
        environment: &Environment,
        warnings: &mut Vec<String>,
    ) -> Self {
        let kube = &config.kubernetes;
        let options = kube_options(config, environment);
        let server = match options
            .as_ref()
            .map(cluster_client::kube::KubeOptions::server)
        {
            None => {
                warnings.push(
                    "no way to the Kubernetes API is configured: none of the cluster's objects are \
                     taken"
                        .to_owned(),
                );
                None
            }
            Some(Ok(server)) => server,
            Some(Err(error)) => {
                warnings.push(causes::line(&error));
                None
            }
        };
        for file in &kube.keep_kubeconfigs {
            if let Err(error) = std::fs::File::open(file) {
                warnings.push(format!(
                    "the kubeconfig {}, which is to be kept, cannot be read: {error}",
                    file.display()
                ));
            }
        }
        let file = options.as_ref().and_then(|o| o.kubeconfig.as_ref());
        let kept = kube.keep_kubeconfigs.iter();
        Self {
            configured: options.is_some(),
            kubeconfig: file.map(|file| file.display().to_string()),
            context: kube.context.clone(),
            server,
            timeout_seconds: kube.timeout.as_secs(),
            keep_kubeconfigs: kept.map(|file| file.display().to_string()).collect(),
            selection: SelectionReport::of(&kube.selection),
        }
    }

    pub(super) fn show(&self, page: &mut Page) {
        page.heading("Kubernetes");
        if !self.configured {
            page.line("not configured: none of the cluster's objects are taken");
            return;
        }
        let pod = "the pod's own service account";
        let or = |text: &Option<String>, other: &str| text.clone().unwrap_or(other.to_owned());
        let timeout =
            SignedDuration::from_secs(self.timeout_seconds.try_into().unwrap_or(i64::MAX));
        let mut fields = vec![
            ("Kubeconfig", or(&self.kubeconfig, pod)),
            ("Context", or(&self.context, "the current one")),
            ("Server", or(&self.server, "not known")),
            ("One request", format!("at most {}", human::span(timeout))),
            ("Namespaces", self.selection.namespaces()),
            ("Kinds", self.selection.kinds()),
            ("Labels", or(&self.selection.selector, "any")),
        ];
        if !self.keep_kubeconfigs.is_empty() {
            fields.push(("Kept as files", self.keep_kubeconfigs.join("\n")));
        }
        page.fields(fields);
    }
}

impl SelectionReport {
    fn of(selection: &Selection) -> Self {
        Self {
            include_namespaces: selection.include_namespaces.clone(),
            exclude_namespaces: selection.exclude_namespaces.clone(),
            include_resources: selection.include_resources.clone(),
            exclude_resources: selection.exclude_resources.clone(),
            selector: selection.selector.clone(),
            cluster_resources: selection.takes_cluster_resources(),
        }
    }

    fn namespaces(&self) -> String {
        let included = or_all(&self.include_namespaces, "all");
        let cluster = if self.cluster_resources {
            "and what has none"
        } else {
            "and nothing that has none"
        };
        format!(
            "{included}{}, {cluster}",
            excluding(&self.exclude_namespaces)
        )
    }

    fn kinds(&self) -> String {
        let noise = format!("{} kinds of run-time noise", NOISE.len());
        let included = if self.include_resources.is_empty() {
            format!("CRDs, all custom resources but {noise}, Namespaces, RBAC, Secrets in scope")
        } else if self.include_resources.contains("*") {
            format!("every kind but {noise}")
        } else {
            or_all(&self.include_resources, "all")
        };
        format!("{included}{}", excluding(&self.exclude_resources))
    }
}

fn or_all(names: &BTreeSet<String>, all: &str) -> String {
    if names.is_empty() {
        return all.to_owned();
    }
    names
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

fn excluding(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return String::new();
    }
    format!(", not {}", or_all(names, ""))
}
