//! Check that a DataStore's snapshot contains the data of the tenants that use it.

use std::collections::{BTreeMap, BTreeSet};

use backup_core::format::manifest::{EtcdFacts, Finding, Severity};
use backup_core::id::ComponentName;
use backup_core::shortlist::shorten;

/// Maximum number of names in one finding.
const MAX_NAMES: usize = 20;

/// Tenant control plane and the location of its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantSchema {
    /// Name of the control plane, as `NAMESPACE/NAME`.
    pub tenant: String,
    /// Folder of its keys, which is also the name of its role.
    pub schema: String,
    /// Name of its etcd user, if it differs from the schema.
    pub user: Option<String>,
}

/// Compares the snapshot of the DataStore `name` with the tenants that use it.
#[must_use]
pub fn schemas(name: &str, etcd: &EtcdFacts, tenants: &[TenantSchema]) -> Vec<Finding> {
    let object = format!("{}{name}", ComponentName::DATASTORE);
    let finding = |severity, cause: String, remedy: &str| {
        Finding::new(severity, object.clone(), cause, remedy)
    };
    let mut findings = Vec::new();
    if etcd.total_keys.is_none() || etcd.more_prefixes {
        let cause =
            "it has more keys or folders than are counted, so its tenants' data was not checked";
        let remedy = "compare with `etcdctl get / --prefix --keys-only`";
        findings.push(finding(Severity::Warning, cause.to_owned(), remedy));
    } else {
        let known: BTreeSet<&str> = tenants.iter().map(|t| t.schema.as_str()).collect();
        let has = |t: &&TenantSchema| !etcd.prefixes.contains_key(&t.schema);
        let empty = tenants.iter().filter(has);
        let empty = empty.map(|t| format!("{} (/{}/)", t.tenant, t.schema));
        if let Some(names) = shortened(empty) {
            let cause = format!("tenants without data: {names}");
            let remedy = "if they are not new, they use another schema than they report: see \
                          `status.storage.setup` of each TenantControlPlane";
            findings.push(finding(Severity::Warning, cause, remedy));
        }
        let orphans = etcd.prefixes.iter();
        let orphans = orphans.filter(|(p, _)| !p.is_empty() && !known.contains(p.as_str()));
        let orphans = orphans.map(|(prefix, keys)| format!("/{prefix}/ ({keys} keys)"));
        if let Some(names) = shortened(orphans) {
            let cause = format!("data without a tenant: {names}");
            let remedy = "it is stored with the rest; check whether a tenant was deleted by mistake, or \
                          belongs to another management cluster";
            findings.push(finding(Severity::Warning, cause, remedy));
        }
    }
    findings.extend(
        auth(etcd, tenants).map(|(cause, remedy)| finding(Severity::Warning, cause, remedy)),
    );
    findings
}

/// Returns the problem with users and roles, and what to do.
fn auth(etcd: &EtcdFacts, tenants: &[TenantSchema]) -> Option<(String, &'static str)> {
    if !etcd.auth_enabled {
        let cause = "auth is off: each tenant that has a client certificate can read all others";
        return Some((cause.to_owned(), "turn it on: `etcdctl auth enable`"));
    }
    if etcd.more_names {
        let cause = "it has more users or roles than are recorded, so they were not compared";
        return Some((
            cause.to_owned(),
            "see `etcdctl user list` and `etcdctl role list`",
        ));
    }
    let mut lacking: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for tenant in tenants {
        let user = tenant.user.as_ref().unwrap_or(&tenant.schema);
        if !etcd.users.contains(user) {
            let lacks = lacking.entry(&tenant.tenant).or_default();
            lacks.push(format!("user {user}"));
        }
        if !etcd.roles.contains(&tenant.schema) {
            let lacks = lacking.entry(&tenant.tenant).or_default();
            lacks.push(format!("role {}", tenant.schema));
        }
    }
    let lacking = lacking.iter();
    let lacking = lacking.map(|(tenant, lacks)| format!("{tenant} ({})", lacks.join(", ")));
    let cause = format!(
        "tenants without their user or role: {}",
        shortened(lacking)?
    );
    Some((
        cause,
        "Steward makes them again when it reconciles these tenants",
    ))
}

/// Lists the first of `names` and the number of the others; `None` if there are none.
fn shortened(names: impl Iterator<Item = String>) -> Option<String> {
    let names: Vec<String> = names.collect();
    (!names.is_empty()).then(|| shorten(names.into_iter(), MAX_NAMES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str, schema: &str) -> TenantSchema {
        TenantSchema {
            tenant: name.to_owned(),
            schema: schema.to_owned(),
            user: None,
        }
    }

    fn facts(schemas: &[&str]) -> EtcdFacts {
        let names: Vec<String> = schemas.iter().map(|s| (*s).to_owned()).collect();
        EtcdFacts {
            total_keys: Some(100),
            prefixes: names.iter().map(|name| (name.clone(), 10)).collect(),
            users: names.iter().cloned().chain(["root".to_owned()]).collect(),
            roles: names.iter().cloned().chain(["root".to_owned()]).collect(),
            auth_enabled: true,
            ..EtcdFacts::default()
        }
    }

    #[test]
    fn tenants_and_data_that_fit_need_no_word() {
        let mut etcd = facts(&["one_cp", "two_cp"]);
        // A key outside of any folder belongs to no tenant.
        etcd.prefixes.insert(String::new(), 1);
        let tenants = [tenant("one/cp", "one_cp"), tenant("two/cp", "two_cp")];
        assert_eq!(schemas("default", &etcd, &tenants), []);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut etcd = facts(&["one_cp", "left_over"]);
        etcd.users.retain(|name| name != "one_cp");
        let mut renamed = tenant("one/cp", "one_cp");
        renamed.user = Some("somebody".to_owned());
        let tenants = [renamed, tenant("two/cp", "two_cp")];
        insta::assert_yaml_snapshot!(schemas("default", &etcd, &tenants));
    }

    #[test]
    fn what_was_not_counted_is_not_called_missing() {
        let mut etcd = facts(&[]);
        etcd.more_prefixes = true;
        etcd.auth_enabled = false;
        let found = schemas("default", &etcd, &[tenant("one/cp", "one_cp")]);
        insta::assert_yaml_snapshot!(found);
    }

    #[test]
    fn of_many_names_the_first_are_told() {
        let tenants: Vec<_> = (0..30).map(|i| tenant(&format!("{i}/cp"), "x")).collect();
        let found = schemas("default", &facts(&[]), &tenants);
        assert!(
            found.iter().all(|f| f.cause.ends_with(" and 10 more")),
            "{found:?}"
        );
    }
}
