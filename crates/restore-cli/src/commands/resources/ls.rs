//! Command `restore-cli resources ls`, which lists the kinds of a restore point, or the objects of one kind.

use std::ops::ControlFlow;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::archive::{ArchiveError, ResourceName, StoredJson};
use backup_core::catalog::RestorePoint;
use backup_core::id::ComponentName;
use backup_core::num::to_u64;
use backup_core::read::{ObjectReader, RestoreError};
use cluster_restore::orchestrate::Requirement;
use jiff::Timestamp;
use serde::Serialize;

use super::PointFlag;
use super::overview::Overview;
use crate::commands::kinds::{self, ListedKind};
use crate::commands::latest::of_kind;
use crate::commands::{ReadSettings, open, read_failure};
use crate::flags::{ReadFlags, ScratchFlags};

/// Largest number of objects that are listed; further ones are counted. A row takes some 100 bytes, and this
/// is more than a person reads.
const MAX_ROWS: usize = 100_000;

/// List the kinds of a restore point, or the objects of one kind
///
/// The kinds are told by the manifest and need no key; the objects of a kind need --identity.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(super) struct Args {
    /// List the objects of this kind: plural, singular or kind, as `plural.group` where that is
    /// not clear
    #[arg(value_name = "KIND")]
    kind: Option<String>,
    /// List those of this namespace only
    #[arg(long, short, value_name = "NAMESPACE", requires = "kind")]
    namespace: Option<String>,
    #[command(flatten)]
    at: PointFlag,
    #[command(flatten)]
    scratch: ScratchFlags,
    #[command(flatten)]
    read: ReadFlags,
}

pub(super) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let opened = frame.or_cancelled(open(&args.read.given(), frame)).await?;
    let needs = match &args.kind {
        Some(kind) => of_kind(kind),
        None => Requirement::Component(ComponentName::resources()),
    };
    let found = opened.find(&args.at.at, &needs);
    let point = frame.or_cancelled(found).await?;
    let Some(kind) = &args.kind else {
        frame.terminal.emit(&Overview::of(&point))?;
        return Ok(Exit::Complete);
    };
    let resource = kinds::resolve(&[&point.manifest], kind)?;
    let identities = opened.config.identities(|text| frame.terminal.warn(text))?;
    let reading = ReadSettings {
        scratch: args.scratch.folder(frame),
        progress: frame.terminal.progress(),
    };
    let reader = opened.reader(&point, &identities, &reading, frame).await?;
    let mut list = ObjectList {
        restore_point: point.entry.id.to_string(),
        resource: resource.to_string(),
        objects: Vec::new(),
        more: 0,
        now: frame.clock.now(),
    };
    for listed in holding(&point, &resource) {
        let wanted = ObjectQuery {
            component: listed.component.clone(),
            resource: resource.clone(),
            namespace: args.namespace.clone(),
            left: listed.facts.objects,
        };
        let found = read(&reader, wanted).await;
        list.add(found.map_err(read_failure)?);
    }
    drop((reader, reading));
    frame.terminal.emit(&list)?;
    if list.objects.is_empty() {
        let place = args.namespace.as_ref();
        let place = place.map_or(String::new(), |n| format!(" in namespace {n}"));
        let none = format!("There is no object of {resource}{place} in this restore point.");
        frame.terminal.status(&none);
    }
    Ok(Exit::Complete)
}

/// Returns the components that contain objects of the kind.
pub(super) fn holding<'p>(
    point: &'p RestorePoint,
    resource: &'p ResourceName,
) -> impl Iterator<Item = ListedKind<'p>> {
    kinds::listed(&point.manifest)
        .filter(|l| l.facts.resource == resource.as_str() && l.facts.objects > 0)
}

/// Selection of the objects of a component.
struct ObjectQuery {
    component: ComponentName,
    resource: ResourceName,
    namespace: Option<String>,
    /// Objects of the kind that are still to come; after them nothing needs to be read.
    left: u64,
}

#[derive(Default)]
struct ObjectPage {
    rows: Vec<ObjectRow>,
    more: u64,
    failed: Option<ArchiveError>,
}

