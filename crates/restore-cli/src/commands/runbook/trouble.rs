//! Part of the runbook for steps that do not end as they should.

use backup_core::archive::ResourceName;
use cluster_restore::pause::{self, PauseMarker};
use cluster_restore::plan::Danger;
use cluster_restore::quiesce::{PARKED, REPLICAS};

use super::document::{Document, code};
use super::etcd;
use super::facts::Facts;

/// Dangers that may block a plan in any mode.
const DANGERS: [(Danger, &str); 13] = [
    (
        Danger::TenantData,
        "the tenant's keys are not in its DataStore; allowed, it comes up EMPTY",
    ),
    (
        Danger::TenantAuthority,
        "Steward would make a new authority; every kubeconfig of the tenant ends",
    ),
    (
        Danger::MissingSecret,
        "a Secret that cannot be made again is missing: try an older restore point",
    ),
    (
        Danger::SharedSchema,
        "two control planes on one set of keys: deleting one empties the other",
    ),
    (
        Danger::LostStatus,
        "a tenant without its status: a second one would be made",
    ),
    (
        Danger::SealingKey,
        "a sealing key cannot be read by its controller: Secrets stay sealed",
    ),
    (
        Danger::MissingSealingKey,
        "no sealing key opens a SealedSecret; allowed, it stays sealed",
    ),
    (
        Danger::MissingDefinition,
        "nothing defines a kind; allowed, its objects are not restored",
    ),
    (
        Danger::MissingDatastore,
        "a control plane's DataStore is missing; allowed, Steward waits for it",
    ),
    (
        Danger::UnknownCluster,
        "it is not known which cluster the restore point is from; never guess",
    ),
    (
        Danger::UnseenNode,
        "a node cannot be looked at; if it runs etcd, there would be two of one cluster",
    ),
    (
        Danger::ControlPlaneUpgrade,
        "captured in the middle of an upgrade; allowed, Steward ends it",
    ),
    (
        Danger::DatastoreMigration,
        "captured in the middle of a move; allowed, Steward moves the tenant",
    ),
];

/// Writes the part.
pub(super) fn write(document: &mut Document, facts: &Facts) {
    document.heading("When something goes wrong");
    document.text("The code that `restore-cli` ends with says what kind of trouble it is:");
    document.table(
        ["CODE", "MEANS", "DO"],
        [
            ["0", "complete", "go on"],
            [
                "1",
                "it could not be done",
                "read why, deal with it, run it again",
            ],
            [
                "2",
                "a flag, a file or the configuration is wrong",
                "read the hint, correct it",
            ],
            ["3", "complete, with warnings", "read them, then continue"],
            [
                "4",
                "something is damaged or missing",
                "“If the restore point is damaged”",
            ],
            [
                "5",
                "what was asked for is not there",
                "see `restore-cli list`",
            ],
            [
                "6",
                "refused, nothing was changed",
                "read the remedy; plan again",
            ],
            [
                "7",
                "partly done",
                "`restore-cli status`, then `restore-cli resume`",
            ],
            [
                "130",
                "interrupted",
                "run it again, or `restore-cli resume`",
            ],
        ]
        .map(|row| row.map(str::to_owned)),
    );
    if facts.has_objects() {
        interrupted(document, facts);
        blockers(document, facts);
    }
    damaged(document, facts);
    if facts.in_place() {
        document.part("If etcd's data is in the way");
        document.text(
            "Only if `restore-cli restore etcd` said so, only on the node that it named, and never \
             while a majority of members runs. Try first whether the data there is newer than the \
             restore point: it may be the best copy there is.",
        );
        etcd::wipe(document, facts);
    }
    if facts.has_objects() {
        stopped(document);
        paused(document, facts);
    }
}

fn interrupted(document: &mut Document, facts: &Facts) {
    document.part("If the restore was interrupted");
    document.text(
        "In the folder where it was begun. What is done is not done again; what was stopped is put \
         back at the end. The journal in `butler-restores/` must be there.",
    );
    document.aside([
        "restore-cli status".to_owned(),
        format!("restore-cli resume{}", facts.identity()),
    ]);
    document.text(
        "Repeat until it is `complete`. An object that fails again is named with its reason: deal with \
         that, then resume. From another machine: copy the folder `butler-restores/` there first.",
    );
}

fn blockers(document: &mut Document, facts: &Facts) {
    document.part("If the plan has blockers");
    document.text(
        "Each is printed with its remedy. Do that, and plan again. `--allow NAME` continues in \
         spite of one: only if you know what it costs.",
    );
    let other = if facts.in_place() {
        (
            Danger::OtherLineage,
            "this is another cluster, not the restore point's, or it was set up again",
        )
    } else {
        (
            Danger::TargetNotEmpty,
            "the cluster has tenants already: it is not the fresh one",
        )
    };
    let rows = DANGERS.into_iter().chain([other]);
    document.table(
        ["DANGER", "WHAT IT IS"],
        rows.map(|(danger, what)| [code(&danger.name()), what.to_owned()]),
    );
}

