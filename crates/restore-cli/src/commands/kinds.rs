//! Resolution of a word on the command line to one of the kinds that a restore point lists.

use std::collections::BTreeSet;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_core::archive::ResourceName;
use backup_core::format::export::KindFacts;
use backup_core::format::manifest::Manifest;
use backup_core::id::ComponentName;

/// Short names that kubectl users type without thinking. Short names of custom resources are in their
/// definitions, which only a key opens.
const SHORT: [(&str, &str); 6] = [
    ("cm", "configmaps"),
    ("crd", "customresourcedefinitions"),
    ("crds", "customresourcedefinitions"),
    ("ns", "namespaces"),
    ("sa", "serviceaccounts"),
    ("sc", "storageclasses"),
];

/// Largest number of kinds that are proposed in place of an unknown one.
const PROPOSED: usize = 5;
/// Smallest similarity of two words that are proposed for each other; 1 is equal.
const ALIKE: f32 = 0.6;

/// Kind that a component of a restore point lists.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListedKind<'m> {
    pub(super) component: &'m ComponentName,
    pub(super) facts: &'m KindFacts,
}

/// Returns every listed kind, component by component.
pub(super) fn listed(manifest: &Manifest) -> impl Iterator<Item = ListedKind<'_>> {
    manifest.components.iter().flat_map(|component| {
        let kinds = component.archive.iter().flat_map(|a| &a.kinds);
        kinds.map(|facts| ListedKind {
            component: &component.name,
            facts,
        })
    })
}

/// Resolves `wanted` to a kind in any of `manifests`, as kubectl does: plural, singular or kind, in any case,
/// with or without its group.
pub(super) fn resolve(manifests: &[&Manifest], wanted: &str) -> Result<ResourceName, Failure> {
    let wanted = wanted.to_ascii_lowercase();
    let (word, group) = match wanted.split_once('.') {
        None => (wanted.as_str(), None),
        Some((word, "" | "core")) => (word, Some("")),
        Some((word, group)) => (word, Some(group)),
    };
    let word = SHORT
        .iter()
        .find(|(short, _)| *short == word)
        .map_or(word, |(_, plural)| plural);
    let all: Vec<&KindFacts> = manifests
        .iter()
        .flat_map(|manifest| listed(manifest))
        .map(|listed| listed.facts)
        .collect();
    let meant: BTreeSet<ResourceName> = all
        .iter()
        .filter(|facts| means(facts, word, group))
        .map(|facts| ResourceName::from(facts.resource.as_str()))
        .collect();
    match meant.len() {
        0 => Err(unknown(manifests, &all, word, &wanted)),
        1 => meant
            .into_iter()
            .next()
            .ok_or_else(|| unknown(manifests, &all, word, &wanted)),
        _ => {
            let names: Vec<&str> = meant.iter().map(ResourceName::as_str).collect();
            let ambiguous = format!("`{wanted}` is several kinds: {}", names.join(", "));
            let core = if meant.iter().any(|kind| kind.group().is_empty()) {
                format!("; the core group's is `{word}.`")
            } else {
                String::new()
            };
            let hint = format!("write the one you mean with its group{core}");
            Err(Failure::message(Exit::Usage, ambiguous).hint(hint))
        }
    }
}

/// Reports whether the word means this kind. `group` is the group of the word, if it has one; empty for the
/// core group.
fn means(facts: &KindFacts, word: &str, group: Option<&str>) -> bool {
    let resource = ResourceName::from(facts.resource.as_str());
    let kind = facts.kind.to_ascii_lowercase();
    let in_group = group.is_none_or(|group| {
        let unversioned = group
            .strip_prefix(&facts.version)
            .and_then(|g| g.strip_prefix('.'));
        group == resource.group() || unversioned == Some(resource.group())
    });
    in_group && (word == resource.plural() || word == kind)
}

