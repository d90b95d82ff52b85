//! Search for a talosconfig in the usual places.

use std::path::{Path, PathBuf};

use super::config::TalosConfigError;

/// Path at which Talos puts the talosconfig of a pod that may use its API.
const IN_CLUSTER: &str = "/var/run/secrets/talos.dev/config";

/// Places that may have a talosconfig; the program fills it from its flags and environment.
///
/// The first file that exists is used, and none is ever created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigSearch {
    /// Path given by the user. If set, it is the only place.
    pub explicit: Option<PathBuf>,
    /// Value of `TALOSCONFIG`. If set and `explicit` is not, it is the only place.
    pub talosconfig: Option<PathBuf>,
    /// Value of `TALOS_HOME`; used only if it is absolute.
    pub talos_home: Option<PathBuf>,
    /// Value of `HOME`, which may be missing.
    pub home: Option<PathBuf>,
}

impl ConfigSearch {
    /// Creates a search of one path only.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            explicit: Some(path.into()),
            ..Self::default()
        }
    }

    /// Returns the places in the order in which they are tried.
    #[must_use]
    pub fn places(&self) -> Vec<PathBuf> {
        // A path that the user named must not be skipped in favour of another cluster's file.
        for named in [&self.explicit, &self.talosconfig].into_iter().flatten() {
            if !named.as_os_str().is_empty() {
                return vec![named.clone()];
            }
        }
        let own = match (&self.talos_home, &self.home) {
            (Some(talos_home), _) if talos_home.is_absolute() => Some(talos_home.join("config")),
            (_, Some(home)) if !home.as_os_str().is_empty() => {
                Some(home.join(".talos").join("config"))
            }
            _ => None,
        };
        own.into_iter()
            .chain([Path::new(IN_CLUSTER).to_owned()])
            .collect()
    }

    /// Returns the first place that exists.
    ///
    /// # Errors
    /// When there is none; names every place that was tried.
    pub fn find(&self) -> Result<PathBuf, TalosConfigError> {
        let places = self.places();
        match places.iter().find(|place| place.exists()) {
            Some(found) => Ok(found.clone()),
            None => Err(TalosConfigError::NotFound {
                places: places
                    .iter()
                    .map(|place| place.display().to_string())
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_home_is_needed_and_no_file_is_created() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = folder.path().join("config");
        let error = ConfigSearch::at(&wanted).find().unwrap_err().to_string();
        assert!(error.contains(&wanted.display().to_string()), "{error}");
        assert!(!wanted.exists());
        assert_eq!(
            ConfigSearch::default().places(),
            [PathBuf::from(IN_CLUSTER)]
        );
    }

    #[test]
    fn the_order_is_explicit_then_talosconfig_then_talos_home_then_home() {
        let mut search = ConfigSearch {
            explicit: Some("/a".into()),
            talosconfig: Some("/b".into()),
            talos_home: Some("/c".into()),
            home: Some("/d".into()),
        };
        assert_eq!(search.places(), [PathBuf::from("/a")]);
        search.explicit = None;
        assert_eq!(search.places(), [PathBuf::from("/b")]);
        search.talosconfig = None;
        assert_eq!(search.places()[0], PathBuf::from("/c/config"));
        search.talos_home = Some("relative".into());
        assert_eq!(search.places()[0], PathBuf::from("/d/.talos/config"));
        assert_eq!(search.places()[1], PathBuf::from(IN_CLUSTER));
    }
}
