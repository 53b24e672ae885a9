//! A table of scenes: a line for each, and columns by name. What one line says is divided by what another says in the same
//! run, so that only the machine's wobble within a run is in the ratio.

use crate::cells::{self, clean, digits, median};
use serde_json::{Value, json};

/// One measured value.
#[derive(Debug, Clone)]
struct Reading {
    run: u32,
    line: String,
    column: &'static str,
    value: f64,
    disturbed: bool,
}

/// Everything that was measured for one table.
#[derive(Debug, Clone)]
pub struct Grid {
    title: &'static str,
    /// What the lines are.
    head: &'static str,
    columns: &'static [&'static str],
    /// The line that the others are divided by, and the columns for which that says something.
    base: Option<(String, &'static [&'static str])>,
    readings: Vec<Reading>,
    failures: Vec<(String, String)>,
    notes: &'static str,
}

/// What came of one scene in one run, by column.
pub type Values = Vec<(&'static str, f64)>;

impl Grid {
    pub fn new(title: &'static str, head: &'static str, columns: &'static [&'static str], notes: &'static str) -> Self {
        Self { title, head, columns, base: None, readings: Vec::new(), failures: Vec::new(), notes }
    }

    /// Divides the other lines by this one.
    pub fn compare_with(mut self, line: String, columns: &'static [&'static str]) -> Self {
        self.base = Some((line, columns));
        self
    }

    /// Takes what a run said of a line.
    pub fn add(&mut self, run: u32, line: &str, values: Values, disturbed: bool) {
        let reading = |(column, value)| Reading { run, line: line.to_owned(), column, value, disturbed };
        self.readings.extend(values.into_iter().map(reading));
    }

    /// Takes why a line could not be measured. Once is enough: what fails for one reason is said once.
    pub fn fail(&mut self, line: &str, reason: String) {
        let failure = (line.to_owned(), reason);
        if !self.failures.contains(&failure) {
            self.failures.push(failure);
        }
    }

    /// Why lines could not be measured.
    pub fn failures(&self) -> &[(String, String)] {
        &self.failures
    }

    /// Prints it as Markdown.
    pub fn print(&self) {
        let lines = self.lines();
        if !lines.is_empty() {
            println!("\n{}: median [min-max].\n", self.title);
            self.print_head(self.head, self.columns);
            for line in &lines {
                let cells = self.columns.iter().map(|column| format!(" {} |", cells::cell(&self.of(line, column))));
                println!("| {line} |{}", cells.collect::<String>());
            }
            self.print_ratios(&lines);
            println!("\n{}", self.notes);
        }
        for (line, reason) in &self.failures {
            println!("\nNot measured here: {line}: {reason}");
        }
    }

    fn print_ratios(&self, lines: &[&str]) {
        let Some((base, columns)) = &self.base else { return };
        println!();
        self.print_head("ratio", columns);
        for line in lines.iter().filter(|line| *line != base) {
            let ratio = |column| self.ratio(line, base, column).map(digits).unwrap_or_default();
            let cells: String = columns.iter().map(|column| format!(" {} |", ratio(column))).collect();
            println!("| {line} / {base} |{cells}");
        }
    }

    fn print_head(&self, first: &str, columns: &[&str]) {
        println!("| {first} | {} |", columns.join(" | "));
        println!("|---|{}", "---|".repeat(columns.len()));
    }

    /// Median over the runs of what a line says, divided by what the base says in the same run.
    fn ratio(&self, line: &str, base: &str, column: &str) -> Option<f64> {
        let of = |line: &str, run: u32| {
            let mut all = self.readings.iter().filter(|r| (r.line.as_str(), r.column, r.run) == (line, column, run));
            all.next().map(|reading| (reading.value, reading.disturbed))
        };
        let runs = self.readings.iter().map(|reading| reading.run).max()?;
        let quotient = |run| {
            let (ours, theirs) = (of(line, run)?, of(base, run)?);
            Some((ours.0 / theirs.0, ours.1 || theirs.1))
        };
        median(&clean(&(0..=runs).filter_map(quotient).collect::<Vec<_>>()))
    }

    /// In the order of their first reading.
    fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = Vec::new();
        for reading in &self.readings {
            if !lines.contains(&reading.line.as_str()) {
                lines.push(&reading.line);
            }
        }
        lines
    }

    fn of(&self, line: &str, column: &str) -> Vec<cells::Value> {
        let belongs = |reading: &&Reading| (reading.line.as_str(), reading.column) == (line, column);
        self.readings.iter().filter(belongs).map(|reading| (reading.value, reading.disturbed)).collect()
    }

    /// Every reading.
    pub fn json(&self) -> Value {
        let reading = |r: &Reading| json!({ "run": r.run, "line": r.line, "column": r.column, "value": r.value, "disturbed": r.disturbed });
        let readings: Vec<Value> = self.readings.iter().map(reading).collect();
        json!({ "title": self.title, "readings": readings, "failures": self.failures })
    }
}
