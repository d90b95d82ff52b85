//! Tests of what a kustomization may not name.

use super::*;

fn look(files: &[(&str, &str)]) -> Vec<String> {
    let tree = tempfile::tempdir().unwrap();
    let tree = tree.path();
    for (file, text) in files {
        let file = tree.join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let found = refusals(tree, &tree.join("app"));
    let told = found.into_iter().map(|r| {
        let file = r.file.strip_prefix(tree).unwrap().display().to_string();
        format!("{file}:{} {}", r.line.unwrap_or(0), r.why)
    });
    told.collect()
}

#[test]
fn what_lies_elsewhere_is_refused_with_its_file_and_line() {
    for remote in [
        "https://example.org/base?ref=v1",
        "http://example.org/base.yaml",
        "ssh://git@example.org/base",
        "file:///etc/base",
        "git::https://example.org/base",
        "git@example.org:base.git",
        "GIT@github.com:a/b",
        "me@example.org:base",
        "github.com/org/base?ref=v1",
        "github.com/org/base",
        "gh:org/base",
        "example.org:org/base",
        "HTTPS://example.org/x.yaml",
    ] {
        for (field, text) in [
            ("resources", format!("resources:\n- {remote}\n")),
            ("Resources", format!("Resources:\n- {remote}\n")),
            ("re\u{17f}ources", format!("re\u{17f}ources:\n- {remote}\n")),
            ("bases", format!("bases:\n- {remote}\n")),
            ("components", format!("components:\n- {remote}\n")),
            ("crds", format!("crds:\n- {remote}\n")),
            ("configurations", format!("configurations:\n- {remote}\n")),
            ("patches", format!("patches:\n- path: {remote}\n")),
            (
                "patchesStrategicMerge",
                format!("patchesStrategicMerge:\n- {remote}\n"),
            ),
            (
                "patchesJson6902",
                format!("patchesJson6902:\n- path: {remote}\n"),
            ),
            ("replacements", format!("replacements:\n- path: {remote}\n")),
            ("openapi", format!("openapi:\n  path: {remote}\n")),
            ("transformers", format!("transformers:\n- {remote}\n")),
            ("generators", format!("generators:\n- {remote}\n")),
            ("validators", format!("validators:\n- {remote}\n")),
            (
                "configMapGenerator",
                format!("configMapGenerator:\n- files: [\"{remote}\"]\n"),
            ),
            (
                "configMapGenerator",
                format!("configMapGenerator:\n- files:\n  - k={remote}\n"),
            ),
            (
                "secretGenerator",
                format!("secretGenerator:\n- envs: [\"{remote}\"]\n"),
            ),
            ("<<", format!("<<:\n  resources: [\"{remote}\"]\n")),
        ] {
            let found = look(&[("app/kustomization.yaml", &text)]);
            assert_eq!(found.len(), 1, "{field} {remote}: {found:?}");
            let wanted = if text.lines().count() > 2 { "3" } else { "2" };
            let at = format!("app/kustomization.yaml:{wanted} names a part in another place");
            assert!(found[0].starts_with(&at), "{field} {remote}: {found:?}");
        }
    }
}

#[test]
fn programs_charts_and_what_leads_out_are_refused() {
    for (text, why) in [
        ("helmCharts:\n- name: x\n", "1 has a chart inflated"),
        (
            "helmChartInflationGenerator: []\n",
            "1 has a chart inflated",
        ),
        ("helmGlobals:\n  chartHome: x\n", "1 has a chart inflated"),
        ("generators: [exec.yaml]\n", "4 has a plugin run"),
        ("transformers: [chart.yaml]\n", "2 has a plugin run"),
        (
            "validators:\n- |-\n  apiVersion: a/v1\n  kind: Own\n",
            "4 has a plugin run",
        ),
        ("resources: [../../out]\n", "1 names a part outside"),
        ("resources: [/etc]\n", "1 names a part outside"),
        ("resources: [missing]\n", "1 names a part that is not"),
        ("resources: [\n", "is not YAML"),
        (
            "# of others\nresources: [../base]\n",
            "base/kustomization.yml:1 names a part in another",
        ),
    ] {
        let found = look(&[
            ("app/kustomization.yaml", text),
            (
                "base/kustomization.yml",
                "resources: [\"https://example.org/x\"]\n",
            ),
            (
                "app/exec.yaml",
                "apiVersion: builtin\n# by a function\n---\nkind: Own\nmetadata:\n  annotations:\n    \
                 config.kubernetes.io/function: |\n      exec: {path: ./x}\n",
            ),
            (
                "app/chart.yaml",
                "apiVersion: builtin\nkind: HelmChartInflationGenerator\n",
            ),
        ]);
        assert!(found.iter().any(|f| f.contains(why)), "{text}: {found:?}");
    }
}

#[test]
fn what_is_in_the_repository_is_taken() {
    let found = look(&[
        (
            "app/kustomization.yaml",
            "resources: [a.yaml, ../base/, ./a.yaml]\npatches:\n- path: a.yaml\n- patch: |-\n    - op: add\n      \
             path: /metadata/annotations/u\n      value: https://example.org\n\
             patchesStrategicMerge:\n- |-\n  apiVersion: v1\n  kind: A\n  url: https://example.org\n- a.yaml\n\
             configMapGenerator:\n- name: c\n  files: [k=a.yaml, a.yaml]\n  literals: [u=https://example.org]\n\
             transformers:\n- t.yaml\nimages:\n- name: example.org/x\n  newTag: v1\n\
             namespace: x\ncommonAnnotations: {u: https://example.org}\n",
        ),
        ("app/a.yaml", "a: b\n"),
        (
            "app/t.yaml",
            "apiVersion: builtin\nkind: NamespaceTransformer\nmetadata: {name: n}\n",
        ),
        ("base/Kustomization", "resources: []\n"),
    ]);
    assert!(found.is_empty(), "{found:?}");
}
