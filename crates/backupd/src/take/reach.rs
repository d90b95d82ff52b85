//! How the Talos API is reached, from configuration and environment.

use backup_cli::config::Talos;
use backup_cli::environment::Environment;
use backup_core::source::talos::{ConfigSearch, TalosOptions};

/// Where the talosconfig is looked for.
pub(crate) fn talos_search(talos: &Talos, environment: &Environment) -> ConfigSearch {
    ConfigSearch {
        explicit: talos.config.clone(),
        talosconfig: environment.talosconfig.clone(),
        talos_home: environment.talos_home.clone(),
        home: environment.home.clone(),
    }
}

/// How the Talos API is reached.
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
