//! Access to the Talos API, from configuration and environment.

use backup_cli::config::Talos;
use backup_cli::environment::Environment;
use cluster_client::talos::{ConfigSearch, TalosOptions};

/// Returns the places where the talosconfig is searched.
pub(crate) fn talos_search(talos: &Talos, environment: &Environment) -> ConfigSearch {
    ConfigSearch {
        explicit: talos.config.clone(),
        talosconfig: environment.talosconfig.clone(),
        talos_home: environment.talos_home.clone(),
        home: environment.home.clone(),
    }
}

/// Returns the options for the Talos API.
pub(crate) fn talos_options(talos: &Talos, environment: &Environment) -> TalosOptions {
    let search = talos_search(talos, environment);
    TalosOptions {
        context: talos.context.clone(),
        nodes: talos.nodes.clone(),
        idle_timeout: talos.idle_timeout,
        total_timeout: talos.deadline,
        proxies: environment.proxies.clone(),
        ..TalosOptions::new(search)
    }
}
