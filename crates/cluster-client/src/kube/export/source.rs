//! Source of one archive of an export, for a run.

use std::sync::Arc;

use async_trait::async_trait;

use super::{KubeArchive, KubeExport, files, findings, visit};
use backup_core::num::to_u64;
use backup_core::source::{ArchiveReport, ArchiveSink, ArchiveSource, ObjectTap, SourceError};

/// Source for one archive of an export.
#[derive(Debug)]
pub struct KubeSource {
    export: Arc<KubeExport>,
    archive: KubeArchive,
    tap: Option<Arc<dyn ObjectTap>>,
}

impl KubeSource {
    pub(super) fn new(export: Arc<KubeExport>, archive: KubeArchive) -> Self {
        Self {
            export,
            archive,
            tap: None,
        }
    }

    /// Returns which archive it is.
    #[must_use]
    pub fn archive(&self) -> KubeArchive {
        self.archive
    }

    /// Shows `tap` every object that it writes.
    pub fn show_to(&mut self, tap: Arc<dyn ObjectTap>) {
        self.tap = Some(tap);
    }
}

#[async_trait]
impl ArchiveSource for KubeSource {
    async fn write(&self, out: &mut ArchiveSink) -> Result<ArchiveReport, SourceError> {
        if let Some(tap) = &self.tap {
            out.attach_tap(Arc::clone(tap));
        }
        let (export, archive) = (self.export.as_ref(), self.archive);
        let mut findings = Vec::new();
        if archive == KubeArchive::Secrets && !export.collected().complete {
            // References to Secrets were not read in this run: read them now, and keep only the
            // findings and the kinds that could not be read, whose Secrets may be missing.
            let read = visit::visit(export, KubeArchive::Resources, None).await?;
            findings = read.findings;
        }
        let (kept, lacks) = match archive {
            KubeArchive::Kubeconfigs => {
                files::write(&export.files, out, &mut findings, export.clock.now()).await?
            }
            _ => (Vec::new(), Vec::new()),
        };
        let mut written = visit::visit(export, archive, Some(out)).await?;
        written.facts.lacks.extend(lacks);
        let number = to_u64(kept.len());
        written.facts.objects = written.facts.objects.saturating_add(number);
        export.collected().kubeconfigs.extend(kept);
        written.findings.extend(findings);
        match archive {
            KubeArchive::Resources => export.collected().complete = true,
            KubeArchive::Secrets => written
                .findings
                .extend(findings::missing_references(&export.collected().references)),
            _ => {}
        }
        Ok(written)
    }
}
