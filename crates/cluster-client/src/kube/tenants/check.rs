//! Check of one tenant: its facts, its kubeconfig against the expected one, and its own answers.

use jiff::{SignedDuration, Timestamp};

use super::super::failure::KubeError;
use super::super::request::Api;
use super::cluster::TenantCluster;
use super::state::{PlaneView, TenantState};
use super::{ControlPlanes, PER_TENANT, credentials, error_line, query};
use crate::kube::kubeconfig::KubeconfigReport;
use backup_core::digest::Digest;
use backup_core::format::export::{KubeconfigFacts, TenantFacts};
use backup_core::format::manifest::{Finding, Severity};

/// Remaining validity below which a certificate is reported: it may have expired when the restore point
/// is needed.
const NOTICE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Checks one tenant.
pub(super) async fn check(
    api: &Api,
    tenant: TenantCluster,
    planes: &ControlPlanes,
    now: Timestamp,
) -> (TenantState, Vec<Finding>) {
    let mut check = TenantCheck::of(&tenant);
    let examined =
        tokio::time::timeout(PER_TENANT, read_secrets(api, &tenant, planes, &mut check)).await;
    let examined = match examined {
        Ok(Ok(examined)) => examined,
        Ok(Err(e)) => {
            let why = format!("its Secrets could not be read: {}", error_line(&e));
            check.fail(&why);
            return check.finish();
        }
        Err(_) => {
            let within = PER_TENANT.as_secs();
            check.fail(&format!("its Secrets could not be read within {within} s"));
            return check.finish();
        }
    };
    let Some((mut examined, key)) = examined else {
        check.fail("it has no kubeconfig Secret");
        return check.finish();
    };
    examined.facts.narrow(&check.authority);
    check.kubeconfig(&examined.facts, key, now);
    let unusable = examined.facts.unusable.clone();
    check.facts.kubeconfig = Some(examined.facts);
    match examined.client {
        Some(access) => {
            check.facts.answer = query::query(&access, &api.proxies).await;
            if let Some(why) = check.facts.answer.failure.clone() {
                check.fail(&why);
            }
        }
        None => {
            let why = unusable.unwrap_or_default();
            check.fail(&format!("its kubeconfig was not used: {why}"));
        }
    }
    check.finish()
}

/// Reads the tenant's data in the management cluster: control plane, kubeconfig, authority.
async fn read_secrets(
    api: &Api,
    tenant: &TenantCluster,
    planes: &ControlPlanes,
    check: &mut TenantCheck,
) -> Result<Option<(KubeconfigReport, &'static str)>, KubeError> {
    let namespace = match check.facts.tenant_namespace.clone() {
        Some(error_line) => Some(error_line),
        None => credentials::namespace(api, tenant).await?,
    };
    let Some(namespace) = namespace else {
        return Ok(None);
    };
    let here = planes
        .get(&namespace)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let named = here.iter().find(|p| p.facts.name == tenant.metadata.name);
    // The tenant's own namespace has one control plane, whatever its name.
    let plane = named.or_else(|| here.first());
    if let Some(plane) = plane {
        check.facts.control_plane = Some(plane.facts.clone());
        check.plane = Some(plane.view.clone());
        let name = &plane.facts.name;
        check.authority = credentials::authority(api, &namespace, name).await?;
        if check.authority.is_empty() {
            check.add_finding(
                Severity::Warning,
                format!(
                    "the authority of its control plane is not in Secret {namespace}/{name}-ca"
                ),
                "without it every kubeconfig and worker of the tenant is refused after a restore: see what \
                 Steward reports about the control plane",
            );
        }
    }
    credentials::kubeconfig(api, tenant, &namespace).await
}

/// Facts about a tenant so far.
pub(super) struct TenantCheck {
    pub(super) facts: TenantFacts,
    plane: Option<PlaneView>,
    /// Certificates of its control plane's authority; empty if unknown.
    pub(super) authority: Vec<Digest>,
    pub(super) findings: Vec<Finding>,
    /// Whether it should be up: it reports that it is ready, and is not set to sleep.
    settled: bool,
}

