//! Checks for the selection of objects: Velero's flags over the same words in the file.

use cluster_client::kube::Selection;

use super::Checker;
use crate::config::problem::{ConfigValue, Origin};
use crate::config::raw::{RawKubernetes, Text};
use crate::flags::SelectFlags;

impl Checker {
    pub(super) fn selection(&mut self, flags: &SelectFlags, raw: &mut RawKubernetes) -> Selection {
        let lists = [
            self.names(
                "--include-namespaces",
                &flags.include_namespaces,
                "kubernetes.include-namespaces",
                raw.include_namespaces.take(),
            ),
            self.names(
                "--exclude-namespaces",
                &flags.exclude_namespaces,
                "kubernetes.exclude-namespaces",
                raw.exclude_namespaces.take(),
            ),
            self.names(
                "--include-resources",
                &flags.include_resources,
                "kubernetes.include-resources",
                raw.include_resources.take(),
            ),
            self.names(
                "--exclude-resources",
                &flags.exclude_resources,
                "kubernetes.exclude-resources",
                raw.exclude_resources.take(),
            ),
        ];
        let selector = self.pick(
            "--selector",
            flags.selector.as_ref(),
            "kubernetes.selector",
            raw.selector.take(),
        );
        let values = |list: &[ConfigValue<String>]| list.iter().map(|n| n.value.clone()).collect();
        let [
            include_namespaces,
            exclude_namespaces,
            include_resources,
            exclude_resources,
        ] = lists.each_ref().map(|list| values(list));
        let selection = Selection {
            include_namespaces,
            exclude_namespaces,
            include_resources,
            exclude_resources,
            selector: selector.as_ref().map(|s| s.value.clone()),
            include_cluster_resources: flags
                .include_cluster_resources
                .or(raw.include_cluster_resources),
        };
        selection.checked().unwrap_or_else(|e| {
            // Finds where the wrong text was given; for text in two lists, the second list.
            let mut given = selector.iter().chain(lists.iter().flatten());
            let origin = given.rfind(|g| g.value == e.text());
            let origin = origin.map_or(Origin::Flag("the selection"), |g| g.origin.clone());
            self.wrong(origin, e.to_string());
            Selection::default()
        })
    }

    /// Returns the flag's values if any were given, or the file's values.
    fn names(
        &self,
        name: &'static str,
        flags: &[String],
        field: &str,
        file: Option<Vec<Text>>,
    ) -> Vec<ConfigValue<String>> {
        if flags.is_empty() {
            let texts = file.unwrap_or_default().into_iter().enumerate();
            return texts
                .map(|(i, text)| self.sourced(text, &format!("{field}[{i}]")))
                .collect();
        }
        let flags = flags.iter();
        flags
            .map(|text| ConfigValue::new(text.clone(), Origin::Flag(name)))
            .collect()
    }
}
