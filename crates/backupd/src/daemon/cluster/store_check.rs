//! Check of the store while no run is at work: restore points of others, missed runs, and the clock.

use std::sync::Arc;

use backup_cli::config::Config;
use backup_cli::environment::Environment;
use backup_cli::failure::Failure;
use backup_cli::open::{self, StoreAccess};
use backup_core::clock::Clock;
use backup_core::id::ComponentName;
use cluster_client::talos::TalosSource;
use jiff::{SignedDuration, Timestamp};

use super::{JUMP, Worker};
use crate::daemon::isolation::isolate;
use crate::daemon::store_view::{self, StoreFacts};
use crate::run_builder::talos_access::talos_options;

/// Interval between checks of the store for restore points that others put there.
const CHECK_EVERY: SignedDuration = SignedDuration::from_mins(5);
/// Pause after a failed check.
const CHECK_AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// Interval between counts of all objects, which list everything.
const COUNT_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Result of a check of the store.
pub(super) struct StoreCheck {
    facts: Result<StoreFacts, String>,
    skew: Option<i64>,
    talos: Option<Timestamp>,
    counted: bool,
}

impl Worker {
    pub(super) fn begin_store_check(&mut self, now: Timestamp) {
        let config = Arc::clone(&self.config);
        let clock = Arc::clone(&self.context.clock);
        let environment = self.context.environment.clone();
        let known = self.facts.clone();
        let count = now >= self.next_count;
        let work = async move {
            let talos = TalosSource::new(
                talos_options(&config.talos, &environment),
                Arc::clone(&clock),
            );
            let mut check = StoreCheck {
                facts: Err(String::new()),
                skew: None,
                talos: talos.valid_until().await.ok(),
                counted: count,
            };
            check.facts = check_store(
                &config,
                &environment,
                clock.as_ref(),
                known,
                &mut check.skew,
                count,
            )
            .await;
            check
        };
        self.store_check = Some(isolate(work, |cause| StoreCheck {
            facts: Err(cause),
            skew: None,
            talos: None,
            counted: false,
        }));
    }

    pub(super) fn finish_store_check(&mut self, check: StoreCheck) {
        let now = self.context.clock.now();
        let cluster = &self.context.name;
        let after = |by| now.checked_add(by).unwrap_or(Timestamp::MAX);
        let outcome = match check.facts {
            Ok(mut facts) => {
                // A run may have ended during the check.
                if let Some(own) = self
                    .facts
                    .take()
                    .filter(|own| own.newest_at > facts.newest_at)
                {
                    facts = StoreFacts {
                        count: facts.count.max(own.count),
                        objects: facts.objects.or(own.objects),
                        ..own
                    };
                }
                self.next_store_check = after(CHECK_EVERY);
                if check.counted {
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
                self.next_store_check = after(CHECK_AGAIN);
                tracing::error!(%cluster, error, "the store cannot be looked at");
                Err(error)
            }
        };
        if let Some(skew) = check.skew.filter(|skew| skew.abs() > JUMP.as_secs()) {
            tracing::warn!(%cluster, skew, "this machine's clock differs from the store's");
        }
        self.board(|cluster| {
            let view = &mut cluster.view;
            view.talosconfig_valid_until = check.talos;
            view.clock_skew_seconds = check.skew.or(view.clock_skew_seconds);
            match outcome {
                Ok(facts) => {
                    view.restore_points = Some(facts);
                    view.store_error = None;
                }
                Err(error) => view.store_error = Some(error),
            }
        });
    }
}

async fn check_store(
    config: &Config,
    environment: &Environment,
    clock: &dyn Clock,
    known: Option<StoreFacts>,
    skew: &mut Option<i64>,
    count: bool,
) -> Result<StoreFacts, String> {
    let failed = |failure: Failure| failure.one_line();
    let url = config.need_store().map_err(|e| e.to_string())?;
    let key = config.need_signing_key().map_err(|e| e.to_string())?;
    let cluster = config.need_cluster().map_err(|e| e.to_string())?;
    let store = open::store(url, StoreAccess::Write, environment)
        .await
        .map_err(failed)?;
    if let Some(theirs) = store.date().await.map_err(|e| failed(e.into()))? {
        *skew = Some(clock.now().duration_since(theirs).as_secs());
    }
    let names: Vec<ComponentName> = config.components.iter().map(|c| c.name.clone()).collect();
    let mut facts = store_view::read_facts(&store, cluster, &key, known, &names, clock.now())
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
