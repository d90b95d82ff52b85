//! Walk through the kinds of an archive: the next page is loaded while one is processed.

use futures::{FutureExt as _, StreamExt as _, stream};

use super::super::failure::KubeError;
use super::super::kind::Kind;
use super::super::list::Page;
use super::super::reader::KindReader;
use super::admission::AdmissionCheck;
use super::findings::{list_failure, lost_objects, other_version, too_deep, unreadable};
use super::kinds::{self, KindTally};
use super::{KubeArchive, KubeExport};
use backup_core::format::export::{ArchiveFacts, CompleteIn, KindFacts, Lack};
use backup_core::format::manifest::{Finding, Severity};
use backup_core::source::{ArchiveReport, ArchiveSink, SourceError};

/// Kinds whose first page is requested at the same time: most kinds have only one.
const AHEAD: usize = 3;

/// Lists all kinds of `archive`, and writes the objects that are taken to `out`, if given.
pub(super) async fn visit(
    export: &KubeExport,
    archive: KubeArchive,
    mut out: Option<&mut ArchiveSink>,
) -> Result<ArchiveReport, SourceError> {
    let mut written = ArchiveReport::default();
    let kinds = export.kinds(archive);
    let selector = match archive {
        // Objects that a restore depends on are never excluded by a label.
        KubeArchive::Crds | KubeArchive::SealedSecrets | KubeArchive::Kubeconfigs => None,
        KubeArchive::Resources | KubeArchive::Secrets => export.selection.selector.as_deref(),
    };
    let begun = kinds
        .into_iter()
        .map(|kind| begin(export, kind, selector).boxed());
    let begun: Vec<_> = begun.collect();
    let mut listings = stream::iter(begun).buffered(AHEAD);
    // A selection by label does not prove that objects are absent.
    let scope = selector.is_none().then(|| export.selection.namespaces());
    while let Some((reading, first)) = listings.next().await {
        let is_empty = !matches!(&first, Ok(Some(page)) if !page.items.is_empty());
        let admission = match archive {
            KubeArchive::Resources if !is_empty => {
                AdmissionCheck::of_kind(export.api(), reading.kind()).await
            }
            _ => AdmissionCheck::default(),
        };
        written
            .findings
            .extend(other_version(export, reading.kind()));
        let of = (archive, scope.clone());
        let (facts, findings) = kind(export, of, (reading, admission), first, &mut out).await?;
        let is_error = findings.iter().any(|f| f.severity == Severity::Error);
        written.findings.extend(findings);
        if let Some(facts) = facts {
            if archive == KubeArchive::Resources
                && is_error
                && let (Some(why), []) = (&facts.failed, facts.lost.as_slice())
            {
                export.collected().unread.push(Lack {
                    what: facts.resource.clone(),
                    cause: format!("Secrets that its objects refer to may be missing: {why}"),
                });
            }
            written.facts.objects = written.facts.objects.saturating_add(facts.objects);
            written.facts.kinds.push(facts);
        }
    }
    drop(listings);
    written.facts.lacks = export.lacks(archive);
    hide_others(archive, &mut written.facts);
    Ok(written)
}

/// Starts a kind, and reads its first page.
async fn begin<'a>(
    export: &'a KubeExport,
    kind: &'a Kind,
    selector: Option<&'a str>,
) -> (KindReader<'a>, Result<Option<Page>, KubeError>) {
    let reading = KindReader::begin(export.api(), kind, selector, export.kept.as_ref()).await;
    let mut reading = reading.record();
    if !export.unconverted.contains_key(&kind.resource) {
        let first = reading.next().await;
        return (reading, first);
    }
    // All objects in another version are better than some in this one.
    match reading.next_whole().await {
        Err(e) if !e.is_of_the_server() && !e.is_denied() => {
            if let Some(other) = unconverted(export, kind, selector).await {
                return other;
            }
            let first = if e.is_internal() {
                reading.skip_unreadable(e).await
            } else {
                Err(e)
            };
            (reading, first)
        }
        first => (reading, first),
    }
}

/// Reads the kind in the version in which its objects are stored, if the converting webhook is down.
async fn unconverted<'a>(
    export: &'a KubeExport,
    kind: &Kind,
    selector: Option<&'a str>,
) -> Option<(KindReader<'a>, Result<Option<Page>, KubeError>)> {
    for other in export.unconverted.get(&kind.resource)? {
        let mut reading = KindReader::begin(export.api(), other, selector, None).await;
        let first = reading.next_whole().await;
        if first.is_ok() {
            return Some((reading, first));
        }
    }
    None
}

