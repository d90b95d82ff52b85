//! Command `backupd check-config`, which checks everything that needs no network and shows the resulting
//! configuration.

mod folder;
mod kubernetes;
mod leftovers;
mod mirror;
mod nodes;

use backup_cli::config::{Config, ConfigError, ConfigFlags, Encryption};
use backup_cli::environment::Environment;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::flags::{KubeFlags, SelectFlags, TalosFlags};
use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::clock::Clock;
use cluster_client::talos::{Roles, TalosAddresses};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::flags::{self, WriteFlags};
use crate::run_builder::talos_access::talos_search;

use self::kubernetes::Kubernetes;

/// Number of upcoming runs that are shown for each schedule.
const RUNS: usize = 5;

/// Check the configuration without touching cluster or store, and show the next runs; for a folder,
/// check every file, and that no two share a place
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    write: WriteFlags,
    #[command(flatten)]
    talos: TalosFlags,
    #[command(flatten)]
    kube: KubeFlags,
    #[command(flatten)]
    select: SelectFlags,
}

pub(crate) fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let given = ConfigFlags {
        kube: args.kube.clone(),
        select: args.select.clone(),
        ..flags::given(&args.write, Some(&args.talos))
    };
    if let Some(path) = given.store.config.as_deref().filter(|path| path.is_dir()) {
        return folder::run(&given, path, frame);
    }
    let config = Config::load(&given, frame.clock.now())?;
    let checked = check(&config, &frame.environment, frame.clock.as_ref())?;
    frame.terminal.emit(&checked)?;
    for warning in &checked.warnings {
        frame.terminal.warn(warning);
    }
    frame.terminal.status("The configuration can be used.");
    Ok(Exit::Complete)
}

