//! Command line of `restore-cli`.

use backup_cli::exit;
use backup_cli::flags::CommonFlags;
use clap::{Parser, Subcommand};

use crate::commands::{
    audit, diff, fetch, list, plan, prune, resources, restore, resume, runbook, show, status,
    verify, verify_tenants,
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
    Prune(prune::Args),
    Audit(audit::Args),
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
