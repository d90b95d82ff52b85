//! Consent of a person at the terminal, or of the flags in their place.

use async_trait::async_trait;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::terminal::Terminal;
use cluster_restore::orchestrate::{Consent, ProgramError, RestoreTargets};
use cluster_restore::plan::Plan;

use super::ProgramFailure;

/// Consent to a restore.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Consent")]
pub(crate) struct ConsentFlags {
    /// Continue without asking; needs --target
    #[arg(long, requires = "target")]
    yes: bool,
    /// The name of the cluster that is restored, to be sure that it is meant
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
}

impl ConsentFlags {
    /// Returns the giver of consent at `terminal`.
    pub(crate) fn at<'a>(&'a self, terminal: &'a Terminal) -> TerminalConsent<'a> {
        TerminalConsent {
            flags: self,
            terminal,
        }
    }
}

/// Giver of consent at a terminal: shows the connected clusters and nodes, and asks a person to type the
/// cluster's name, or accepts the flags instead.
pub(crate) struct TerminalConsent<'a> {
    flags: &'a ConsentFlags,
    terminal: &'a Terminal,
}

#[async_trait]
impl Consent for TerminalConsent<'_> {
    async fn ask(&self, plan: &Plan, targets: &RestoreTargets) -> Result<(), ProgramError> {
        self.confirm(plan, targets).map_err(ProgramFailure::boxed)
    }
}

impl TerminalConsent<'_> {
    fn confirm(&self, plan: &Plan, targets: &RestoreTargets) -> Result<(), Failure> {
        let cluster = plan.cluster.as_str();
        if let Some(named) = &self.flags.target
            && named != cluster
        {
            let told = format!("the plan is of cluster {cluster}, and --target names {named}");
            return Err(Failure::message(Exit::Refused, told)
                .hint("look at both again; nothing was changed"));
        }
        if self.flags.yes {
            self.terminal.status(&targets.describe(plan));
            return Ok(());
        }
        let question = format!(
            "This writes cluster {cluster}, as of {}.\n{}",
            plan.restore_point.id,
            targets.describe(plan)
        );
        self.terminal
            .confirm_by_name(&question, cluster, "--yes --target NAME")
    }
}