fn unknown(manifests: &[&Manifest], all: &[&KindFacts], word: &str, wanted: &str) -> Failure {
    let left_out = manifests
        .iter()
        .filter_map(|m| m.kubernetes.as_ref())
        .flat_map(|k| &k.left_out)
        .find(|l| l.resource == wanted || l.resource.split('.').next() == Some(word));
    if let Some(left_out) = left_out {
        let told = format!(
            "{} was there and was not listed: {}",
            left_out.resource, left_out.reason
        );
        return Failure::message(Exit::NotFound, told);
    }
    let words: BTreeSet<&str> = all
        .iter()
        .flat_map(|f| {
            [
                f.resource.split('.').next().unwrap_or_default(),
                f.kind.as_str(),
            ]
        })
        .collect();
    let words: Vec<&str> = words.into_iter().collect();
    let alike = similar::get_close_matches(word, &words, PROPOSED, ALIKE);
    let near: BTreeSet<&str> = all
        .iter()
        .filter(|f| {
            alike
                .iter()
                .any(|a| f.kind == *a || f.resource.split('.').next() == Some(a))
        })
        .map(|f| f.resource.as_str())
        .collect();
    let failure = Failure::message(
        Exit::NotFound,
        format!("no component of the restore point has a kind `{wanted}`"),
    );
    if near.is_empty() {
        return failure.hint("`restore-cli resources ls` shows all kinds");
    }
    let near: Vec<&str> = near.into_iter().collect();
    failure.hint(format!("near it: {}", near.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_core::digest::Digest;
    use serde_json::json;

    fn manifest() -> Manifest {
        let kind = |resource: &str, kind: &str, version: &str| {
            json!({
                "resource": resource, "kind": kind, "version": version, "namespaced": true,
                "objects": 1, "bytes": 10, "sha256": Digest::of(b"x"),
            })
        };
        let component = |name: &str, kinds: Vec<serde_json::Value>| {
            json!({
                "name": name, "mediaType": "application/x-tar", "plainBytes": 1,
                "plainSha256": Digest::of(b"x"), "packs": [], "recipes": [],
                "archive": { "objects": 1, "kinds": kinds },
            })
        };
        let manifest = json!({
            "version": 1, "tool": "test", "cluster": "c", "claim": Digest::of(b"c"),
            "began": "2026-11-23T12:00:00Z", "ended": "2026-11-23T12:00:01Z",
            "lineage": { "id": "l" }, "encryption": { "mode": "none" },
            "components": [
                component("resources", vec![
                    kind("tenantclusters.butler.butlerlabs.dev", "TenantCluster", "v1alpha1"),
                    kind("clusters.cluster.x-k8s.io", "Cluster", "v1beta1"),
                    kind("clusters.longhorn.io", "Cluster", "v1"),
                    kind("namespaces", "Namespace", "v1"),
                ]),
                component("secrets", vec![kind("secrets", "Secret", "v1")]),
                component("kubeconfigs", vec![kind("secrets", "Secret", "v1")]),
            ],
            "kubernetes": {
                "uid": "u", "version": "v1.36.1", "server": "s",
                "leftOut": [{ "resource": "pods", "reason": "made by controllers" }],
            },
            "indexes": [],
            "cost": {
                "readBytes": 1, "chunks": 1, "newChunks": 1, "objects": 1, "storedBytes": 1
            },
        });
        Manifest::parse(manifest.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_kind_is_understood_as_kubectl_does() {
        let manifest = manifest();
        for (wanted, meant) in [
            ("tenantclusters", "tenantclusters.butler.butlerlabs.dev"),
            ("TenantCluster", "tenantclusters.butler.butlerlabs.dev"),
            (
                "tenantcluster.butler.butlerlabs.dev",
                "tenantclusters.butler.butlerlabs.dev",
            ),
            (
                "tenantclusters.v1alpha1.butler.butlerlabs.dev",
                "tenantclusters.butler.butlerlabs.dev",
            ),
            ("clusters.longhorn.io", "clusters.longhorn.io"),
            ("secret", "secrets"),
            ("ns", "namespaces"),
        ] {
            assert_eq!(
                resolve(&[&manifest], wanted).unwrap().as_str(),
                meant,
                "{wanted}"
            );
        }
    }

    #[test]
    fn what_is_no_kind_is_told_with_what_is_near() {
        let manifest = manifest();
        let said = [
            "cluster",
            "tenantclusterz",
            "pods",
            "po",
            "clusters.v1.cluster.x-k8s.io",
        ]
        .map(|wanted| resolve(&[&manifest], wanted).unwrap_err())
        .map(|failure| format!("{} {}", failure.exit().code(), failure.text()))
        .concat();
        insta::assert_snapshot!(said, @r"
        2 error: `cluster` is several kinds: clusters.cluster.x-k8s.io, clusters.longhorn.io
          hint: write the one you mean with its group
        5 error: no component of the restore point has a kind `tenantclusterz`
          hint: near it: clusters.cluster.x-k8s.io, clusters.longhorn.io, tenantclusters.butler.butlerlabs.dev
        5 error: pods was there and was not listed: made by controllers
        5 error: no component of the restore point has a kind `po`
          hint: `restore-cli resources ls` shows all kinds
        5 error: no component of the restore point has a kind `clusters.v1.cluster.x-k8s.io`
          hint: near it: clusters.cluster.x-k8s.io, clusters.longhorn.io, tenantclusters.butler.butlerlabs.dev
        ");
    }
}