impl TenantCheck {
    pub(super) fn of(tenant: &TenantCluster) -> Self {
        let facts = tenant.facts();
        let phase = facts.phase.clone().unwrap_or_default();
        let settled = phase == "Ready";
        let mut check = Self {
            facts,
            plane: None,
            authority: Vec::new(),
            findings: Vec::new(),
            settled,
        };
        if settled && check.facts.tenant_namespace.is_none() {
            check.add_finding(
                Severity::Warning,
                "it is Ready and its status names no tenantNamespace".to_owned(),
                "set status.tenantNamespace to the namespace that its control plane is in: if it is \
                 restored without it, Butler creates the tenant a second time, empty",
            );
        }
        if !settled {
            let phase = if phase.is_empty() { "none yet" } else { &phase };
            check.add_finding(
                if phase == "Failed" {
                    Severity::Warning
                } else {
                    Severity::Info
                },
                format!("its phase is {phase}, so it may not be complete in this restore point"),
                "take another restore point when it is Ready",
            );
        }
        check
    }

    /// Checks a kubeconfig against the facts from the management cluster.
    pub(super) fn kubeconfig(&mut self, found: &KubeconfigFacts, key: &str, now: Timestamp) {
        let origin = &found.origin;
        let notice = now.saturating_add(NOTICE).unwrap_or(now);
        let ends = [
            ("client certificate", found.client_not_after),
            ("authority's certificate", found.ca_not_after),
        ];
        for (what, until) in ends {
            let Some(until) = until.filter(|until| *until <= notice) else {
                continue;
            };
            let ended = if until <= now {
                "expired at"
            } else {
                "expires at"
            };
            self.add_finding(
                Severity::Warning,
                format!("the {what} in {origin} {ended} {until}"),
                "let Steward renew it (annotation certs.steward.butlerlabs.dev/rotate on its \
                 Secret), then take another restore point",
            );
        }
        let trusted = found.trusted();
        let known = !trusted.is_empty() && !self.authority.is_empty();
        if known && !trusted.iter().any(|a| self.authority.contains(&a.sha256)) {
            self.add_finding(
                Severity::Warning,
                format!("the authority in {origin} is not that of its control plane"),
                "delete its Secret, and Steward makes a new kubeconfig: with this one no connection is \
                 trusted",
            );
        }
        if let (Some(endpoint), Some(server)) = (&self.facts.endpoint, &found.server)
            && key != credentials::IN_CLUSTER
            && !same_address(endpoint, server)
        {
            let cause =
                format!("the server in {origin} is {server}, its control plane is at {endpoint}");
            self.add_finding(
                Severity::Warning,
                cause,
                "check which of the two is correct: workers and users follow the kubeconfig",
            );
        }
    }

    /// Records the reason for a missing or partial answer.
    pub(super) fn fail(&mut self, why: &str) {
        let plane = self.facts.control_plane.as_ref();
        let asleep = plane.and_then(|p| p.status.as_deref()) == Some("Sleeping");
        let severity = if self.settled && !asleep {
            Severity::Warning
        } else {
            Severity::Info
        };
        self.facts.answer.failure = Some(why.to_owned());
        self.add_finding(
            severity,
            format!("its check did not finish: {why}"),
            "check that its kubeconfig works from where the backup runs; a restore cannot be compared with \
             a tenant that did not answer",
        );
    }

    fn add_finding(&mut self, severity: Severity, cause: String, remedy: &str) {
        let TenantFacts {
            namespace, name, ..
        } = &self.facts;
        self.findings.push(Finding::new(
            severity,
            format!("{} {namespace}/{name}", super::TENANTS),
            cause,
            remedy,
        ));
    }

    fn finish(self) -> (TenantState, Vec<Finding>) {
        let tenant = TenantState {
            facts: self.facts,
            plane: self.plane,
            cluster: None,
        };
        (tenant, self.findings)
    }
}

/// Reports whether both are the same host and port; an endpoint may have no scheme or port.
pub(super) fn same_address(endpoint: &str, server: &str) -> bool {
    let read = |text: &str| {
        let text = if text.contains("://") {
            text.to_owned()
        } else {
            format!("https://{text}")
        };
        let url = url::Url::parse(&text).ok()?;
        let host = url.host_str()?.trim_end_matches('.').to_ascii_lowercase();
        Some((host, url.port()))
    };
    match (read(endpoint), read(server)) {
        (Some((a, None)), Some((b, _))) => a == b,
        (Some(a), Some((host, port))) => a == (host, port.or(Some(443))),
        _ => endpoint == server,
    }
}
