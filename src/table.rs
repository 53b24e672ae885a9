//! Text tables with aligned columns.

use std::io::{self, Write};

/// Rows under a heading.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row of as many cells as there are headings. An empty cell is shown as `-`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| if cell.is_empty() { "-".into() } else { cell }).collect());
    }

    /// Writes it; columns whose cells all are numbers are aligned to the right.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let columns: Vec<Column> = (0..self.rows[0].len()).map(|at| Column::of(&self.rows, at)).collect();
        for row in &self.rows {
            let cells: Vec<String> = row.iter().zip(&columns).map(|(cell, column)| column.pad(cell)).collect();
            writeln!(out, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

struct Column {
    width: usize,
    numeric: bool,
}

impl Column {
    fn of(rows: &[Vec<String>], at: usize) -> Self {
        let number = |cell: &String| cell == "-" || cell.trim_end_matches('%').parse::<f64>().is_ok();
        let width = rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        Self { width, numeric: rows.len() > 1 && rows[1..].iter().all(|row| number(&row[at])) }
    }

    fn pad(&self, cell: &str) -> String {
        let width = self.width;
        if self.numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["NAME", "FRAMES", "MAC"]);
        table.row(["h1".into(), "12".into(), String::new()]);
        table.row(["longer".into(), "3456789".into(), "02:00:00:00:00:01".into()]);
        let mut out = Vec::new();
        table.write(&mut out).unwrap();
        let expected = "NAME     FRAMES  MAC\nh1           12  -\nlonger  3456789  02:00:00:00:00:01\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
