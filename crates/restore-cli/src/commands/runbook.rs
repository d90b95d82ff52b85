//! Command `restore-cli runbook`, which writes the instructions for restoring this cluster from this restore
//! point.

use std::path::PathBuf;

use anyhow::Context as _;
use backup_cli::config::{Config, ConfigFlags};
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::flags::TalosFlags;
use backup_cli::output::{Format, Page, Report};
use backup_cli::program::Frame;
use backup_core::catalog::RestorePoint;
use backup_core::id::ComponentName;
use backup_core::newfile::{self, OverwritePolicy};
use cluster_client::talos::{ConfigSearch, TalosAddresses};
use cluster_restore::orchestrate::{PastDurations, Requirement, RestoreFilter};
use cluster_restore::plan::Mode;
use serde::Serialize;

use self::document::{Document, Form};
use self::facts::{Facts, Nodes};
use self::view::FactsView;
use super::plan::ModeFlag;
use super::recover::JournalFlags;
use crate::commands::gaps::GapReport;
use crate::commands::{OpenedStore, open};
use crate::flags::{LookFlags, PointArg};

mod document;
mod facts;
mod shell;
mod templates;
mod view;

/// Write the runbook of one restore point: every command with the real names, and what it must show
///
/// Reads the store alone: needs no key and no cluster, and says what it could not know. Make it while
/// all is well, after every change of keys or nodes, and keep it printed or on another machine. It
/// holds no secret.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: PointArg,
    /// Restore in this way
    #[arg(long, value_enum, value_name = "MODE", default_value = "in-place")]
    mode: ModeFlag,
    /// Write it in this form
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    format: Form,
    /// Write it to this file; one that is there is replaced [default: stdout]
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Read the nodes' addresses from this talosconfig [default: `TALOSCONFIG`, then `TALOS_HOME` or
    /// the home folder]
    #[arg(long, value_name = "FILE", help_heading = "Talos")]
    talosconfig: Option<PathBuf>,
    /// Use this context of the talosconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT", help_heading = "Talos")]
    context: Option<String>,
    /// Name these control plane nodes [default: those of the context]
    #[arg(
        long,
        value_name = "ADDRESS",
        value_delimiter = ',',
        help_heading = "Talos"
    )]
    nodes: Vec<String>,
    #[command(flatten)]
    journals: JournalFlags,
    #[command(flatten)]
    look: LookFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let given = ConfigFlags {
        talos: TalosFlags {
            talosconfig: args.talosconfig.clone(),
            context: args.context.clone(),
            nodes: args.nodes.clone(),
        },
        ..args.look.given()
    };
    let opened = open(&given, frame).await?;
    let (mode, needs) = match args.mode {
        ModeFlag::InPlace => (Mode::InPlace, Requirement::Component(ComponentName::etcd())),
        ModeFlag::Rebuild => (Mode::Rebuild, Requirement::Objects),
    };
    let found = opened.find(&args.selection.restore_point, &needs);
    // The manifest's names go into commands, so the restore point must have a trusted signature.
    let point = found.await?;
    can_be(mode, &point)?;
    let facts = facts(opened, point, mode, args, frame).await?;
    let (document, unknown) = runbook(&facts).context("write the runbook")?;
    let text = document.written(args.format);
    let written = RunbookReport {
        restore_point: facts.id(),
        mode,
        file: args.to.as_ref().map(|file| file.display().to_string()),
        unknown,
        text: args.to.is_none().then(|| text.clone()),
    };
    match &args.to {
        Some(file) => keep(file, &text)?,
        None if frame.terminal.format() == Format::Table => {
            frame.terminal.emit_text(&text)?;
            return Ok(Exit::Complete);
        }
        None => {}
    }
    frame.terminal.emit(&written)?;
    Ok(Exit::Complete)
}

/// Refuses a mode for which the restore point lacks the data, because that would be noticed too late.
fn can_be(mode: Mode, point: &RestorePoint) -> Result<(), Failure> {
    let (needed, hint) = match mode {
        Mode::InPlace => (
            ComponentName::etcd(),
            "write the runbook of a rebuild with --mode rebuild, or choose a restore point that has \
             `etcd` from `restore-cli list`",
        ),
        Mode::Rebuild => (
            ComponentName::resources(),
            "write that of a restore of etcd with --mode in-place, or choose a restore point that has \
             `resources` from `restore-cli list`",
        ),
    };
    if point.manifest.component(&needed).is_some() {
        return Ok(());
    }
    let told = format!(
        "restore point {} has no component `{needed}`",
        point.entry.id
    );
    Err(Failure::message(Exit::NotFound, told).hint(hint))
}

async fn facts(
    opened: OpenedStore,
    point: RestorePoint,
    mode: Mode,
    args: &Args,
    frame: &Frame,
) -> Result<Facts, Failure> {
    let nodes = nodes(&opened.config, frame).await;
    let filter = RestoreFilter {
        cluster: &point.manifest.cluster,
        mode,
        steps: None,
    };
    let took = PastDurations::last(&args.journals.journals, &opened.store, &filter).await;
    let lacked = opened.lacked(&point, &point.manifest.gaps()).await?;
    Ok(Facts {
        mode,
        lacked: lacked.iter().map(GapReport::from).collect(),
        store: opened.config.need_store()?.clone(),
        trust: opened.view.trust,
        nodes,
        took,
        point,
    })
}

/// Reads the nodes from flags, configuration and talosconfig. The talosconfig may well be elsewhere.
async fn nodes(config: &Config, frame: &Frame) -> Nodes {
    let environment = &frame.environment;
    let search = ConfigSearch {
        explicit: config.talos.config.clone(),
        talosconfig: environment.talosconfig.clone(),
        talos_home: environment.talos_home.clone(),
        home: environment.home.clone(),
    };
    let places = TalosAddresses::read(&search, config.talos.context.as_deref()).await;
    let named = config.talos.nodes.clone();
    match places {
        Ok(places) => Nodes {
            named: if named.is_empty() {
                places.nodes
            } else {
                named
            },
            endpoints: places.endpoints,
            context: Some(places.context),
        },
        Err(_) => Nodes {
            named,
            ..Nodes::default()
        },
    }
}

/// Returns the whole runbook, and the sentences in it on what is not known.
fn runbook(facts: &Facts) -> anyhow::Result<(Document, Vec<String>)> {
    let mut view = FactsView::of(facts);
    view.unknown = templates::fill("unknown.md.jinja", &view)?.items();
    let document = templates::fill("runbook.md.jinja", &view)?;
    Ok((document, view.unknown))
}

/// Writes the file so that it is whole or does not exist.
fn keep(file: &std::path::Path, text: &str) -> Result<(), Failure> {
    let kept = newfile::write(file, text.as_bytes(), OverwritePolicy::Replace);
    let kept = kept.with_context(|| format!("write the runbook to {}", file.display()));
    Ok(kept?)
}

/// Printed result of `runbook` if it wrote a file, or for programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RunbookReport {
    restore_point: String,
    mode: Mode,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Facts that are unknown.
    unknown: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl Report for RunbookReport {
    fn page(&self, page: &mut Page) {
        page.fields([
            ("Restore point", self.restore_point.clone()),
            ("Runbook", self.file.clone().unwrap_or_default()),
        ]);
        if !self.unknown.is_empty() {
            page.heading("What it could not know");
            for unknown in &self.unknown {
                page.line(&format!("  {unknown}"));
            }
        }
        page.line("Print it, or keep it where the cluster's end does not reach.");
    }
}

#[cfg(test)]
mod tests;
