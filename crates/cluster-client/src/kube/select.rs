//! Selection of kinds and namespaces, in the terms that Velero's users know.

use std::collections::BTreeSet;

use super::kind::Kind;
use super::scope::{self, BUILT_IN, CONFIG_MAPS, CRDS, SECRETS};
use backup_core::format::export::CompleteIn;

/// Selection of kinds and namespaces; the default takes what a restore needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// Namespaces whose objects are taken; empty for all.
    pub include_namespaces: BTreeSet<String>,
    /// Namespaces whose objects are not taken.
    pub exclude_namespaces: BTreeSet<String>,
    /// Kinds that are taken, by plural, `plural.group` or kind; empty for the default selection, `*` for
    /// every kind that is not noise.
    pub include_resources: BTreeSet<String>,
    /// Kinds that are not taken.
    pub exclude_resources: BTreeSet<String>,
    /// Label selector for the objects to take, as kubectl writes it.
    pub selector: Option<String>,
    /// Whether kinds without a namespace are taken; if not set, they are unless only some namespaces are.
    pub include_cluster_resources: Option<bool>,
}

/// Selection that is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ParseSelectionError {
    /// A name is both included and excluded.
    #[error("`{0}` is both included and excluded; leave it out of one of the two")]
    Both(String),
    /// A namespace name is invalid.
    #[error("`{0}` is not a namespace; want 1 to 63 of a-z, 0-9 and `-`, or `*` for all")]
    Namespace(String),
    /// A kind name is invalid.
    #[error(
        "`{0}` is not a kind; want a plural as `kubectl api-resources` prints it, with or without its \
         group, or `*`"
    )]
    Resource(String),
    /// The label selector is empty.
    #[error("the label selector is empty; want one like `team=blue,tier!=test`")]
    Selector(String),
}

impl ParseSelectionError {
    /// Returns the invalid text, as given.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Both(text)
            | Self::Namespace(text)
            | Self::Resource(text)
            | Self::Selector(text) => text,
        }
    }
}

/// Treatment of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KindScope {
    /// Its objects are listed for this component.
    Take(KindDestination),
    /// It is not listed, with the reason.
    LeaveOut(String),
}

/// Component that a kind's objects go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KindDestination {
    /// CustomResourceDefinitions.
    Crds,
    /// Secrets and ConfigMaps, whose component depends on the object.
    Secrets,
    /// All other kinds.
    Resources,
}

impl Selection {
    /// Checks that the selection is valid; `*` as a namespace means no restriction.
    ///
    /// # Errors
    /// See [`ParseSelectionError`].
    pub fn checked(mut self) -> Result<Self, ParseSelectionError> {
        for names in [&mut self.include_namespaces, &mut self.exclude_namespaces] {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            let good =
                |n: &String| n == "*" || ((1..=63).contains(&n.len()) && n.chars().all(allowed));
            if let Some(bad) = names.iter().find(|n| !good(n)) {
                return Err(ParseSelectionError::Namespace(bad.clone()));
            }
        }
        for names in [&self.include_resources, &self.exclude_resources] {
            let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            let good = |n: &String| n == "*" || (!n.is_empty() && n.chars().all(allowed));
            if let Some(bad) = names.iter().find(|n| !good(n)) {
                return Err(ParseSelectionError::Resource(bad.clone()));
            }
        }
        let both = |a: &BTreeSet<String>, b: &BTreeSet<String>| a.intersection(b).next().cloned();
        let both = both(&self.include_namespaces, &self.exclude_namespaces)
            .or_else(|| both(&self.include_resources, &self.exclude_resources));
        if let Some(both) = both {
            return Err(ParseSelectionError::Both(both));
        }
        if let Some(empty) = self.selector.as_ref().filter(|s| s.trim().is_empty()) {
            return Err(ParseSelectionError::Selector(empty.clone()));
        }
        if self.include_namespaces.contains("*") {
            self.include_namespaces.clear();
        }
        Ok(self)
    }

    /// Reports whether kinds without a namespace are taken.
    #[must_use]
    pub fn takes_cluster_resources(&self) -> bool {
        self.include_cluster_resources
            .unwrap_or(self.include_namespaces.is_empty())
    }