async fn read(reader: &ObjectReader, mut wanted: ObjectQuery) -> Result<ObjectPage, RestoreError> {
    let component = wanted.component.clone();
    let each = move |found: &mut ObjectPage, object: StoredJson| wanted.look(found, &object);
    let found = reader.fold(&component, ObjectPage::default(), each).await?;
    match found.failed {
        Some(source) => Err(RestoreError::Archive { component, source }),
        None => Ok(found),
    }
}

impl ObjectQuery {
    fn look(&mut self, found: &mut ObjectPage, object: &StoredJson) -> ControlFlow<()> {
        if object.path.resource != self.resource {
            return ControlFlow::Continue(());
        }
        if self.namespace.is_none() || self.namespace == object.path.namespace {
            if found.rows.len() >= MAX_ROWS {
                found.more = found.more.saturating_add(1);
            } else {
                match ObjectRow::of(&self.component, object) {
                    Ok(row) => found.rows.push(row),
                    Err(e) => {
                        found.failed = Some(e);
                        return ControlFlow::Break(());
                    }
                }
            }
        }
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// Printed result of `resources ls KIND`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectList {
    restore_point: String,
    resource: String,
    objects: Vec<ObjectRow>,
    /// Number of objects beyond those that are listed.
    more: u64,
    #[serde(skip)]
    now: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRow {
    namespace: Option<String>,
    name: String,
    component: String,
    created: Option<Timestamp>,
    managed_by: Option<&'static str>,
}

impl ObjectRow {
    fn of(component: &ComponentName, object: &StoredJson) -> Result<Self, ArchiveError> {
        let head = object.head()?;
        Ok(Self {
            namespace: object.path.namespace.clone(),
            name: object.path.name.clone(),
            component: component.to_string(),
            created: head.created,
            managed_by: head.managed_by,
        })
    }
}

impl ObjectList {
    fn add(&mut self, found: ObjectPage) {
        let room = MAX_ROWS.saturating_sub(self.objects.len());
        let over = found.rows.len().saturating_sub(room);
        self.objects.extend(found.rows.into_iter().take(room));
        let over = to_u64(over);
        self.more = self.more.saturating_add(found.more).saturating_add(over);
    }
}

impl Report for ObjectList {
    fn page(&self, page: &mut Page) {
        let dash = || "-".to_owned();
        let rows = self.objects.iter().map(|row| {
            let age = row.created.map(|created| human::age(self.now, created));
            [
                row.namespace.clone().unwrap_or_else(dash),
                row.name.clone(),
                age.unwrap_or_else(dash),
                row.created.map_or_else(dash, human::utc),
                row.managed_by.unwrap_or("-").to_owned(),
                row.component.clone(),
            ]
        });
        page.table(
            [
                "NAMESPACE",
                "NAME",
                "AGE",
                "CREATED",
                "MANAGED BY",
                "COMPONENT",
            ],
            rows,
        );
        if self.more > 0 {
            page.line(&format!(
                "and {} more; name one namespace with -n",
                self.more
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_cli::output::{Format, render};

    #[test]
    fn objects_read_well_and_their_json_stays() {
        let row = |namespace: Option<&str>, name: &str, managed_by| ObjectRow {
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
            component: "resources".to_owned(),
            created: Some("2026-11-01T09:30:00Z".parse().unwrap()),
            managed_by,
        };
        let mut list = ObjectList {
            restore_point: "20261123t120000000z-1a2b3c4d5e6f".to_owned(),
            resource: "tenantclusters.butler.butlerlabs.dev".to_owned(),
            objects: Vec::new(),
            more: 0,
            now: "2026-11-23T12:45:00Z".parse().unwrap(),
        };
        list.add(ObjectPage {
            rows: vec![
                row(Some("team-a"), "one", None),
                row(None, "two", Some("flux")),
            ],
            more: 3,
            failed: None,
        });
        insta::assert_snapshot!("objects_table", render(&list, Format::Table, None).unwrap());
        insta::assert_snapshot!("objects_json", render(&list, Format::Json, None).unwrap());
    }
}
