//! Command line of `backupd`.

use std::time::Duration;

use backup_cli::exit;
use backup_cli::flags::CommonFlags;
use backup_cli::logging::LogLevel;
use backup_cli::program::GRACE;
use clap::parser::ValueSource;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::commands::{
    check_config, import, keygen, kit, post_upgrade, pre_upgrade, run, snapshot, sweep,
};

/// Back up a Butler cluster: take etcd snapshots through the Talos API and objects through the
/// Kubernetes API, and keep them as content-addressed, encrypted, signed restore points in S3 or
/// a folder
#[derive(Debug, Parser)]
#[command(name = "backupd", version, after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: CommonFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(run::Args),
    Snapshot(Box<snapshot::Args>),
    PreUpgrade(Box<pre_upgrade::Args>),
    PostUpgrade(Box<post_upgrade::Args>),
    Import(import::Args),
    Kit(kit::Args),
    Sweep(sweep::Args),
    CheckConfig(check_config::Args),
    Keygen(keygen::Args),
}

impl Args {
    /// Parses the command line of this process. The daemon logs its work at `info` unless a log level is
    /// given; other commands report their work on the terminal.
    pub(crate) fn of_process() -> Self {
        let matches = Self::command().get_matches();
        let given = matches.value_source("log_level") != Some(ValueSource::DefaultValue);
        let mut args = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        if matches!(args.command, Command::Run(_)) && !given {
            args.common.log_level = LogLevel::info();
        }
        args
    }

    /// Returns the time that the command may take to end after a signal.
    pub(crate) fn grace(&self) -> Duration {
        match &self.command {
            Command::Run(run) => run.grace_in_all(),
            _ => GRACE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_of_every_command_is_a_contract() {
        let mut program = Args::command().term_width(100);
        program.build();
        let mut help = vec![program.render_help().to_string()];
        for command in program.get_subcommands_mut() {
            help.push(command.render_help().to_string());
        }
        insta::assert_snapshot!(help.join("\n----------\n"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