    /// Returns the treatment of a kind.
    pub(super) fn scope(&self, kind: &Kind) -> KindScope {
        let name = kind.resource.as_str();
        let destination = match name {
            CRDS => KindDestination::Crds,
            SECRETS | CONFIG_MAPS => KindDestination::Secrets,
            _ => KindDestination::Resources,
        };
        let out = |why: &str| KindScope::LeaveOut(why.to_owned());
        if names(&self.exclude_resources, kind) {
            return out("excluded by the selection");
        }
        let by_name = named(&self.include_resources, kind);
        if !by_name && let Some(reason) = scope::noise(name) {
            return KindScope::LeaveOut(format!("noise: {reason}"));
        }
        if !kind.can_list {
            return out("it cannot be listed");
        }
        if !self.include_resources.is_empty() {
            if !names(&self.include_resources, kind) {
                return out("not included by the selection");
            }
        } else if destination == KindDestination::Resources
            && !kind.custom
            && !BUILT_IN.contains(&name)
        {
            return out(if kind.aggregated {
                "served by an extension API, not kept in etcd"
            } else {
                "a built-in kind that is made again by its owner; include it by name"
            });
        }
        let cluster = self.takes_cluster_resources();
        // Everything else depends on CRDs.
        if !kind.namespaced
            && !cluster
            && destination != KindDestination::Crds
            && name != "namespaces"
        {
            return out("it has no namespace, and only some namespaces are included");
        }
        KindScope::Take(destination)
    }

    /// Reports whether the selection may include a kind, or a group as `*.GROUP`, that could not be
    /// discovered. Usually these are extension APIs, whose kinds are taken only by name or with `*`.
    pub(super) fn may_want(&self, what: &str, kinds: &[Kind]) -> bool {
        let Some(group) = what.strip_prefix('*') else {
            return !self.exclude_resources.contains(what);
        };
        let built_in = !group.trim_start_matches('.').contains('.') || group.ends_with(".k8s.io");
        let mut names = self.include_resources.iter();
        (built_in && self.include_resources.is_empty())
            || names.any(|name| {
                let own = BTreeSet::from([name.clone()]);
                let known = || kinds.iter().any(|kind| named(&own, kind));
                name == "*" || name.ends_with(group) || (!name.contains('.') && !known())
            })
    }

    /// Returns the selected namespaces.
    pub(super) fn namespaces(&self) -> CompleteIn {
        CompleteIn {
            include_namespaces: self.include_namespaces.clone(),
            exclude_namespaces: self.exclude_namespaces.clone(),
        }
    }

    /// Reports whether objects of this namespace are taken.
    #[must_use]
    pub fn wants_namespace(&self, namespace: &str) -> bool {
        let included = &self.include_namespaces;
        (included.is_empty() || included.contains(namespace))
            && !self.exclude_namespaces.contains(namespace)
    }
}

fn names(list: &BTreeSet<String>, kind: &Kind) -> bool {
    list.contains("*") || named(list, kind)
}

