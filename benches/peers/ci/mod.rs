//! The load test of CI: short, and judged by ratios only.
//!
//! # Theory of operation
//!
//! A round measures everything once: ticks in memory beside those of a plain learning switch, and between namespaces the kernel's
//! bridge, Crossdock, Crossdock with 250 idle ports, Crossdock under one attack. Rounds follow each other for two minutes, three at least. A ratio is that of two
//! figures of one round; its median over the rounds is compared with what `benches/recorded.toml` says of it. That is what three
//! rounds of four reached when it was recorded, so that what wobbles is recorded with its wobble.
//!
//! It fails when a ratio is below half of what is recorded, when a round cannot be measured (a peer that carries nothing is
//! one), and when a frame is unaccounted for: see [`crate::account`]. No figure is compared with one of another machine or
//! another day. `--record` writes the file anew.

mod round;

use crate::args::Args;
use crate::cells::{cell, clean, median};
use crate::cpu::watched;
use crate::{interrupt, report};
use anyhow::{Context, Result, ensure};
use crossdock::bench::judge::{Finding, Ratios, Record, Verdict};
use round::{COMPARISONS, FIGURES, Figures};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Rounds at least, where there is time for them.
const LEAST: usize = 3;
/// No round begins that would end later, once there are as many.
const BUDGET: Duration = Duration::from_secs(140);
/// Nor, however few there are, one that would end later than this.
const LIMIT: Duration = Duration::from_secs(175);

/// What stands above the recorded ratios.
const HEAD: &str = "\
# What `make bench-ci` compares with: ratios of two figures of one run, more is better, as three of four rounds reached them. It fails
# where the median of its own rounds falls below half. `cargo bench --bench peers -- --ci --record` writes them anew: do that on an
# idle machine, and say why in the commit.

";

/// Measures, prints, and judges or records.
pub fn run(args: &Args) -> Result<()> {
    let record = if args.record { None } else { Some(read()?) };
    let mut rounds = Vec::new();
    let outcome = measure(&mut rounds);
    println!("\nMedian [min-max] of {} rounds. {}\n", rounds.len(), report::host());
    print_figures(&rounds);
    outcome?;
    match record {
        Some(record) => judge(&record, &ratios(&rounds, median)),
        None => write(ratios(&rounds, lower_quartile)),
    }
}

/// What was measured before a round failed is there all the same.
fn measure(rounds: &mut Vec<(Figures, bool)>) -> Result<()> {
    let (begin, mut longest) = (Instant::now(), Duration::ZERO);
    let within = |rounds: usize| if rounds < LEAST { LIMIT } else { BUDGET };
    while begin.elapsed() + longest < within(rounds.len()) {
        interrupt::check()?;
        let start = Instant::now();
        let round = watched(round::measure).with_context(|| format!("round {}", rounds.len() + 1))?;
        rounds.push(round);
        longest = longest.max(start.elapsed());
        eprintln!("round {}: {:.0} s", rounds.len(), start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn print_figures(rounds: &[(Figures, bool)]) {
    println!("| figure | |\n|---|---|");
    for figure in FIGURES {
        let of = |(figures, disturbed): &(Figures, bool)| Some((*figures.get(figure)?, *disturbed));
        println!("| {figure} | {} |", cell(&rounds.iter().filter_map(of).collect::<Vec<_>>()));
    }
}

/// What is typical over the rounds, the undisturbed ones where there are any; without ratios that no round has.
fn ratios(rounds: &[(Figures, bool)], typical: fn(&[f64]) -> Option<f64>) -> Ratios {
    let of = |over, under| {
        let quotient =
            |(figures, disturbed): &(Figures, bool)| Some((figures.get(over)? / figures.get(under)?, *disturbed));
        typical(&clean(&rounds.iter().filter_map(quotient).collect::<Vec<_>>()))
    };
    COMPARISONS.iter().filter_map(|&(name, over, under)| Some((name.to_owned(), of(over, under)?))).collect()
}

fn lower_quartile(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len() / 4).copied()
}

fn judge(record: &Record, measured: &Ratios) -> Result<()> {
    let findings = record.judge(measured);
    println!("\n| ratio, more is better | recorded | now | |\n|---|---|---|---|");
    for Finding { name, recorded, measured, verdict } in &findings {
        let number = |ratio: &Option<f64>| ratio.map(|ratio| format!("{ratio:.3}")).unwrap_or_default();
        println!("| {name} | {} | {} | {verdict} |", number(recorded), number(measured));
    }
    println!("\nRecorded on: {}", record.machine);
    let bad: Vec<&str> = findings.iter().filter(|f| f.verdict != Verdict::Good).map(|f| f.name.as_str()).collect();
    ensure!(bad.is_empty(), "not as recorded: {}", bad.join("; "));
    println!("Every frame is accounted for, and every ratio is at least half of what is recorded.");
    Ok(())
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("benches/recorded.toml")
}

fn read() -> Result<Record> {
    let text = fs::read_to_string(file()).with_context(|| format!("{}; --record makes it", file().display()))?;
    Record::read(&text).with_context(|| format!("{}", file().display()))
}

fn write(ratios: Ratios) -> Result<()> {
    let record = Record { machine: report::host(), ratios };
    fs::write(file(), HEAD.to_owned() + &record.write()?)?;
    println!("\nRecorded in {}.", file().display());
    Ok(())
}