fn damaged(document: &mut Document, facts: &Facts) {
    document.part("If the restore point is damaged");
    document.text(format!(
        "These name the damaged objects, and the restore points that do not need them. Take the newest \
         of those, and write its runbook with `restore-cli runbook RESTORE-POINT --mode {}`.",
        if facts.in_place() { "in-place" } else { "rebuild" }
    ));
    document.aside(["restore-cli audit --deep", "restore-cli list"]);
    if let Some(parent) = &facts.point.manifest.parent {
        document.text(format!(
            "The one before it was {}.",
            code(parent.id.as_str())
        ));
    }
}

/// Writes how to resume by hand what is still stopped. The order is the restore's own.
fn stopped(document: &mut Document) {
    document.part("If something is still stopped");
    document.text(
        "`restore-cli resume` puts everything back, and `restore-cli status` prints the commands \
         for what is left. Without the journal, the cluster itself shows it. Put back in this \
         order: sealed-secrets, Steward, Cluster API, Butler, Flux; each when the one before it is \
         ready.",
    );
    document.text(format!(
        "Deployments carry how many replicas they had, as annotation {}. This prints the commands:",
        code(REPLICAS)
    ));
    document.aside([
        "kubectl get deployments.apps --all-namespaces --output go-template='{{range .items}}{{$d := \
         .metadata}}{{with $d.annotations}}{{with index . \"@\"}}kubectl -n {{$d.namespace}} scale \
         deployment {{$d.name}} --replicas={{.}} && kubectl -n {{$d.namespace}} annotate deployment \
         {{$d.name}} @-{{\"\\n\"}}{{end}}{{end}}{{end}}'"
            .replace('@', REPLICAS),
    ]);
    document.text(format!(
        "Webhooks wait for a label that no object has, {}. This names them, each with its number; what \
         their selectors were is in the journal's lines `parking`.",
        code(PARKED)
    ));
    document.aside([
        "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations --output \
         go-template='{{range .items}}{{$c := .}}{{range $i, $w := .webhooks}}{{with \
         $w.objectSelector}}{{with .matchLabels}}{{with index . \"@\"}}kubectl patch {{$c.kind}} \
         {{$c.metadata.name}} --type json -p '\"'\"'[{\"op\":\"remove\",\"path\":\"/webhooks/{{$i}}/\
         objectSelector\"}]'\"'\"'{{\"\\n\"}}{{end}}{{end}}{{end}}{{end}}{{end}}'"
            .replace('@', PARKED),
    ]);
}

/// Writes the commands that list what still carries the marker that keeps controllers off.
fn paused(document: &mut Document, facts: &Facts) {
    let archives = facts.point.manifest.components.iter();
    let kinds = archives.filter_map(|c| c.archive.as_ref());
    let kinds = kinds.flat_map(|a| &a.kinds).filter(|k| k.objects > 0);
    let mut annotations = Vec::new();
    let mut fields = Vec::new();
    for kind in kinds {
        let resource = &kind.resource;
        match pause::marker(&ResourceName::from(resource.as_str())) {
            Some(PauseMarker::Annotation(name)) => annotations.push(marked(resource, name)),
            Some(PauseMarker::Field(field)) => fields.push(format!(
                "kubectl get {resource} --all-namespaces --output go-template='{{{{range .items}}}}\
                 {{{{if .spec.{field}}}}}kubectl patch {resource} {{{{.metadata.name}}}}\
                 {{{{with .metadata.namespace}}}} -n {{{{.}}}}{{{{end}}}} --type merge \
                 -p '\"'\"'{{\"spec\":{{\"{field}\":null}}}}'\"'\"'{{{{\"\\n\"}}}}{{{{end}}}}{{{{end}}}}'"
            )),
            None => {}
        }
    }
    if !annotations.is_empty() {
        document.text(format!(
            "Objects that a restore made paused carry an annotation with the value {}. These print the \
             commands that take it off. First look that nothing is Terminating, and that status and \
             Secrets of each control plane are there: without the annotation its controller acts at \
             once.",
            code(pause::OURS)
        ));
        document.aside(annotations);
    }
    if !fields.is_empty() {
        document.text(
            "These print the commands for objects that are paused by a field. Some may have been \
             paused by a person before: `restore-cli resources get KIND NAME` shows how they were.",
        );
        document.aside(fields);
    }
}

fn marked(resource: &str, annotation: &str) -> String {
    format!(
        "kubectl get {resource} --all-namespaces --output go-template='{{{{range .items}}}}{{{{$m := \
         .metadata}}}}{{{{with $m.annotations}}}}{{{{with index . \"{annotation}\"}}}}\
         {{{{if eq . \"{}\"}}}}kubectl -n {{{{$m.namespace}}}} annotate {resource} {{{{$m.name}}}} \
         {annotation}-{{{{\"\\n\"}}}}{{{{end}}}}{{{{end}}}}{{{{end}}}}{{{{end}}}}'",
        pause::OURS
    )
}
