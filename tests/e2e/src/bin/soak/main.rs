//! Program `soak`, which runs a daemon for half an hour among programs that die, and checks what is left at
//! the end.

mod lab;
mod report;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use rand::RngExt as _;
use tokio::time::Instant;

use self::lab::{Lab, Part};
use self::report::Report;

/// Let a daemon back up a cluster each minute while it, etcd, the API server and the S3 server are
/// killed at random; then verify everything that was committed
#[derive(Debug, Parser)]
#[command(name = "soak", version)]
struct Args {
    /// For how long
    #[arg(long, default_value_t = 30, value_name = "MINUTES")]
    minutes: u32,
}

/// Interval between two samples of the daemon, and between two changes of the cluster.
const TICK: Duration = Duration::from_secs(1);
/// Seconds between two deaths: long enough for most runs in between.
const DEATHS: std::ops::Range<u64> = 15..45;
/// Seconds for which a program stays dead.
const DEAD: std::ops::Range<u64> = 1..15;
/// Interval between two storms of changes and demands.
const STORMS: Duration = Duration::from_secs(240);

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints a line.
fn say(line: &str) {
    // An error means that nobody reads the output, and there is nothing to do about that.
    drop(writeln!(std::io::stdout(), "{line}"));
}

async fn run(args: &Args) -> Result<bool> {
    say("starting the lab");
    let mut lab = Lab::start().await?;
    let mut report = Report::new(args.minutes);
    let end = Instant::now() + Duration::from_secs(60 * u64::from(args.minutes));
    let mut next_death = Instant::now() + Duration::from_secs(30);
    let mut next_storm = Instant::now() + STORMS / 2;
    let mut back: Option<(Instant, Part)> = None;
    while Instant::now() < end {
        tokio::time::sleep(TICK).await;
        let now = Instant::now();
        if let Some((at, part)) = back
            && now >= at
        {
            lab.restart(part)
                .await
                .with_context(|| format!("restarting {part:?}"))?;
            back = None;
        }
        if back.is_none() && now >= next_death {
            let part = Part::any(rand::random());
            lab.kill(part).await?;
            report.death(part);
            back = Some((
                now + Duration::from_secs(rand::rng().random_range(DEAD)),
                part,
            ));
            next_death = now + Duration::from_secs(rand::rng().random_range(DEATHS));
        }
        let storm = now >= next_storm;
        if storm {
            next_storm = now + STORMS;
            report.storms += 1;
        }
        // A dead etcd takes no changes.
        report.changes += lab
            .change(if storm { 2_000 } else { 10 })
            .await
            .unwrap_or(0);
        if storm {
            lab.demand(6).await;
        }
        report.sample(lab.sample().await);
    }
    if let Some((_, part)) = back {
        lab.restart(part).await?;
    }
    say("everything is up again; waiting for a complete restore point of all");
    lab.settle().await?;
    say("waiting until what died is older than the grace time, and swept");
    lab.swept().await?;
    report.settled(lab.settle().await?, lab.leftovers().await?);
    say("verifying every restore point");
    lab.judge(&mut report).await?;
    say(&report.text());
    Ok(report.is_sound())
}
