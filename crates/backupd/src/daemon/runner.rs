//! Runner of one run: it tries, verifies, and gives up at the deadline.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use backup_cli::config::Config;
use backup_cli::environment::Environment;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_core::backup::NewRestorePoint;
use backup_core::clock::Clock;
use backup_core::format::gaps;
use backup_core::format::manifest::Finding;
use backup_core::id::ComponentName;
use backup_core::num::to_millis;
use backup_core::progress::Progress;
use cluster_client::kube::KeptObjects;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::isolation::isolate;
use super::lead::Lead;
use super::mirror::{NoteRecorder, StagedNotes};
use super::queue::RunRequest;
use super::run_handle::{RunCause, RunHandle, RunState};
use crate::run_builder::report::RunReport;
use crate::run_builder::sources::Sources;
use crate::run_builder::{ObjectMemory, RunContext, prepare};

/// Pause before the second try; later pauses double, with jitter.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause; an S3 server that restarts is back by then.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Time that a run at its deadline may take to end on its own.
const WIND_DOWN: Duration = Duration::from_secs(6);

/// Inputs of one run.
#[derive(Debug)]
pub(crate) struct RunJob {
    pub(crate) config: Arc<Config>,
    pub(crate) wanted: RunRequest,
    pub(crate) handle: Arc<RunHandle>,
    /// Findings from before the run.
    pub(crate) findings: Vec<Finding>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) environment: Environment,
    pub(crate) kept: KeptObjects,
    pub(crate) lead: watch::Receiver<Lead>,
    /// Token that prevents new tries.
    pub(crate) stop: CancellationToken,
    /// Token that ends the try at work.
    pub(crate) cancel: CancellationToken,
}

/// Outcome of a run.
#[derive(Debug)]
pub(crate) struct RunOutcome {
    pub(crate) wanted: RunRequest,
    pub(crate) handle: Arc<RunHandle>,
    /// Committed restore point, and the number of objects that were afterwards found in the store; or the
    /// error.
    pub(crate) result: Result<(NewRestorePoint, u64), String>,
    /// Notes for the mirror.
    pub(crate) noted: Option<StagedNotes>,
}

/// Result of a successful try.
struct TryResult {
    committed: NewRestorePoint,
    checked: u64,
    noted: Option<StagedNotes>,
}

/// Makes the run to its end.
pub(crate) async fn run(job: RunJob) -> RunOutcome {
    let status = job.handle.status();
    let names: Vec<&str> = status
        .components
        .iter()
        .map(ComponentName::as_str)
        .collect();
    let names = if names.is_empty() {
        "all".to_owned()
    } else {
        names.join(",")
    };
    // The span has this level so that no log level removes the run's id from its lines.
    let span = tracing::error_span!("run", id = %status.run, cluster = %status.cluster);
    let (handle, wanted) = (Arc::clone(&job.handle), job.wanted.clone());
    async move {
        let cause = status.cause.reason();
        tracing::info!(components = names, cause, "a run begins");
        let began = Instant::now();
        let result = isolate(async move { until_deadline(&job).await }, |cause| {
            Err(Failure::message(Exit::Failed, cause))
        });
        let result = result.await;
        let millis = to_millis(began.elapsed());
        let bytes = handle.status().read_bytes;
        let (noted, result) = match result {
            Ok(done) => (done.noted, Ok((done.committed, done.checked))),
            Err(failure) => (None, Err(failure)),
        };
        let result = match result {
            Ok((committed, checked)) => {
                let missing = committed.manifest.missing.clone();
                let restore_point = committed.id.to_string();
                let stored = committed.manifest.cost.stored_bytes;
                tracing::info!(restore_point, millis, bytes, stored, checked, "committed");
                let gaps = committed.manifest.gaps();
                if !gaps.is_empty() {
                    let lacks = gaps::line(&gaps);
                    tracing::error!(restore_point, lacks, "it is partial");
                }
                let there = committed.manifest.components.iter().map(|c| c.name.clone());
                let not_whole = there.filter(|name| gaps.iter().any(|gap| gap.component == *name));
                let not_whole = not_whole.collect();
                handle.keep(serde_json::to_value(RunReport::of(&committed)).unwrap_or_default());
                handle.go(RunState::Committed {
                    restore_point,
                    missing,
                    not_whole,
                });
                Ok((committed, checked))
            }
            Err(failure) => {
                let cause = failure.one_line();
                tracing::error!(millis, bytes, error = cause, "no restore point");
                handle.go(RunState::Failed {
                    cause: cause.clone(),
                });
                Err(cause)
            }
        };
        RunOutcome {
            wanted,
            handle,
            result,
            noted,
        }
    }
    .instrument(span)
    .await
}

async fn until_deadline(job: &RunJob) -> Result<TryResult, Failure> {
    let deadline = job.config.runs.deadline;
    let mut tried = std::pin::pin!(try_repeatedly(job, deadline));
    let late = tokio::select! {
        result = &mut tried => return result,
        () = tokio::time::sleep(deadline) => true,
        () = job.cancel.cancelled() => false,
    };
    job.cancel.cancel();
    // A try that succeeds in spite of it counts; one that hangs is dropped where it waits, which leaves
    // nothing half-written.
    if let Ok(Ok(done)) = tokio::time::timeout(WIND_DOWN, tried).await {
        return Ok(done);
    }
    if late {
        let text = format!(
            "not done within {} s, the deadline of a run",
            deadline.as_secs()
        );
        return Err(Failure::message(Exit::Failed, text));
    }
    Err(Failure::message(
        Exit::Interrupted,
        "interrupted; nothing was committed",
    ))
}

