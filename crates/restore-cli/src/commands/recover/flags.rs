//! Flags of commands that restore objects.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use backup_cli::failure::Failure;
use backup_cli::flags::KubeFlags;
use backup_cli::program::Frame;
use clap::ValueEnum;
use cluster_restore::Timeouts;
use cluster_restore::fill::Fill;
use cluster_restore::orchestrate::RestoreSetup;
use cluster_restore::plan::{Danger, ExistingPolicy, Options, Plan};

use super::{ConsentFlags, TargetFlags, setup};
use crate::flags::{ReadFlags, ScratchFlags};

/// Where journals are kept.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Journal")]
pub(crate) struct JournalFlags {
    /// Keep journals and the plans they follow in this folder
    #[arg(long, value_name = "FOLDER", default_value = "butler-restores")]
    pub(crate) journals: PathBuf,
}

/// How long things are waited for.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Waiting")]
pub(crate) struct WaitFlags {
    /// Look for losses this many seconds after the last object was made; a garbage collector may
    /// need half a minute
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    settle: u32,
    /// Wait this many seconds for controllers to be ready again
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    ready_within: u32,
    /// Leave everything stopped if an in-place restore ends before its time; without this it is put
    /// back as it was
    #[arg(long)]
    keep_stopped: bool,
}

impl WaitFlags {
    /// Returns the waiting times for a run.
    pub(crate) fn timeouts(&self) -> Timeouts {
        Timeouts {
            settle: Duration::from_secs(self.settle.into()),
            ready: Duration::from_secs(self.ready_within.into()),
            keep_stopped: self.keep_stopped,
        }
    }
}

/// How a plan is carried out: the same for beginning with it and for going on.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunFlags {
    #[command(flatten)]
    pub(crate) consent: ConsentFlags,
    #[command(flatten)]
    pub(crate) journals: JournalFlags,
    #[command(flatten)]
    waits: WaitFlags,
    #[command(flatten)]
    scratch: ScratchFlags,
    #[command(flatten)]
    talos: TargetFlags,
    #[command(flatten)]
    kube: KubeFlags,
    #[command(flatten)]
    pub(crate) read: ReadFlags,
}

impl RunFlags {
    /// Opens the store, and returns the setup of a run of `plan`.
    pub(crate) async fn setup(&self, plan: &Plan, frame: &Frame) -> Result<RestoreSetup, Failure> {
        let flags = (&self.read, &self.kube, &self.scratch);
        let talos = plan.etcd.as_ref().map(|_| &self.talos);
        setup(flags, talos, frame).await
    }

    /// Returns the waiting times for a run.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.waits.timeouts()
    }
}

/// What becomes of objects that are there and differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExistingFlag {
    /// Update them, but for those that Helm or Flux looks after on a fresh cluster.
    Auto,
    /// Update all of them.
    Update,
    /// Leave all of them.
    Keep,
}

/// Whose definitions win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CrdsFlag {
    /// The newer one.
    Newer,
    /// The archive's.
    Archive,
}

/// Which objects, and how.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Objects")]
pub(crate) struct ObjectFlags {
    /// Restore only objects in these namespaces [default: all]
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    include_namespaces: Vec<String>,
    /// Restore no objects in these namespaces
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    exclude_namespaces: Vec<String>,
    /// Restore only these kinds, as `plural`, `plural.group` or kind [default: all]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    include_resources: Vec<String>,
    /// Restore none of these kinds
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    exclude_resources: Vec<String>,
    /// Restore only objects with these labels, as in `team=blue,tier=web`
    #[arg(long, short = 'l', value_name = "LABELS", value_delimiter = ',', value_parser = label)]
    selector: Vec<(String, String)>,
    /// Restore only what belongs to this tenant, by name or NAMESPACE/NAME
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Do this with objects that are there and differ
    #[arg(long, value_enum, value_name = "HOW", default_value = "auto")]
    existing: ExistingFlag,
    /// Overwrite fields that changed both in the cluster and in the archive
    #[arg(long)]
    overwrite_conflicts: bool,
    /// Prefer this definition where the cluster's and the archive's differ
    #[arg(long, value_enum, value_name = "WHICH", default_value = "newer")]
    crds: CrdsFlag,
    /// Delete objects that the archive does not have: of what is chosen, of kinds that it is proven to
    /// hold whole, and without a finalizer
    #[arg(long)]
    prune: bool,
    /// Leave webhooks at work while objects are written
    #[arg(long)]
    keep_webhooks: bool,
    /// Delete this live object, which the API server cannot read, and create it again; as
    /// KIND/NAMESPACE/NAME, may be repeated
    #[arg(long, value_name = "OBJECT", value_delimiter = ',')]
    replace_unreadable: Vec<String>,
    /// Give this field to objects that lack it, or that hold a value there which their definition does
    /// not admit; as gadgets.example.org.spec.size=3, may be repeated
    #[arg(long, value_name = "KIND.FIELD=VALUE")]
    fill: Vec<Fill>,
    /// Continue in spite of this danger, as a plan names it; may be repeated
    #[arg(long, value_name = "DANGER", value_delimiter = ',', value_parser = danger)]
    allow: Vec<Danger>,
}

impl ObjectFlags {
    /// Reports whether objects that the archive does not have are deleted.
    pub(crate) fn prune(&self) -> bool {
        self.prune
    }

    /// Converts the flags into options of a plan.
    pub(crate) fn options(&self) -> Options {
        let set = |names: &[String]| names.iter().cloned().collect();
        Options {
            include_namespaces: set(&self.include_namespaces),
            exclude_namespaces: set(&self.exclude_namespaces),
            include_resources: set(&self.include_resources),
            exclude_resources: set(&self.exclude_resources),
            labels: self.selector.iter().cloned().collect::<BTreeMap<_, _>>(),
            tenant: self.tenant.clone(),
            existing: match self.existing {
                ExistingFlag::Auto => ExistingPolicy::Auto,
                ExistingFlag::Update => ExistingPolicy::Update,
                ExistingFlag::Keep => ExistingPolicy::Keep,
            },
            overwrite_conflicts: self.overwrite_conflicts,
            overwrite_crds: self.crds == CrdsFlag::Archive,
            prune: self.prune,
            keep_webhooks: self.keep_webhooks,
            replace_unreadable: set(&self.replace_unreadable),
            fill: self.fill.clone(),
            allow: self.allow.iter().copied().collect(),
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((
            name.trim_end_matches('=').to_owned(),
            value.trim_start_matches('=').to_owned(),
        )),
        _ => Err("want NAME=VALUE".to_owned()),
    }
}

fn danger(text: &str) -> Result<Danger, String> {
    let found = serde_json::from_value(serde_json::Value::from(text));
    found.map_err(|_| {
        let names: Vec<String> = Danger::ALL.iter().map(|d| d.name()).collect();
        format!("want one of: {}", names.join(", "))
    })
}