/// Checked configuration as it is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfigReport {
    cluster: String,
    store: String,
    talos: Talos,
    kubernetes: Kubernetes,
    encryption: &'static str,
    recipients: Vec<String>,
    signing_public_key: String,
    components: Vec<ComponentSchedule>,
    next_restore_points: Vec<points::PlannedPoint>,
    git_mirror: Option<mirror::Mirror>,
    leftovers: Option<leftovers::Leftovers>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Talos {
    config: Option<String>,
    context: Option<String>,
    nodes: Vec<String>,
    idle_timeout_seconds: u64,
    deadline_seconds: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ComponentSchedule {
    name: String,
    cron: Option<String>,
    time_zone: Option<String>,
    next_runs: Vec<UpcomingRun>,
}

#[derive(Debug, Serialize)]
struct UpcomingRun {
    utc: Timestamp,
    local: String,
}

fn check(
    config: &Config,
    environment: &Environment,
    clock: &dyn Clock,
) -> Result<ConfigReport, ConfigError> {
    let needs = (
        config.need_cluster(),
        config.need_store(),
        config.need_encryption(),
        config.need_signing_key(),
    );
    let (cluster, store, encryption, key) = match needs {
        (Ok(cluster), Ok(store), Ok(encryption), Ok(key)) => (cluster, store, encryption, key),
        (cluster, store, encryption, key) => {
            let errors = [cluster.err(), store.err(), encryption.err(), key.err()];
            return Err(ConfigError::join(errors.into_iter().flatten()));
        }
    };
    let (mode, recipients) = match encryption {
        Encryption::None => ("none", Vec::new()),
        Encryption::Recipients(keys) => ("age", keys.iter().map(ToString::to_string).collect()),
    };
    let mut warnings = Vec::new();
    if *encryption == Encryption::None {
        warnings.push(
            "encryption is none: anyone who can read the store can read the cluster's secrets"
                .to_owned(),
        );
    }
    check_roles(config, environment, clock.now(), &mut warnings)?;
    let kubernetes = Kubernetes::of(config, environment, &mut warnings);
    if config.components.is_empty() {
        warnings.push("no component has a schedule: nothing is backed up automatically".to_owned());
    }
    let git_mirror = mirror::Mirror::of(config, &mut warnings)?;
    let leftovers = leftovers::Leftovers::of(config, &mut warnings);
    Ok(ConfigReport {
        cluster: cluster.to_string(),
        store: store.to_string(),
        talos: Talos {
            config: config
                .talos
                .config
                .as_ref()
                .map(|p| p.display().to_string()),
            context: config.talos.context.clone(),
            nodes: config.talos.nodes.clone(),
            idle_timeout_seconds: config.talos.idle_timeout.as_secs(),
            deadline_seconds: config.talos.deadline.as_secs(),
        },
        kubernetes,
        encryption: mode,
        recipients,
        signing_public_key: key.public().to_string(),
        components: config
            .components
            .iter()
            .map(|c| component(c, clock.now()))
            .collect(),
        next_restore_points: points::next(&config.components, clock.now()),
        git_mirror,
        leftovers,
        warnings,
    })
}

/// Refuses a component that the talosconfig's certificate may not read, because it could never be taken.
/// Warns of endpoints that are not among the nodes.
fn check_roles(
    config: &Config,
    environment: &Environment,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Result<(), ConfigError> {
    let search = talos_search(&config.talos, environment);
    let roles = match Roles::read(&search, config.talos.context.as_deref(), now) {
        Ok(roles) => roles,
        // The talosconfig is often somewhere else, where the daemon runs.
        Err(error) => {
            warnings.push(Failure::from(anyhow::Error::new(error)).one_line());
            return Ok(());
        }
    };
    if let Ok(places) = TalosAddresses::read_now(&search, config.talos.context.as_deref()) {
        warnings.extend(nodes::lacking(&config.talos.nodes, &places));
    }
    let lacking = config.components.iter().filter_map(|component| {
        let name = &component.name;
        let why = roles.lacking(name)?;
        let fix =
            "`talosctl config new --roles ROLE` makes one that has it, or leave the component out";
        Some(ConfigError::elsewhere(format!(
            "component `{name}`: {why}; {fix}"
        )))
    });
    let lacking: Vec<ConfigError> = lacking.collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(ConfigError::join(lacking))
}

fn local(time: &jiff::ZonedDateTime) -> String {
    time.strftime("%a %Y-%m-%d %H:%M %Z").to_string()
}

fn component(component: &backup_cli::config::Component, now: Timestamp) -> ComponentSchedule {
    let schedule = component.schedule.as_ref();
    let runs = schedule.map(|s| s.upcoming(now, RUNS)).unwrap_or_default();
    let run = |time: &jiff::ZonedDateTime| UpcomingRun {
        utc: time.timestamp(),
        local: local(time),
    };
    ComponentSchedule {
        name: component.name.to_string(),
        cron: schedule.map(|s| s.cron().to_owned()),
        time_zone: schedule.map(|s| s.zone_name().to_owned()),
        next_runs: runs.iter().map(run).collect(),
    }
}

impl Report for ConfigReport {
    fn page(&self, page: &mut Page) {
        let or = |text: &Option<String>, other: &str| text.clone().unwrap_or(other.to_owned());
        let nodes = if self.talos.nodes.is_empty() {
            "those of the context".to_owned()
        } else {
            self.talos.nodes.join(", ")
        };
        let seconds =
            |s: u64| human::span(SignedDuration::from_secs(s.try_into().unwrap_or(i64::MAX)));
        let gives_up = format!(
            "after {} without a byte, {} in all",
            seconds(self.talos.idle_timeout_seconds),
            seconds(self.talos.deadline_seconds)
        );
        let recipients = if self.recipients.is_empty() {
            self.encryption.to_owned()
        } else {
            self.recipients.join("\n")
        };
        page.fields([
            ("Cluster", self.cluster.clone()),
            ("Store", self.store.clone()),
            (
                "Talosconfig",
                or(&self.talos.config, "searched for in the usual places"),
            ),
            ("Context", or(&self.talos.context, "the talosconfig's own")),
            ("Nodes", nodes),
            ("Gives up", gives_up),
            ("Encrypted to", recipients),
            ("Signed by", self.signing_public_key.clone()),
        ]);
        self.kubernetes.show(page);
        for component in &self.components {
            match (&component.cron, &component.time_zone) {
                (Some(cron), Some(zone)) => {
                    page.heading(&format!("{}: {cron} ({zone})", component.name));
                    let runs = component.next_runs.iter();
                    let rows = runs.map(|run| [run.local.clone(), human::utc(run.utc)]);
                    page.table(["NEXT RUNS", "UTC"], rows);
                }
                _ => page.heading(&format!("{}: on demand only", component.name)),
            }
        }
        points::table(page, &self.next_restore_points);
        if let Some(mirror) = &self.git_mirror {
            mirror.show(page);
        }
        if let Some(leftovers) = &self.leftovers {
            leftovers.show(page);
        }
    }
}

mod points;

#[cfg(test)]
mod tests;