fn named(list: &BTreeSet<String>, kind: &Kind) -> bool {
    list.iter()
        .any(|name| kind.resource.answers_to(name, &kind.kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_core::archive::ResourceName;

    fn kind(resource: &str, name: &str, namespaced: bool, custom: bool) -> Kind {
        Kind {
            resource: ResourceName::from(resource),
            kind: name.to_owned(),
            version: "v1".to_owned(),
            namespaced,
            custom,
            aggregated: false,
            can_list: true,
            has_status: false,
            also_served: Vec::new(),
            stored_version: None,
            converted: false,
        }
    }

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|n| (*n).to_owned()).collect()
    }

    #[test]
    fn the_default_takes_what_a_restore_needs() {
        let scope = |k: &Kind| Selection::default().scope(k);
        let take = |destination| KindScope::Take(destination);
        assert_eq!(
            scope(&kind("teams.butler.butlerlabs.dev", "Team", false, true)),
            take(KindDestination::Resources)
        );
        assert_eq!(
            scope(&kind("secrets", "Secret", true, false)),
            take(KindDestination::Secrets)
        );
        assert_eq!(
            scope(&kind("namespaces", "Namespace", false, false)),
            take(KindDestination::Resources)
        );
        assert_eq!(
            scope(&kind(CRDS, "CustomResourceDefinition", false, false)),
            take(KindDestination::Crds)
        );
        for out in [
            kind("pods", "Pod", true, false),
            kind("events", "Event", true, false),
            kind("orders.acme.cert-manager.io", "Order", true, true),
        ] {
            assert!(matches!(scope(&out), KindScope::LeaveOut(_)), "{out:?}");
        }
    }

    #[test]
    fn names_win_over_the_default_and_a_star_does_not_bring_noise() {
        let some = Selection {
            include_resources: set(&["pods", "Event"]),
            ..Selection::default()
        };
        assert_eq!(
            some.scope(&kind("pods", "Pod", true, false)),
            KindScope::Take(KindDestination::Resources)
        );
        assert_eq!(
            some.scope(&kind("events", "Event", true, false)),
            KindScope::Take(KindDestination::Resources)
        );
        assert!(matches!(
            some.scope(&kind("secrets", "Secret", true, false)),
            KindScope::LeaveOut(_)
        ));
        let all = Selection {
            include_resources: set(&["*"]),
            exclude_resources: set(&["secrets"]),
            ..Selection::default()
        };
        assert_eq!(
            all.scope(&kind("pods", "Pod", true, false)),
            KindScope::Take(KindDestination::Resources)
        );
        assert!(matches!(
            all.scope(&kind("events", "Event", true, false)),
            KindScope::LeaveOut(_)
        ));
        assert!(matches!(
            all.scope(&kind("secrets", "Secret", true, false)),
            KindScope::LeaveOut(_)
        ));
    }

    #[test]
    fn some_namespaces_leave_the_cluster_out_unless_asked() {
        let mut some = Selection {
            include_namespaces: set(&["team-a"]),
            ..Selection::default()
        };
        let team = kind("teams.butler.butlerlabs.dev", "Team", false, true);
        assert!(matches!(some.scope(&team), KindScope::LeaveOut(_)));
        some.include_cluster_resources = Some(true);
        assert_eq!(
            some.scope(&team),
            KindScope::Take(KindDestination::Resources)
        );
        assert!(some.wants_namespace("team-a") && !some.wants_namespace("team-b"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let namespaces = |include: &[&str], exclude: &[&str]| Selection {
            include_namespaces: set(include),
            exclude_namespaces: set(exclude),
            ..Selection::default()
        };
        let wrong = [
            namespaces(&["a"], &["a"]).checked(),
            namespaces(&["A b"], &[]).checked(),
            Selection {
                include_resources: set(&["a/b"]),
                ..Selection::default()
            }
            .checked(),
            Selection {
                selector: Some(" ".to_owned()),
                ..Selection::default()
            }
            .checked(),
        ];
        let words: Vec<_> = wrong
            .into_iter()
            .map(|w| w.unwrap_err().to_string())
            .collect();
        insta::assert_snapshot!(words.join("\n"));
        let all = namespaces(&["*"], &[]).checked().unwrap();
        assert!(all.include_namespaces.is_empty());
    }

    #[test]
    fn what_could_not_be_discovered_may_be_meant_by_name_alone() {
        let known = [kind("teams.butler.butlerlabs.dev", "Team", false, true)];
        let away = "*.away.example.com";
        let by = |names: &[&str]| Selection {
            include_resources: set(names),
            ..Selection::default()
        };
        assert!(!Selection::default().may_want(away, &known));
        assert!(Selection::default().may_want("*.apps", &known));
        assert!(Selection::default().may_want("*.rbac.authorization.k8s.io", &known));
        assert!(Selection::default().may_want(CRDS, &known));
        for names in [&["*"][..], &["toys.away.example.com"], &["toys"]] {
            assert!(by(names).may_want(away, &known), "{names:?}");
        }
        assert!(!by(&["teams", "toys.example.com"]).may_want(away, &known));
    }
}
