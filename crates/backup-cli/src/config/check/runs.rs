//! Checks for schedules of components and settings of their runs.

use std::time::Duration;

use backup_core::id::ComponentName;
use cluster_client::kube::KubeArchive;
use jiff::Timestamp;

use super::Checker;
use crate::config::problem::ConfigValue;
use crate::config::raw::{RawComponent, RawComponents, RawOnChange, RawRuns};
use crate::config::{Component, OnChange, Runs, Schedule, ScheduleError};

/// Default time limit for a run. A snapshot's own limit is half of it, so that a second member can be tried.
const DEADLINE: Duration = Duration::from_hours(1);
/// Default quiet time, long enough that the objects of one Helm release become one restore point.
const QUIET: Duration = Duration::from_secs(2);
/// Default longest wait. Objects that change all the time cause one restore point a minute. Sealing keys wait
/// for seconds only.
const LONGEST: Duration = Duration::from_mins(1);

/// Settings that a component inherits.
struct InheritedSettings {
    zone: Option<ConfigValue<String>>,
    jitter: Duration,
    catch_up: bool,
    paused: bool,
}

impl Checker {
    pub(super) fn runs(
        &mut self,
        raw: RawRuns,
        components: RawComponents,
        now: Timestamp,
    ) -> (Runs, Vec<Component>) {
        let inherited = InheritedSettings {
            zone: raw.time_zone.map(|z| self.sourced(z, "runs.time-zone")),
            jitter: self.duration(raw.jitter, "runs.jitter").unwrap_or_default(),
            catch_up: raw.catch_up.unwrap_or(true),
            paused: raw.paused.unwrap_or(false),
        };
        let runs = Runs {
            deadline: self
                .duration(raw.deadline, "runs.deadline")
                .unwrap_or(DEADLINE),
            on_change: self.on_change(raw.on_change.unwrap_or_default()),
        };
        (runs, self.components(components, &inherited, now))
    }

    fn on_change(&mut self, raw: RawOnChange) -> OnChange {
        let at = raw.longest.as_ref().or(raw.quiet.as_ref());
        let at = at.map(|text| self.at(text, "runs.on-change"));
        let quiet = self.duration(raw.quiet, "runs.on-change.quiet");
        let longest = self.duration(raw.longest, "runs.on-change.longest");
        let on_change = OnChange {
            quiet: quiet.unwrap_or(QUIET),
            longest: longest.unwrap_or_else(|| LONGEST.max(quiet.unwrap_or(QUIET))),
        };
        if let Some(at) = at
            && on_change.quiet > on_change.longest
        {
            self.wrong(
                at,
                "`quiet` is longer than `longest`, so it would never be waited for",
            );
        }
        on_change
    }

    fn components(
        &mut self,
        raw: RawComponents,
        inherited: &InheritedSettings,
        now: Timestamp,
    ) -> Vec<Component> {
        let datastores = ComponentName::datastores();
        let all = [
            (ComponentName::etcd(), raw.etcd),
            (ComponentName::machine_config(), raw.machine_config),
            (ComponentName::crds(), raw.crds),
            (ComponentName::sealed_secrets(), raw.sealed_secrets),
            (ComponentName::resources(), raw.resources),
            (ComponentName::kubeconfigs(), raw.kubeconfigs),
            (ComponentName::secrets(), raw.secrets),
            (datastores, raw.datastores),
        ];
        let named = all.into_iter().filter_map(|(name, raw)| Some((name, raw?)));
        let mut components = Vec::new();
        for (name, raw) in named {
            components.push(self.component(name, raw, inherited, now));
        }
        components
    }

    fn component(
        &mut self,
        name: ComponentName,
        mut raw: RawComponent,
        inherited: &InheritedSettings,
        now: Timestamp,
    ) -> Component {
        let jitter = self.duration(raw.jitter.take(), &format!("components.{name}.jitter"));
        let catch_up = raw.catch_up.unwrap_or(inherited.catch_up);
        let paused = raw.paused.unwrap_or(inherited.paused);
        let on_change = raw.on_change.as_ref().is_some_and(|on| on.value);
        if let Some(on) = raw
            .on_change
            .take()
            .filter(|_| on_change && !can_be_watched(&name))
        {
            let at = self.at(&on, &format!("components.{name}.on-change"));
            let text = format!("no change of {name} can be noticed; give it a `cron`");
            self.wrong(at, text);
        }
        Component {
            schedule: self.schedule(&name, raw, inherited, now),
            name,
            jitter: jitter.unwrap_or(inherited.jitter),
            catch_up,
            paused,
            on_change,
        }
    }

    fn schedule(
        &mut self,
        name: &ComponentName,
        raw: RawComponent,
        inherited: &InheritedSettings,
        now: Timestamp,
    ) -> Option<Schedule> {
        let cron = raw.cron?;
        let cron_at = self.at(&cron, &format!("components.{name}.cron"));
        let own = raw.time_zone;
        let own = own.map(|zone| self.sourced(zone, &format!("components.{name}.time-zone")));
        let zone = own
            .or_else(|| inherited.zone.clone())
            .unwrap_or_else(|| ConfigValue::new("UTC".to_owned(), cron_at.clone()));
        match Schedule::parse(&cron.value, &zone.value, now) {
            Ok(schedule) => Some(schedule),
            Err(e @ ScheduleError::Zone { .. }) => {
                self.wrong(zone.origin, e.to_string());
                None
            }
            Err(e) => {
                self.wrong(cron_at, e.to_string());
                None
            }
        }
    }
}

/// Reports whether the component's changes can be watched through the Kubernetes API.
fn can_be_watched(name: &ComponentName) -> bool {
    KubeArchive::ALL
        .iter()
        .any(|archive| archive.component() == *name)
}
