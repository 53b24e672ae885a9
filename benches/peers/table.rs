//! One table: a line for each system and placement, medians in its cells, and the ratios of Crossdock to each peer.

use crate::cells::{self, clean, digits, median};
use crate::metrics::{Metric, Sample};
use crate::rows::Row;
use crate::systems::{Placement, System};

/// One line of the table.
type Line = (System, Placement);

/// The samples of one table in one pass.
pub struct Table<'a> {
    row: Row,
    samples: Vec<&'a Sample>,
    metrics: Vec<Metric>,
}

impl<'a> Table<'a> {
    /// Chooses what belongs to it. Other placements than a system's usual one are for the table about placements.
    pub fn new(row: Row, systems: &[System], samples: &[&'a Sample]) -> Self {
        let metrics = row.metrics();
        let belongs = |sample: &Sample| {
            systems.contains(&sample.system)
                && metrics.contains(&sample.metric)
                && (row == Row::Workers || sample.placement == sample.system.placement())
        };
        Self { row, samples: samples.iter().copied().filter(|sample| belongs(sample)).collect(), metrics }
    }

    /// Prints it with its ratios; nothing where nothing was measured.
    pub fn print(&self) {
        let lines = self.lines();
        if lines.is_empty() {
            return;
        }
        println!("\n{}:\n", self.row.title());
        print_head("system", &self.metrics);
        for &line in &lines {
            let cells = self.metrics.iter().map(|&metric| format!(" {} |", cells::cell(&self.of(line, metric))));
            println!("| {} | {} |{}", line.0.name(), line.1.name(), cells.collect::<String>());
        }
        self.print_ratios(&lines);
        if self.row == Row::Workers {
            self.print_best(&lines);
        }
    }

    /// Each of Crossdock's lines against each that it is compared with.
    fn print_ratios(&self, lines: &[Line]) {
        let all = lines.iter().flat_map(|ours| lines.iter().map(move |theirs| (*ours, *theirs)));
        let pairs: Vec<(Line, Line)> = all.filter(|(ours, theirs)| ours.0.is_compared_with(theirs.0)).collect();
        if pairs.is_empty() {
            return;
        }
        let metrics: Vec<Metric> = self.metrics.iter().copied().filter(|metric| metric.is_compared()).collect();
        println!();
        print_head("ratio", &metrics);
        for (ours, theirs) in pairs {
            let cells: String =
                metrics.iter().map(|&metric| format!(" {} |", self.ratio(ours, theirs, metric))).collect();
            let placements = format!("{} / {}", ours.1.name(), theirs.1.name());
            println!("| {} / {} | {placements} |{cells}", ours.0.name(), theirs.0.name());
        }
    }

    /// Which of Crossdock's placements has the highest median.
    fn print_best(&self, lines: &[Line]) {
        let rate = self.metrics[0];
        let of = |line: &Line| median(&clean(&self.of(*line, rate)));
        let best = |ours: bool| {
            let candidates = lines.iter().filter(|(system, _)| system.is_xdock() == ours);
            candidates.filter_map(|line| Some((line, of(line)?))).max_by(|a, b| a.1.total_cmp(&b.1))
        };
        for (line, rate) in [best(true), best(false)].into_iter().flatten() {
            println!("\nBest placement of {}: {}, {} Gbit/s.", line.0.name(), line.1.name(), digits(rate));
        }
        if let (Some((_, ours)), Some((_, theirs))) = (best(true), best(false)) {
            println!("\nBest against best: {}.", digits(ours / theirs));
        }
    }

    /// The quotient of the medians, empty where one of the two was not measured.
    fn ratio(&self, ours: Line, theirs: Line, metric: Metric) -> String {
        let of = |line| median(&clean(&self.of(line, metric)));
        of(ours).zip(of(theirs)).map_or_else(String::new, |(ours, theirs)| format!("{:.2}", ours / theirs))
    }

    /// Systems and placements that were measured, in the order of their first sample.
    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for sample in &self.samples {
            let line = (sample.system, sample.placement);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        lines
    }

    fn of(&self, (system, placement): Line, metric: Metric) -> Vec<cells::Value> {
        let key = (system, placement, metric);
        let of_key = |sample: &&&Sample| (sample.system, sample.placement, sample.metric) == key;
        self.samples.iter().filter(of_key).map(|sample| (sample.value, sample.disturbed)).collect()
    }
}

fn print_head(first: &str, metrics: &[Metric]) {
    let names: Vec<String> = metrics.iter().map(|metric| metric.name()).collect();
    println!("| {first} | placement | {} |", names.join(" | "));
    println!("|---|---|{}", "---|".repeat(metrics.len()));
}
