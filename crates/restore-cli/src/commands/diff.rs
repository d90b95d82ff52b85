//! Command `restore-cli diff`, which compares two restore points.

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::archive::ResourceName;
use backup_core::catalog::RestorePoint;
use cluster_restore::orchestrate::Requirement;

use crate::commands::kinds;
use crate::commands::latest::of_kind;
use crate::commands::{ReadSettings, open};
use crate::flags::{ReadFlags, ScratchFlags};

mod compare;
mod merge;
mod patch;
mod plan;
mod report;

use compare::{Comparison, Filter};
use merge::ReaderPair;
use plan::ComponentPair;

/// Compare the objects of two restore points
///
/// Objects are compared without the fields that the API server writes: resourceVersion, generation,
/// managedFields, uid, creationTimestamp. An object that was deleted and made again is `recreated`;
/// one of which only the status differs is `status`. A kind that one of the two did not list is
/// not comparable, and none of its objects counts as removed. Components that are equal byte by
/// byte are not read, and need no key. Secret values are never shown.
///
/// Ends with code 0 whether they differ or not; see --exit-code.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// The earlier restore point: `latest`, an id, or the beginning of one
    #[arg(value_name = "A")]
    before: String,
    /// The later restore point
    #[arg(value_name = "B")]
    after: String,
    /// Compare this kind only
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Compare objects of this namespace only
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Show how each changed object differs, as a unified diff of its YAML with secrets masked
    #[arg(long)]
    patch: bool,
    /// Name every object, not only the first of each kind
    #[arg(long)]
    all: bool,
    /// Do not compare status
    #[arg(long)]
    ignore_status: bool,
    /// End with code 3 if anything differs or cannot be compared
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    scratch: ScratchFlags,
    #[command(flatten)]
    read: ReadFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let opened = frame.or_cancelled(open(&args.read.given(), frame)).await?;
    let needs = match &args.kind {
        Some(kind) => of_kind(kind),
        None => Requirement::Objects,
    };
    let before = opened.find(&args.before, &needs);
    let before = frame.or_cancelled(before).await?;
    let after = opened.find(&args.after, &needs);
    let after = frame.or_cancelled(after).await?;
    let filter = Filter {
        resource: resource(args, &before, &after)?,
        namespace: args.namespace.clone(),
    };
    let options = compare::Options {
        names: if args.all { usize::MAX } else { compare::NAMES },
        patch: args.patch,
        status: !args.ignore_status,
    };
    let mut comparison = Comparison::new(filter, options);
    let pairs = plan::pairs(&before, &after);
    let read: Vec<&ComponentPair<'_>> =
        pairs.iter().filter(|pair| comparison.begin(pair)).collect();
    if !read.is_empty() {
        let identities = opened.config.identities(|text| frame.terminal.warn(text))?;
        let reading = ReadSettings {
            scratch: args.scratch.folder(frame),
            progress: frame.terminal.progress(),
        };
        let sides = ReaderPair {
            before: opened.reader(&before, &identities, &reading, frame).await?,
            after: opened.reader(&after, &identities, &reading, frame).await?,
        };
        for pair in read {
            comparison = sides.compare(pair, comparison).await?;
        }
    }
    let report = report::Differences::of(&before, &after, &pairs, comparison);
    frame.terminal.emit(&report)?;
    Ok(if args.exit_code && report.differ() {
        Exit::Warnings
    } else {
        Exit::Complete
    })
}

/// Resolves the requested kind, if one is given.
fn resource(
    args: &Args,
    before: &RestorePoint,
    after: &RestorePoint,
) -> Result<Option<ResourceName>, Failure> {
    let manifests = [&before.manifest, &after.manifest];
    let kind = args.kind.as_ref();
    kind.map(|kind| kinds::resolve(&manifests, kind))
        .transpose()
}