async fn try_repeatedly(job: &RunJob, deadline: Duration) -> Result<TryResult, Failure> {
    let began = Instant::now();
    let mut pauses = ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build();
    loop {
        let failure = match try_once(job).await {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        let again = is_transient(&failure) && job.lead.borrow().allows(&job.wanted);
        let pause = pauses
            .next()
            .filter(|pause| again && began.elapsed() + *pause < deadline);
        let Some(pause) = pause else {
            return Err(failure);
        };
        let pause_ms = to_millis(pause);
        tracing::warn!(error = failure.one_line(), pause_ms, "trying again");
        job.handle.try_failed(failure.one_line());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Another try would be new work, which the stop forbids.
            () = job.stop.cancelled() => return Err(failure),
            () = job.cancel.cancelled() => return Err(failure),
        }
    }
}

/// Reports whether the same run may succeed a little later. A talosconfig that cannot be read may be one that
/// is being written just now.
fn is_transient(failure: &Failure) -> bool {
    matches!(failure.exit(), Exit::Failed | Exit::Usage)
}

async fn try_once(job: &RunJob) -> Result<TryResult, Failure> {
    if job.cancel.is_cancelled() {
        return Err(Failure::message(Exit::Interrupted, "interrupted"));
    }
    job.handle.begin();
    let handle = Arc::clone(&job.handle);
    let progress: Arc<dyn Progress> = handle;
    let context = RunContext {
        clock: Arc::clone(&job.clock),
        environment: job.environment.clone(),
        progress,
        cancel: job.cancel.clone(),
        memory: Some(ObjectMemory {
            kept: job.kept.clone(),
            // Runs for other reasons list everything again, which checks the kept objects.
            anew: job.wanted.cause != RunCause::Change,
        }),
    };
    let run = prepare(&job.config, &job.wanted.note, &context).await?;
    let mut sources = tokio::select! {
        opened = Sources::open(&job.config, &job.wanted.components, &context) => opened,
        () = job.cancel.cancelled() => {
            return Err(Failure::message(Exit::Interrupted, "interrupted; nothing was committed"));
        }
    };
    sources.add(job.findings.iter().cloned());
    let notes = NoteRecorder::begin(&job.config, &mut sources);
    let committed = Box::pin(run.take(sources.plan())).await?;
    job.handle.go(RunState::Verifying);
    let checked = run.check(&committed).await?;
    Ok(TryResult {
        committed,
        checked,
        noted: notes.end(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_cli::config::ConfigFlags;
    use backup_cli::flags::StoreFlags;
    use backup_core::clock::SystemClock;
    use backup_core::crypt::SigningKey;
    use jiff::Timestamp;
    use secrecy::ExposeSecret as _;
    use std::os::unix::fs::PermissionsExt as _;

    use crate::run_builder::Note;

    /// Clock that panics, as a library does that does not check its input.
    #[derive(Debug)]
    struct Broken;

    impl Clock for Broken {
        fn now(&self) -> Timestamp {
            panic!("on purpose")
        }
    }

    #[tokio::test]
    async fn a_run_that_panics_is_a_failed_run() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name);
        let key = SigningKey::generate().unwrap().to_text().unwrap();
        std::fs::write(path("signing.key"), key.expose_secret()).unwrap();
        let owners = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(path("signing.key"), owners).unwrap();
        let yaml = format!(
            "cluster: mgmt\nstore: file://{}\nencryption: none\nsigning: {{ key: signing.key }}\n\
             talos: {{ config: none }}\n",
            path("store").display()
        );
        std::fs::write(path("mgmt.yaml"), yaml).unwrap();
        let given = ConfigFlags {
            store: StoreFlags {
                config: Some(path("mgmt.yaml")),
                store: None,
            },
            ..ConfigFlags::default()
        };
        let config = Config::load(&given, SystemClock.now()).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let components = vec![ComponentName::etcd()];
        let cluster = "mgmt".parse().unwrap();
        let handle = RunHandle::new(&cluster, components.clone(), RunCause::Demand, &clock);
        let (_leads, lead) = watch::channel(Lead::Unelected);
        let ended = run(RunJob {
            config: Arc::new(config),
            wanted: RunRequest {
                components,
                cause: RunCause::Demand,
                note: Note::default(),
                handle: None,
            },
            handle: Arc::clone(&handle),
            findings: Vec::new(),
            clock: Arc::new(Broken),
            environment: Environment::default(),
            kept: KeptObjects::none(),
            lead,
            stop: CancellationToken::new(),
            cancel: CancellationToken::new(),
        })
        .await;
        let cause = ended.result.err().unwrap();
        assert!(cause.contains("this program has a fault"), "{cause}");
        assert!(matches!(handle.status().state, RunState::Failed { .. }));
    }
}
