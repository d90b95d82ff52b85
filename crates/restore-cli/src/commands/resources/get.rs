//! Command `restore-cli resources get`, which prints one object as kubectl does.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use anyhow::Context as _;
use backup_cli::clean;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::output::Format;
use backup_cli::program::Frame;
use backup_core::archive::{ResourceName, StoredJson, mask};
use backup_core::read::{ObjectReader, RestoreError};
use serde::Serialize as _;
use serde_json::Value;

use super::PointFlag;
use super::ls::holding;
use crate::commands::kinds::{self, ListedKind};
use crate::commands::latest::of_kind;
use crate::commands::yaml::to_yaml;
use crate::commands::{ReadSettings, open, read_failure};
use crate::flags::{ReadFlags, ScratchFlags};

/// Largest number of names that are remembered for proposals; further names are ignored.
const MAX_NAMES: usize = 10_000;
/// Largest number of names that are proposed.
const PROPOSED: usize = 5;
/// Smallest similarity of two names that are proposed for each other; 1 is equal.
const ALIKE: f32 = 0.6;

/// Show one object as YAML, as kubectl prints it, or with `--output json` as JSON
///
/// Secret values are masked unless --show-secrets is given. Without --namespace the object is
/// looked for in all of them. Ends with code 5 if there is none.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(super) struct Args {
    /// The kind: plural, singular or kind, as `plural.group` where that is not clear
    #[arg(value_name = "KIND")]
    kind: String,
    /// The object's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Look in this namespace only
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    at: PointFlag,
    /// Show secret values
    #[arg(long)]
    show_secrets: bool,
    /// Show who set which field
    #[arg(long)]
    show_managed_fields: bool,
    #[command(flatten)]
    scratch: ScratchFlags,
    #[command(flatten)]
    read: ReadFlags,
}

pub(super) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let opened = frame.or_cancelled(open(&args.read.given(), frame)).await?;
    let needs = of_kind(&args.kind);
    let found = opened.find(&args.at.at, &needs);
    let point = frame.or_cancelled(found).await?;
    let resource = kinds::resolve(&[&point.manifest], &args.kind)?;
    let identities = opened.config.identities(|text| frame.terminal.warn(text))?;
    let reading = ReadSettings {
        scratch: args.scratch.folder(frame),
        progress: frame.terminal.progress(),
    };
    let reader = opened.reader(&point, &identities, &reading, frame).await?;
    let mut found = LookupResult::default();
    for listed in holding(&point, &resource) {
        found = read(&reader, listed, args, found)
            .await
            .map_err(read_failure)?;
        // The same Secret may be in several components.
        if found.object.is_some() {
            break;
        }
    }
    drop((reader, reading));
    let object = found.the_one(&resource, args)?;
    let mut value = object.value().context("read the object")?;
    drop(object);
    if !args.show_managed_fields
        && let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.remove("managedFields");
    }
    let masked = if args.show_secrets {
        0
    } else {
        mask(&resource, &mut value)
    };
    let text = match frame.terminal.format() {
        Format::Json => clean::json(&to_json(&value)?).into_owned(),
        Format::Table | Format::Yaml => {
            clean::yaml(to_yaml(&value), &value).context("write the object as YAML")?
        }
    };
    frame.terminal.emit_text(&text)?;
    if masked > 0 {
        let note = format!("Secret values are masked ({masked}); --show-secrets shows them.");
        frame.terminal.status(&note);
    }
    Ok(Exit::Complete)
}

/// Formats JSON with kubectl's indentation.
fn to_json(object: &Value) -> Result<String, Failure> {
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    object
        .serialize(&mut serializer)
        .context("write the object as JSON")?;
    text.push(b'\n');
    Ok(String::from_utf8(text).context("write the object as JSON")?)
}

/// Results of searching for an object.
#[derive(Default)]
struct LookupResult {
    object: Option<StoredJson>,
    /// Other objects of that name, in other namespaces.
    others: Vec<String>,
    /// Names of the kind.
    names: Vec<String>,
}

async fn read(
    reader: &ObjectReader,
    listed: ListedKind<'_>,
    args: &Args,
    found: LookupResult,
) -> Result<LookupResult, RestoreError> {
    let resource = ResourceName::from(listed.facts.resource.as_str());
    let (name, namespace) = (args.name.clone(), args.namespace.clone());
    let namespaced = listed.facts.namespaced;
    let mut left = listed.facts.objects;
    let each = move |found: &mut LookupResult, object: StoredJson| {
        if object.path.resource != resource {
            return ControlFlow::Continue(());
        }
        left = left.saturating_sub(1);
        let here = !namespaced || namespace.is_none() || namespace == object.path.namespace;
        if here && object.path.name == name {
            if found.object.is_some() {
                found.others.push(object.path.object());
            } else {
                found.object = Some(object);
            }
        } else if found.names.len() < MAX_NAMES {
            found.names.push(object.path.object());
        }
        let sure = found.object.is_some() && (!namespaced || namespace.is_some());
        if sure || left == 0 || found.others.len() >= PROPOSED {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    };
    reader.fold(listed.component, found, each).await
}

impl LookupResult {
    /// Returns the object, if there is exactly one.
    fn the_one(self, resource: &ResourceName, args: &Args) -> Result<StoredJson, Failure> {
        match (self.object, self.others.is_empty()) {
            (Some(object), true) => Ok(object),
            (Some(object), false) => {
                let several = format!(
                    "there are several of {resource} called {}: {}, {}",
                    args.name,
                    object.path.object(),
                    self.others.join(", ")
                );
                let failure = Failure::message(Exit::Usage, several);
                Err(failure.hint("name the namespace with -n"))
            }
            (None, _) => Err(not_found(&self.names, resource, args)),
        }
    }
}

fn not_found(names: &[String], resource: &ResourceName, args: &Args) -> Failure {
    let wanted = match &args.namespace {
        Some(namespace) => format!("{namespace}/{}", args.name),
        None => args.name.clone(),
    };
    let failure = Failure::message(
        Exit::NotFound,
        format!("the restore point has no {wanted} of {resource}"),
    );
    // Names that match in another namespace come before similar names.
    let named = |name: &&String| name.rsplit('/').next() == Some(args.name.as_str());
    let mut near: Vec<&str> = names.iter().filter(named).map(String::as_str).collect();
    let bare: Vec<&str> = names.iter().filter_map(|n| n.rsplit('/').next()).collect();
    let alike = similar::get_close_matches(args.name.as_str(), &bare, PROPOSED, ALIKE);
    let like = |name: &&String| alike.iter().any(|a| name.rsplit('/').next() == Some(*a));
    near.extend(names.iter().filter(like).map(String::as_str));
    let mut seen = BTreeSet::new();
    near.retain(|name| seen.insert(*name));
    near.truncate(PROPOSED);
    if near.is_empty() {
        return failure.hint(format!("`restore-cli resources ls {resource}` shows all"));
    }
    failure.hint(format!("near it: {}", near.join(", ")))
}
