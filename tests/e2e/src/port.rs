//! Free ports on 127.0.0.1 that stay reserved for one holder, also while its program is down.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};
use rand::RngExt;

use crate::paths;

/// Range of the ports: below the range from which Linux and macOS take ports for outgoing connections, so
/// that no other program gets one of ours by chance while a program restarts.
const RANGE: std::ops::Range<u16> = 21_000..32_000;

/// Number of attempts: far more than a machine full of labs needs to find one of eleven thousand ports.
const ATTEMPTS: usize = 500;

/// Port that no other lab of this user takes while the handle lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _reserved: File,
}

impl Port {
    /// Reserves a port: a locked file per number keeps labs apart, and a trial bind excludes ports that other
    /// programs use.
    ///
    /// # Errors
    /// The reservations' folder cannot be made, or no port is free.
    pub fn reserve() -> Result<Self> {
        let folder = paths::cache()?.join("ports");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("making the folder {}", folder.display()))?;
        let mut random = rand::rng();
        for _ in 0..ATTEMPTS {
            let number = random.random_range(RANGE);
            let path = folder.join(number.to_string());
            let file = File::create(&path)
                .with_context(|| format!("making the reservation {}", path.display()))?;
            if file.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self {
                    number,
                    _reserved: file,
                });
            }
        }
        bail!("no free port on 127.0.0.1 in {RANGE:?} after {ATTEMPTS} attempts")
    }

    /// Returns its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.number.fmt(f)
    }
}