/// Returns the finding for objects that are in the archive in another version than the kind's others.
fn unconverted_part(kind: &Kind, reading: &KindReader<'_>) -> Option<Finding> {
    let count = reading.unconverted();
    (count > 0).then(|| Finding::warning(
        kind.resource.to_string(),
        format!(
            "its conversion webhook does not answer: {count} of its objects were not read as {}, but in the \
             version that they are stored in",
            kind.version
        ),
        "they are complete and can be restored; start the webhook that converts them",
    ))
}

async fn kind(
    export: &KubeExport,
    (archive, scope): (KubeArchive, Option<CompleteIn>),
    (mut reading, admission): (KindReader<'_>, AdmissionCheck),
    first: Result<Option<Page>, KubeError>,
    out: &mut Option<&mut ArchiveSink>,
) -> Result<(Option<KindFacts>, Vec<Finding>), SourceError> {
    let kind = reading.kind();
    let mut tally = KindTally::new(kind, admission);
    let mut recorder = reading.recorder();
    let mut next = first;
    loop {
        let page = match next {
            Ok(Some(page)) => page,
            Ok(None) => {
                let odd = tally.unreadable;
                // A kind with unreadable objects is not kept at all.
                if let (Some(kept), Some(recorder), 0, None) =
                    (&export.kept, recorder, odd, reading.list_failed())
                {
                    kept.recorded(kind, recorder).await;
                }
                let odd = (odd > 0).then(|| unreadable(kind, odd));
                let deep = tally.deep.take();
                let deep = deep.map(|(first, count)| too_deep(kind, &first, count));
                let lost = kinds::lost(export, archive, &reading);
                let findings = odd.into_iter().chain(deep);
                let findings = findings.chain(tally.admission.finding(kind));
                let findings = findings.chain(unconverted_part(kind, &reading));
                let findings = findings.chain(lost_objects(kind, &archive.component(), &lost));
                let findings = findings.collect();
                return Ok((Some(tally.facts(&reading, scope, lost, None)), findings));
            }
            Err(e) if e.is_of_the_server() => return Err(e.into()),
            // A client that may not read the definition gets the error that the kind cannot be listed.
            Err(e)
                if e.is_not_found()
                    && kind.custom
                    && !reading.is_defined().await.unwrap_or(true) =>
            {
                let gone = "its definition was deleted while the export ran".to_owned();
                let finding = Finding::info(
                    kind.resource.to_string(),
                    gone.clone(),
                    "nothing to do if this was intended",
                );
                return Ok((
                    Some(tally.facts(&reading, None, Vec::new(), Some(gone))),
                    vec![finding],
                ));
            }
            Err(e) => {
                let finding = list_failure(kind, &e, tally.objects);
                let lost = kinds::lost(export, archive, &reading);
                let findings = lost_objects(kind, &archive.component(), &lost);
                let findings = std::iter::once(finding).chain(findings).collect();
                let facts = tally.facts(&reading, None, lost, Some(e.line()));
                return Ok((Some(facts), findings));
            }
        };
        let restarted = reading.restarted();
        let work = async {
            let entries = tally.page(export, archive, page.items, restarted, recorder.as_mut());
            if let Some(recorder) = &mut recorder {
                recorder.flush().await;
            }
            if let Some(out) = out.as_deref_mut() {
                for entry in &entries {
                    out.object(&entry.path, &entry.json).await?;
                }
            }
            Ok::<_, SourceError>(())
        };
        // The next page is requested first: the server prepares it while this one is processed.
        let (coming, worked) = tokio::join!(reading.next(), work);
        worked?;
        next = coming;
    }
}

/// Removes counts of other components' Secrets from a pass over all Secrets for one component.
fn hide_others(archive: KubeArchive, facts: &mut ArchiveFacts) {
    let passes = matches!(
        archive,
        KubeArchive::SealedSecrets | KubeArchive::Kubeconfigs
    );
    for kind in facts.kinds.iter_mut().filter(|_| passes) {
        kind.skipped.retain(|s| s.reason == "it is being deleted");
    }
}
