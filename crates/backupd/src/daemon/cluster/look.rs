//! Check of the store while no run is at work: restore points of others, missed runs, and the clock.

use std::sync::Arc;

use backup_cli::config::Config;
use backup_cli::environment::Environment;
use backup_cli::failure::Failure;
use backup_cli::open::{self, Access};
use backup_core::clock::Clock;
use backup_core::id::ComponentName;
use cluster_client::talos::TalosSource;
use jiff::{SignedDuration, Timestamp};

use super::{JUMP, Work};
use crate::daemon::apart::apart;
use crate::daemon::store_view::{self, Facts};
use crate::run_builder::reach::talos_options;

/// Interval between checks of the store for restore points that others put there.
const LOOK_EVERY: SignedDuration = SignedDuration::from_mins(5);
/// Pause after a failed check.
const LOOK_AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// Interval between counts of all objects, which list everything.
const COUNT_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Result of a check of the store.
pub(super) struct Looked {
    facts: Result<Facts, String>,
    skew: Option<i64>,
    talos: Option<Timestamp>,
    counted: bool,
}

impl Work {
    pub(super) fn begin_look(&mut self, now: Timestamp) {
        let config = Arc::clone(&self.config);
        let clock = Arc::clone(&self.ground.clock);
        let environment = self.ground.environment.clone();
        let known = self.facts.clone();
        let count = now >= self.next_count;
        let work = async move {
            let talos = TalosSource::new(
                talos_options(&config.talos, &environment),
                Arc::clone(&clock),
            );
            let mut looked = Looked {
                facts: Err(String::new()),
                skew: None,
                talos: talos.valid_until().await.ok(),
                counted: count,
            };
            looked.facts = look(
                &config,
                &environment,
                clock.as_ref(),
                known,
                &mut looked.skew,
                count,
            )
            .await;
            looked
        };
        self.look = Some(apart(work, |cause| Looked {
            facts: Err(cause),
            skew: None,
            talos: None,
            counted: false,
        }));
    }

    pub(super) fn looked(&mut self, looked: Looked) {
        let now = self.ground.clock.now();
        let cluster = &self.ground.name;
        let after = |by| now.checked_add(by).unwrap_or(Timestamp::MAX);
        let told = match looked.facts {
            Ok(mut facts) => {
                // A run may have ended during the check.
                if let Some(own) = self
                    .facts
                    .take()
                    .filter(|own| own.newest_at > facts.newest_at)
                {
                    facts = Facts {
                        count: facts.count.max(own.count),
                        objects: facts.objects.or(own.objects),
                        ..own
                    };
                }
                self.next_look = after(LOOK_EVERY);
                if looked.counted {
                    self.next_count = after(COUNT_EVERY);
                }
                if !self.recalled {
                    self.recalled = true;
                    self.table.recall(|name| facts.last(name), now);
                }
                self.facts = Some(facts.clone());
                Ok(facts)
            }
            Err(error) => {
                self.next_look = after(LOOK_AGAIN);
                tracing::error!(%cluster, error, "the store cannot be looked at");
                Err(error)
            }
        };
        if let Some(skew) = looked.skew.filter(|skew| skew.abs() > JUMP.as_secs()) {
            tracing::warn!(%cluster, skew, "this machine's clock differs from the store's");
        }
        self.board(|cluster| {
            let view = &mut cluster.view;
            view.talosconfig_valid_until = looked.talos;
            view.clock_skew_seconds = looked.skew.or(view.clock_skew_seconds);
            match told {
                Ok(facts) => {
                    view.restore_points = Some(facts);
                    view.store_error = None;
                }
                Err(error) => view.store_error = Some(error),
            }
        });
    }
}

async fn look(
    config: &Config,
    environment: &Environment,
    clock: &dyn Clock,
    known: Option<Facts>,
    skew: &mut Option<i64>,
    count: bool,
) -> Result<Facts, String> {
    let failed = |failure: Failure| failure.one_line();
    let url = config.need_store().map_err(|e| e.to_string())?;
    let key = config.need_signing_key().map_err(|e| e.to_string())?;
    let cluster = config.need_cluster().map_err(|e| e.to_string())?;
    let store = open::store(url, Access::Write, environment)
        .await
        .map_err(failed)?;
    if let Some(theirs) = store.date().await.map_err(|e| failed(e.into()))? {
        *skew = Some(clock.now().duration_since(theirs).as_secs());
    }
    let names: Vec<ComponentName> = config.components.iter().map(|c| c.name.clone()).collect();
    let mut facts = store_view::look(&store, cluster, &key, known, &names, clock.now())
        .await
        .map_err(|e| failed(e.into()))?;
    if count {
        facts.objects = Some(
            store_view::count(&store)
                .await
                .map_err(|e| failed(e.into()))?,
        );
    }
    Ok(facts)
}
