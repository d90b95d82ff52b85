//! Command line of `restore-cli`.

use std::path::PathBuf;

use backup_cli::config::Given;
use backup_cli::exit;
use backup_cli::flags::{CommonFlags, IdentityFlags, StoreFlags, TrustFlags};
use backup_cli::program::Frame;
use clap::{Parser, Subcommand};

use crate::commands::{
    audit, diff, fetch, list, plan, resources, restore, resume, runbook, show, status, verify,
    verify_tenants,
};

/// Find, inspect, check and fetch the restore points of a Butler cluster, and restore it from them;
/// writes nothing to the store but copies of the journals of restores
#[derive(Debug, Parser)]
#[command(name = "restore-cli", version, after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: CommonFlags,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    List(list::Args),
    Show(show::Args),
    Resources(resources::Args),
    Diff(diff::Args),
    Verify(verify::Args),
    VerifyTenants(verify_tenants::Args),
    Fetch(fetch::Args),
    Plan(Box<plan::Args>),
    Restore(Box<restore::Args>),
    Status(status::Args),
    Resume(Box<resume::Args>),
    Runbook(Box<runbook::Args>),
    Audit(audit::Args),
}

/// Flags of commands that read without decrypting.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LookFlags {
    #[command(flatten)]
    pub(crate) store: StoreFlags,
    #[command(flatten)]
    pub(crate) trust: TrustFlags,
}

/// Flags of commands that decrypt.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReadFlags {
    #[command(flatten)]
    pub(crate) look: LookFlags,
    #[command(flatten)]
    pub(crate) identity: IdentityFlags,
}

impl LookFlags {
    /// Converts the flags into input for the configuration.
    pub(crate) fn given(&self) -> Given {
        Given {
            store: self.store.clone(),
            trust: self.trust.clone(),
            ..Given::default()
        }
    }
}

impl ReadFlags {
    /// Converts the flags into input for the configuration.
    pub(crate) fn given(&self) -> Given {
        Given {
            identity: self.identity.clone(),
            ..self.look.given()
        }
    }
}

/// Which restore point.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Selection {
    /// The restore point: an id, the beginning of one, or `latest`, the newest that has what is
    /// needed
    #[arg(value_name = "RESTORE-POINT")]
    pub(crate) restore_point: String,
}

/// Where scratch files are kept.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ScratchFlags {
    /// Keep scratch files, encrypted, in this folder, with room for the largest component
    /// [default: the system's folder for temporary files]
    #[arg(long, value_name = "FOLDER")]
    scratch: Option<PathBuf>,
}

impl ScratchFlags {
    /// Returns the folder.
    pub(crate) fn folder(&self, frame: &Frame) -> PathBuf {
        let folder = self.scratch.as_ref();
        folder.unwrap_or(&frame.environment.temp).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_help_of_every_command_is_a_contract() {
        let mut program = Args::command().term_width(100);
        program.build();
        let mut help = vec![program.render_help().to_string()];
        for command in program.get_subcommands_mut() {
            help.push(command.render_help().to_string());
            if command.get_name() == "help" {
                continue;
            }
            let commands = command.get_subcommands_mut();
            for command in commands.filter(|c| c.get_name() != "help") {
                help.push(command.render_help().to_string());
            }
        }
        insta::assert_snapshot!(help.join("\n----------\n"));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
