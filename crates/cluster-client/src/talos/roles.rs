//! Roles of a client certificate, and the roles that each component needs.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::config::{Overrides, TalosConfigError, TalosContext};
use super::identity::{ADMIN, SNAPSHOT_ROLES, TalosCredentials, describe_roles};
use super::search::ConfigSearch;
use backup_core::id::ComponentName;

/// Roles of the client certificate in a talosconfig.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeSet<String>);

impl Roles {
    /// Reads those of `context`, or of the file's current context. Does not connect.
    ///
    /// # Errors
    /// When there is no talosconfig, or it cannot be used at `now`.
    pub fn read(
        search: &ConfigSearch,
        context: Option<&str>,
        now: Timestamp,
    ) -> Result<Self, TalosConfigError> {
        let path = search.find()?;
        let overrides = Overrides {
            context,
            ..Overrides::default()
        };
        let context = TalosContext::load_now(&path, &overrides)?;
        Ok(Self(TalosCredentials::check(&context, now)?.roles))
    }

    /// Returns the roles of which a component needs one; empty if it is not read through the Talos API.
    #[must_use]
    pub fn needed(component: &ComponentName) -> &'static [&'static str] {
        if *component == ComponentName::etcd() {
            &SNAPSHOT_ROLES
        } else if *component == ComponentName::machine_config() {
            &[ADMIN]
        } else {
            &[]
        }
    }

    /// Returns why these roles are not enough for `component`; `None` if they are.
    #[must_use]
    pub fn lacking(&self, component: &ComponentName) -> Option<String> {
        let needed = Self::needed(component);
        let has = needed.is_empty() || needed.iter().any(|role| self.0.contains(*role));
        (!has).then(|| {
            let needed = match needed {
                [only] => format!("the role {only}"),
                several => format!("one of the roles {}", several.join(", ")),
            };
            let has = describe_roles(&self.0);
            format!("it needs {needed}, and the talosconfig carries {has}")
        })
    }
}
