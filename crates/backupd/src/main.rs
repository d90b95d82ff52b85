//! Program `backupd`, which takes snapshots and writes restore points.

use std::process::ExitCode;

fn main() -> ExitCode {
    backupd::run()
}
